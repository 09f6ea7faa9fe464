"""Model files in the page cache: put there, dropped from there, and how much of them lies there."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_CHUNK_BYTES = 1 << 24


def warm(files: Iterable[Path]) -> None:
    """Read each file once."""
    buffer = bytearray(_CHUNK_BYTES)
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def drop(files: Iterable[Path]) -> bool:
    """Ask the kernel to forget the files; return whether it can be asked.

    Pages that are dirty, or mapped by another process, stay.
    """
    if not hasattr(os, "posix_fadvise"):
        return False
    for path in files:
        with path.open("rb") as file:
            os.fdatasync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def resident_fraction(files: Iterable[Path]) -> float | None:
    """Return how much of the files' pages lies in the cache, 0 to 1; None where none can tell."""
    try:
        mincore = ctypes.CDLL(None, use_errno=True).mincore
    except (AttributeError, OSError, TypeError):  # no such call, or no C library to ask
        return None
    mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.POINTER(ctypes.c_ubyte))
    counts = [_pages(path, mincore) for path in files if path.stat().st_size]
    total = sum(pages for _, pages in counts)
    return sum(present for present, _ in counts) / total if total else None


def _pages(path: Path, mincore: Any) -> tuple[int, int]:
    """Return the pages of a file that are in memory, and all of them."""
    size_bytes = path.stat().st_size
    pages = -(-size_bytes // mmap.PAGESIZE)
    # A private writable map: ctypes takes no address of a read-only one. Nothing is written.
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as view:
        start = ctypes.c_ubyte.from_buffer(view)
        try:
            present = (ctypes.c_ubyte * pages)()
            if mincore(ctypes.addressof(start), size_bytes, present) != 0:
                return 0, 0
            return sum(flag & 1 for flag in present), pages
        finally:
            del start  # the map cannot be closed while it is pointed to
