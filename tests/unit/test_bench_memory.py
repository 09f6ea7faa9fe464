"""Memory, page cache and energy counters, against what is known to have happened."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from edge_et_bench import energy, gpu, memory, page_cache
from edge_et_bench.busy import Others
from edge_et_bench.memory import Sampler
from edge_et_bench.records import MemoryPoint, Outcome, Stage

MB = 1 << 20
NOWHERE = MemoryPoint(at_s=0.0, rss_bytes=0, anonymous_bytes=None, file_bytes=None, gpu_bytes=None)


def until(condition, timeout_s=10.0):
    """Wait for the sampler's thread to have seen something."""
    deadline_s = time.perf_counter() + timeout_s
    while not condition():
        assert time.perf_counter() < deadline_s
        time.sleep(0.01)


def test_an_allocation_is_seen_and_is_anonymous():
    sampler = Sampler(interval_s=0.005)
    sampler.start()
    until(lambda: sampler.points)
    before = sampler.points[-1]
    block = np.ones(64 * MB, np.uint8)
    seen = len(sampler.points)
    until(lambda: len(sampler.points) > seen + 2)
    sampler.stop()
    after, summary = sampler.points[-1], sampler.summary(loaded_s=sampler.now_s())
    assert after.rss_bytes - before.rss_bytes > 60 * MB
    assert summary.peak_bytes >= after.rss_bytes > summary.baseline_bytes >= 0
    if sys.platform == "linux":
        assert after.anonymous_bytes - before.anonymous_bytes > 60 * MB
        assert abs(after.file_bytes - before.file_bytes) < 30 * MB
        assert after.anonymous_bytes + after.file_bytes == pytest.approx(after.rss_bytes, rel=0.05)
    del block


def test_children_belong_to_the_tree():
    code = "import sys; block = b'x' * (80 << 20); print('made', flush=True); sys.stdin.read()"
    alone = Sampler().baseline_bytes
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout.readline() == b"made\n"
        together = Sampler().baseline_bytes
        child.stdin.close()
    assert together - alone > 70 * MB


def test_peaks_of_stages_follow_their_seconds():
    sampler = Sampler()
    sampler.points += [
        MemoryPoint(
            at_s=at_s, rss_bytes=size, anonymous_bytes=None, file_bytes=None, gpu_bytes=None
        )
        for at_s, size in ((9.9, 99), (10.1, 5), (10.9, 7), (11.5, 6), (13.5, 50))
    ]
    stages = [("image", 1.0), ("vision", 1.0), ("handoff", 0.5), ("other", 5.0)]
    outcome = Outcome(
        stages=tuple(Stage(name=name, seconds=seconds) for name, seconds in stages),
        total_s=7.5,
        answer="x",
    )
    assert sampler.stage_peaks(10.0, outcome) == {"image": 7, "vision": 6}


def test_sizes_agree_with_psutil():
    rss_bytes, *_ = memory._sizes(psutil.Process())
    assert rss_bytes == pytest.approx(psutil.Process().memory_info().rss, rel=0.1)


def kind_of_filesystem(path):
    lines = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    mounts = [line.split()[1:3] for line in lines]
    fitting = [(mount, kind) for mount, kind in mounts if str(path).startswith(mount)]
    return max(fitting, key=lambda pair: len(pair[0]))[1]


@pytest.mark.skipif(sys.platform != "linux", reason="the page cache is asked through Linux's calls")
def test_the_page_cache_is_filled_and_dropped(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(bytes(3 * MB))
    page_cache.warm([path])
    assert page_cache.resident_fraction([path]) == 1
    assert page_cache.drop([path])
    if kind_of_filesystem(tmp_path) == "tmpfs":
        pytest.skip("files of a tmpfs lie nowhere but in memory")
    assert page_cache.resident_fraction([path]) == 0
    page_cache.warm([path])
    assert page_cache.resident_fraction([path]) == 1


def test_no_files_have_no_fraction():
    assert page_cache.resident_fraction([]) is None


def zone(powercap, name, uj, full=1_000_000_000):
    folder = powercap / name
    folder.mkdir(exist_ok=True)
    (folder / "name").write_text("package-0\n", encoding="ascii")
    (folder / "energy_uj").write_text(f"{uj}\n", encoding="ascii")
    (folder / "max_energy_range_uj").write_text(f"{full}\n", encoding="ascii")


def test_energy_between_two_readings(tmp_path):
    zone(tmp_path, "intel-rapl:0", 5_000_000)
    zone(tmp_path, "intel-rapl:1", 990_000_000)
    counters = energy.Counters(powercap=tmp_path)
    before = counters.read()
    zone(tmp_path, "intel-rapl:0", 7_500_000)
    zone(tmp_path, "intel-rapl:1", 10_000_000)  # the counter went over its end
    assert counters.since(before) == {
        "package-0 (intel-rapl:0)": pytest.approx(2.5),
        "package-0 (intel-rapl:1)": pytest.approx(20.0),
    }


def test_no_counter_is_none_not_zero(tmp_path):
    counters = energy.Counters(powercap=tmp_path)
    assert counters.since(counters.read()) is None
    assert counters.idle_watts() is None


class FakeNvml:
    """The calls of NVML that are used, as its Python library names them."""

    class NVMLError(Exception): ...

    class Process:
        def __init__(self, pid, used):
            self.pid, self.usedGpuMemory = pid, used

    def nvmlDeviceGetCount(self):  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        return index

    def nvmlDeviceGetComputeRunningProcesses(self, handle):  # noqa: N802
        if handle == 1:
            raise self.NVMLError
        return [self.Process(7, 100), self.Process(8, 50), self.Process(9, None)]

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):  # noqa: N802
        if handle == 1:
            raise self.NVMLError
        return 2500


def test_a_gpu_counts_our_processes_alone(monkeypatch):
    monkeypatch.setattr(gpu, "_nvml", lambda: FakeNvml())
    assert gpu.memory_bytes({7, 9}) == 100
    assert gpu.energy_joules() == {"gpu-0": 2.5}


def test_the_fake_has_only_names_that_the_library_has():
    pynvml = pytest.importorskip("pynvml")
    assert all(hasattr(pynvml, name) for name in vars(FakeNvml) if name.startswith("nvml"))


def test_our_own_work_is_not_others(monkeypatch):
    readings = iter([(0.0, 100.0, 10.0), (2.0, 103.0, 12.5), (2.0, 103.0, 15.0)])
    monkeypatch.setattr("edge_et_bench.busy._reading", lambda: next(readings))
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    others = Others()
    # 3 s of work in 2 s on 4 cores, 2.5 s of it ours
    assert others.share() == pytest.approx(0.5 / 8)
    assert others.share() == 0  # clocks of different grain may say that we did more than all


def test_others_work_is_seen():
    code = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass"
    others, started_s = Others(), time.perf_counter()
    child = psutil.Popen([sys.executable, "-c", code])
    while child.status() != psutil.STATUS_ZOMBIE:  # ended, and not yet counted as ours
        time.sleep(0.01)
    used_s = others.share() * (time.perf_counter() - started_s) * (os.cpu_count() or 1)
    child.wait()
    assert used_s > 0.4
