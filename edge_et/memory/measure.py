"""What this process holds, and giving back what it only keeps for later."""

from __future__ import annotations

import ctypes
import functools
import gc
from pathlib import Path
from typing import Any

import psutil

_STATUS = Path("/proc/self/status")
_KIB = 1024


def resident_bytes() -> int:
    """Return the resident set: anonymous pages and mapped pages of files that are in memory."""
    return int(psutil.Process().memory_info().rss)


def highest_resident_bytes() -> int | None:
    """Return the largest resident set since the start of the process; None where no one counts."""
    try:
        text = _STATUS.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = [line.split()[1] for line in text.splitlines() if line.startswith("VmHWM:")]
    return int(found[0]) * _KIB if found else None


def give_back() -> None:
    """Return freed memory to the system.

    glibc keeps what is freed for its next use: of a closed onnxruntime session half the weights
    stayed resident until this was called (docs/decisions/0006).
    """
    gc.collect()
    if (trim := _malloc_trim()) is not None:
        trim(0)


@functools.cache
def _malloc_trim() -> Any:
    """Return glibc's function; None with another C library."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
