"""Long calls into a library that can be told to stop, made so that cancels and Ctrl-C reach them.

A signal handler of Python waits for the main thread to leave C. So the call goes to a thread of its
own, and the caller waits for it in Python.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from edge_et.errors import Cancelled

_T = TypeVar("_T")
_ASK_S = 0.01
"""How often the caller's `cancelled` is asked."""


def run(work: Callable[[], _T], stop: Callable[[], None], cancelled: Callable[[], bool]) -> _T:
    """Return what `work` returns, or raise what it raises.

    Once `cancelled` says so, or something interrupts the wait, `stop` is called, which makes `work`
    end early; then Cancelled, or the interruption, is raised. Nothing runs on after that.
    """
    results: list[_T] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def worker() -> None:
        try:
            results.append(work())
        except BaseException as exc:
            errors.append(exc)
        finally:
            done.set()

    thread = threading.Thread(target=worker, name="edge-et-run", daemon=True)
    thread.start()
    try:
        while not done.wait(_ASK_S):
            if cancelled():
                raise Cancelled("the extraction was cancelled")
    except BaseException:
        stop()
        thread.join()
        raise
    if errors:
        raise errors[0]
    return results[0]
