"""Where an export is made: a hidden folder beside its target, known by its name and its lock."""

from __future__ import annotations

import contextlib
import glob
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

OLD = "old"
"""What was at the target lies under this name while the new one takes its place."""
_LOCK = ".lock"


@contextlib.contextmanager
def workplace(target: Path) -> Iterator[Path]:
    """Yield a folder beside `target` that is gone when the block ends.

    What killed exports of the same target left there is removed first; a target that one of them
    had moved aside is put back. An export that still runs holds its lock, and is left alone.
    """
    from filelock import FileLock

    target.parent.mkdir(parents=True, exist_ok=True)
    _clear(target)
    folder = Path(tempfile.mkdtemp(prefix=_prefix(target), dir=target.parent))
    lock = FileLock(folder / _LOCK)
    try:
        with lock:
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _prefix(target: Path) -> str:
    return f".{target.name}.export-"


def _clear(target: Path) -> None:
    from filelock import FileLock

    for folder in target.parent.glob(f"{glob.escape(_prefix(target))}*"):
        # Timeout, which a held lock raises, is an OSError, too.
        with contextlib.suppress(OSError), FileLock(folder / _LOCK, timeout=0):
            if (folder / OLD).exists() and not target.exists():
                (folder / OLD).rename(target)
            shutil.rmtree(folder, ignore_errors=True)
