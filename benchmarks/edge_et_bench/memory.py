"""Memory of our own process tree: a thread that looks many times a second.

Linux tells anonymous memory (the heap, KV caches) from file-backed (mapped weights, libraries);
elsewhere only the resident size is known.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from edge_et_bench import gpu
from edge_et_bench.records import Memory, MemoryPoint, Outcome

INTERVAL_S = 0.02
_TREE_AGE_S = 1.0
"""How long the list of child processes is good for; making it walks all processes."""
_KIB = 1024
_PROC = Path("/proc")


class Sampler:
    """Takes points from `start` to `stop`."""

    def __init__(self, *, interval_s: float = INTERVAL_S) -> None:
        self.points: list[MemoryPoint] = []
        self._interval_s = interval_s
        self._stopped = threading.Event()
        self._tree = _Tree()
        self._origin_s = 0.0
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)
        self.baseline_bytes = self._tree.point(0.0).rss_bytes

    def start(self) -> None:
        self._origin_s = time.perf_counter()
        self._thread.start()

    def now_s(self) -> float:
        """Return the seconds since the start, the clock of the points."""
        return time.perf_counter() - self._origin_s

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def peak_bytes(self, from_s: float, to_s: float) -> int | None:
        return _peak(self.points, from_s, to_s)

    def stage_peaks(self, from_s: float, outcome: Outcome) -> dict[str, int]:
        """Return the peak of each stage of a call that began at `from_s`; stages run in order, so
        their seconds say when. One that no point fell into is absent."""
        peaks: dict[str, int] = {}
        for stage in outcome.stages:
            to_s = from_s + stage.seconds
            if stage.name != "other" and (peak := self.peak_bytes(from_s, to_s)) is not None:
                peaks[stage.name] = peak
            from_s = to_s
        return peaks

    def summary(self, *, loaded_s: float) -> Memory:
        """Sum up; the load ended at `loaded_s`."""
        anonymous = [p.anonymous_bytes for p in self.points if p.anonymous_bytes is not None]
        mapped = [p.file_bytes for p in self.points if p.file_bytes is not None]
        on_gpu = [p.gpu_bytes for p in self.points if p.gpu_bytes is not None]
        highest = max((p.rss_bytes for p in self.points), default=self.baseline_bytes)
        return Memory(
            baseline_bytes=self.baseline_bytes,
            peak_bytes=max(highest, _high_water_bytes() or 0),
            peak_anonymous_bytes=max(anonymous, default=None),
            peak_file_bytes=max(mapped, default=None),
            peak_gpu_bytes=max(on_gpu, default=None),
            load_peak_bytes=self.peak_bytes(0.0, loaded_s) or self.baseline_bytes,
            timeline=tuple(self.points),
        )

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_s):
            self.points.append(self._tree.point(self.now_s()))


class _Tree:
    """This process and its children."""

    def __init__(self) -> None:
        self._root = psutil.Process()
        self._members: list[psutil.Process] = []
        self._listed_s = float("-inf")

    def point(self, at_s: float) -> MemoryPoint:
        now_s = time.perf_counter()
        if now_s - self._listed_s > _TREE_AGE_S:
            self._members = [self._root, *self._root.children(recursive=True)]
            self._listed_s = now_s
        sizes = []
        for process in self._members:
            with contextlib.suppress(psutil.NoSuchProcess):
                sizes.append(_sizes(process))
        split = [s for s in sizes if s[1] is not None]
        return MemoryPoint(
            at_s=at_s,
            rss_bytes=sum(s[0] for s in sizes),
            anonymous_bytes=sum(s[1] or 0 for s in split) if split else None,
            file_bytes=sum(s[2] or 0 for s in split) if split else None,
            gpu_bytes=gpu.memory_bytes({process.pid for process in self._members}),
        )


def _sizes(process: psutil.Process) -> tuple[int, int | None, int | None]:
    """Return resident, anonymous and file-backed bytes."""
    status = _status(process.pid)
    if "VmRSS" not in status:
        return process.memory_info().rss, None, None
    return (
        status["VmRSS"],
        status.get("RssAnon"),
        status.get("RssFile", 0) + status.get("RssShmem", 0) if "RssFile" in status else None,
    )


def _status(pid: int) -> dict[str, int]:
    """Return the sizes in /proc/PID/status in bytes; nothing where there is no such file."""
    try:
        text = (_PROC / str(pid) / "status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return {}
    words = (line.split() for line in text.splitlines() if line.endswith(" kB"))
    return {name.rstrip(":"): int(size) * _KIB for name, size, _ in words}


def _high_water_bytes() -> int | None:
    return _status(psutil.Process().pid).get("VmHWM")


def _peak(points: Sequence[MemoryPoint], from_s: float, to_s: float) -> int | None:
    inside = [p.rss_bytes for p in points if from_s <= p.at_s <= to_s]
    return max(inside, default=None)
