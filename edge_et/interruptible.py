"""Long calls into a library that can be told to stop, made so that cancels and Ctrl-C reach them.

A signal handler of Python waits for the main thread to leave C. So the call goes to a thread of its
own, and the caller waits for it in Python.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from edge_et.errors import Cancelled

_T = TypeVar("_T")
_ASK_S = 0.01
"""How often the caller's `cancelled` is asked."""
_workers = threading.local()


def run(work: Callable[[], _T], stop: Callable[[], None], cancelled: Callable[[], bool]) -> _T:
    """Return what `work` returns, or raise what it raises.

    Once `cancelled` says so, or something interrupts the wait, `stop` is called, which makes `work`
    end early; then Cancelled, or the interruption, is raised. Nothing runs on after that.
    """
    future = _worker().submit(work)
    try:
        while not wait([future], timeout=_ASK_S).done:
            if cancelled():
                raise Cancelled("the extraction was cancelled")
    except BaseException:
        stop()
        wait([future])
        raise
    return future.result()


def _worker() -> ThreadPoolExecutor:
    """Return the calling thread's own worker, which stays: with a new thread for each call, freed
    memory would lie about in more and more of the allocator's arenas."""
    if not hasattr(_workers, "pool"):
        _workers.pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="edge-et-run")
    pool: ThreadPoolExecutor = _workers.pool
    return pool
