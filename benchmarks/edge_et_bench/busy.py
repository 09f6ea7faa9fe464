"""How much of the machine other processes used while we measured: times of a busy one mislead."""

from __future__ import annotations

import os
import time

import psutil


class Others:
    """Counts from when it is made."""

    def __init__(self) -> None:
        self._started = _reading()

    def share(self) -> float:
        """Return the part of all cores' time that was used outside this process and the children
        it has waited for, 0 to 1."""
        now = _reading()
        wall_s, busy_s, own_s = (b - a for a, b in zip(self._started, now, strict=True))
        whole_s = wall_s * (os.cpu_count() or 1)
        return min(1.0, max(0.0, (busy_s - own_s) / whole_s)) if whole_s > 0 else 0.0


def _reading() -> tuple[float, float, float]:
    """Return wall clock, busy seconds of the machine over its cores, and our own."""
    machine, own = psutil.cpu_times(), os.times()
    idle_s = machine.idle + getattr(machine, "iowait", 0.0)
    # Linux counts guests' time in user's, too.
    twice_s = getattr(machine, "guest", 0.0) + getattr(machine, "guest_nice", 0.0)
    return time.perf_counter(), sum(machine) - idle_s - twice_s, sum(own[:4])
