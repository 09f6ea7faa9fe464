"""CPU quotas as cgroup v1 and v2 write them, in folders of our own."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_et.threads import cgroup_quota_cpus, usable_threads


def v2(tmp_path: Path, path: str, limits: dict[str, str]) -> tuple[Path, Path]:
    proc, root = tmp_path / "cgroup", tmp_path / "fs"
    proc.write_text(f"0::{path}\n")
    for folder, text in limits.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / "cpu.max").write_text(text)
    return proc, root


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("max 100000", None), ("150000 100000", 1.5), ("50000 100000", 0.5), ("garbage", None),
     ("", None), ("200000 0", None)],
)  # fmt: skip
def test_cgroup_v2(tmp_path: Path, text: str, cpus: float | None) -> None:
    assert cgroup_quota_cpus(*v2(tmp_path, "/", {"": text})) == cpus


def test_the_tightest_parent_counts(tmp_path: Path) -> None:
    limits = {"a/b": "400000 100000", "a": "300000 100000", "": "max 100000"}
    assert cgroup_quota_cpus(*v2(tmp_path, "/a/b", limits)) == 3


def test_a_container_sees_only_its_own_root(tmp_path: Path) -> None:
    """The path names folders of the host; the limit lies at the mount's root."""
    assert cgroup_quota_cpus(*v2(tmp_path, "/docker/abc", {"": "200000 100000"})) == 2


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_cgroup_v1(tmp_path: Path, mount: str) -> None:
    proc, root = tmp_path / "cgroup", tmp_path / "fs"
    proc.write_text("3:memory:/x\n2:cpu,cpuacct:/x\n1:cpuset:/\n")
    (root / mount / "x").mkdir(parents=True)
    (root / mount / "x" / "cpu.cfs_quota_us").write_text("250000\n")
    (root / mount / "x" / "cpu.cfs_period_us").write_text("100000\n")
    assert cgroup_quota_cpus(proc, root) == 2.5
    (root / mount / "x" / "cpu.cfs_quota_us").write_text("-1\n")
    assert cgroup_quota_cpus(proc, root) is None


@pytest.mark.parametrize(
    ("quota", "affinity", "threads"), [("150000", 8, 2), ("50000", 8, 1), ("800000", 4, 4)]
)
def test_threads_are_the_smaller_of_affinity_and_quota(
    tmp_path: Path, quota: str, affinity: int, threads: int
) -> None:
    proc, root = v2(tmp_path, "/", {"": f"{quota} 100000"})
    assert usable_threads(affinity=affinity, proc_cgroup=proc, cgroup_root=root) == threads


def test_without_cgroups_affinity_decides(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    assert usable_threads(affinity=3, proc_cgroup=absent, cgroup_root=absent) == 3
    assert usable_threads() >= 1
