"""A disk that fills while an export is written: whichever writer meets it, one error of ours."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edge_et.downloads import NO_ROOM
from edge_et.errors import OutOfDisk

# How the writers that are no Python's say it: the system's words, Rust's (safetensors), numpy's,
# C++'s (llama.cpp).
_WORDS = re.compile(
    r"No space left on device|Disk quota exceeded|File too large|os error (28|122|27)\b"
    r"|\d+ requested and \d+ written|iostream error"
)


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
