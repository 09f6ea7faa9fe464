"""How many threads this process may really use: CPU affinity and cgroup quota, not host cores."""

from __future__ import annotations

import math
import os
from pathlib import Path

_PROC_CGROUP = Path("/proc/self/cgroup")
_CGROUP_ROOT = Path("/sys/fs/cgroup")


def usable_threads(
    *,
    affinity: int | None = None,
    proc_cgroup: Path = _PROC_CGROUP,
    cgroup_root: Path = _CGROUP_ROOT,
) -> int:
    """Return the smaller of the CPUs in the affinity mask and the CPU quota, at least 1.

    A quota of 1.5 CPUs gives 2: the second thread uses the half that a single one would leave.
    `affinity` stands in for the process's own mask.
    """
    cpus = _affinity_cpus() if affinity is None else affinity
    quota = cgroup_quota_cpus(proc_cgroup, cgroup_root)
    return max(1, cpus if quota is None else min(cpus, math.ceil(quota)))


def cgroup_quota_cpus(
    proc_cgroup: Path = _PROC_CGROUP, cgroup_root: Path = _CGROUP_ROOT
) -> float | None:
    """Return the tightest CPU quota from this process's cgroup up to the root, in CPUs.

    Reads cgroup v2 (`cpu.max`) and v1 (`cpu.cfs_quota_us`); None without a quota or cgroups.
    """
    quotas = [
        quota
        for folder, version in _cgroup_folders(proc_cgroup, cgroup_root)
        if (quota := _quota_v2(folder) if version == 2 else _quota_v1(folder)) is not None
    ]
    return min(quotas, default=None)


def _affinity_cpus() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity mask to read
        return os.cpu_count() or 1


def _cgroup_folders(proc_cgroup: Path, root: Path) -> list[tuple[Path, int]]:
    """List the (folder, cgroup version) pairs whose limits hold for this process."""
    folders: list[tuple[Path, int]] = []
    for line in (_read(proc_cgroup) or "").splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if hierarchy == "0" and not controllers:
            folders += [(folder, 2) for folder in _up_to_root(root, path)]
        elif "cpu" in controllers.split(","):
            mounts = dict.fromkeys((controllers, "cpu", "cpu,cpuacct"))
            folders += [(f, 1) for mount in mounts for f in _up_to_root(root / mount, path)]
    return folders


def _up_to_root(root: Path, path: str) -> list[Path]:
    """List `root/path` and every folder above it up to `root`.

    In a container the path may name folders of the host that are not mounted; they are skipped
    when read, and the root then carries the container's own limit.
    """
    parts = [part for part in path.split("/") if part not in ("", "..")]
    return [root.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]


def _quota_v2(folder: Path) -> float | None:
    words = (_read(folder / "cpu.max") or "").split()
    return _ratio(words[0], words[1]) if len(words) == 2 else None


def _quota_v1(folder: Path) -> float | None:
    quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    return _ratio(quota, period) if quota and period else None


def _ratio(quota: str, period: str) -> float | None:
    """Return quota / period, None for "max", -1 and anything else that sets no limit."""
    try:
        quota_us, period_us = int(quota), int(period)
    except ValueError:
        return None
    return quota_us / period_us if quota_us > 0 and period_us > 0 else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
