"""Write beside and rename: an export that is killed leaves nothing half made at its target."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edge_et.downloads import NO_ROOM
from edge_et.errors import ExportError, OutOfDisk

# How the writers that are no Python's say it: the system's words, Rust's (safetensors), numpy's,
# C++'s (llama.cpp).
_WORDS = re.compile(
    r"No space left on device|Disk quota exceeded|File too large|os error (28|122|27)\b"
    r"|\d+ requested and \d+ written|iostream error"
)


@contextlib.contextmanager
def staged_folder(target: Path, *, force: bool) -> Iterator[Path]:
    """Yield an empty sibling folder that becomes `target` when the block ends without error.

    Raises ExportError when the target exists and `force` is not given; it is replaced only once
    the new one is whole.
    """
    if target.exists() and not force:
        raise ExportError(f"{target} exists already", hint="choose another --out, or add --force")
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        with full_disk_named(target.parent):
            yield staged
        staged.chmod(0o755)
        if target.exists():
            old = staged.with_name(staged.name + "-old")
            target.rename(old)
            staged.rename(target)
            shutil.rmtree(old)
        else:
            staged.rename(target)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


@contextlib.contextmanager
def full_disk_named(folder: Path) -> Iterator[None]:
    """Raise OutOfDisk for whatever a writer raises when `folder` or the disk of temporary files
    takes no more. What is staged is deleted by whoever staged it."""
    try:
        yield
    except OutOfDisk:
        raise
    except Exception as exc:
        if not _is_full(exc):
            raise
        free_bytes = shutil.disk_usage(folder).free
        raise OutOfDisk(
            f"the export could not be written, the disk of {folder} is full or a limit is reached "
            f"({free_bytes / 1e6:,.0f} MB free at that moment): {_first_line(exc)}",
            hint=f"free some space there or under {tempfile.gettempdir()}, or choose an --out on "
            "another disk",
        ) from exc


def _is_full(exc: BaseException | None) -> bool:
    while exc is not None:
        if isinstance(exc, OSError) and exc.errno in NO_ROOM:
            return True
        if _WORDS.search(str(exc)):
            return True
        exc = exc.__cause__ or exc.__context__
    return False


def _first_line(exc: BaseException) -> str:
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0]


__all__ = ["full_disk_named", "staged_folder"]
