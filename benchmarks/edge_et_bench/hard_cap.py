"""A control group of the kernel around a process: it cannot have more memory than it is given."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


@contextlib.contextmanager
def hard_cap(limit_bytes: int) -> Iterator[Callable[[], None] | None]:
    """Yield what a child process calls to enter a group with this limit, for `preexec_fn`.

    Yields None where no group can be made: without rights, or on another system. A process that
    goes over the limit loses pages of mapped files first, and is killed when that is not enough.
    """
    unified = (_ROOT / "cgroup.controllers").is_file()
    folder = (_ROOT if unified else _ROOT / "memory") / f"edge-et-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError:
        yield None
        return
    try:
        limit = folder / ("memory.max" if unified else "memory.limit_in_bytes")
        limit.write_text(str(limit_bytes), encoding="ascii")
    except OSError:
        folder.rmdir()
        yield None
        return
    try:
        yield lambda: _enter(folder)
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _enter(folder: Path) -> None:
    (folder / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
