"""A kernel's limit around a process, where there is one; and the worst of a matrix."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_et_bench import hard_cap
from edge_et_bench.memory_plan import MemoryResult, table, worst_error

MIB = 1024 * 1024
EATS = "held = bytearray(200 * 1024 * 1024); held[::4096] = b'x' * len(held[::4096]); print('ate')"


def eat(limit_bytes: int) -> subprocess.CompletedProcess[str]:
    with hard_cap.hard_cap(limit_bytes) as enter:
        if enter is None:
            pytest.skip("no control group can be made here")
        return subprocess.run(
            [sys.executable, "-c", EATS], capture_output=True, text=True, check=False,
            preexec_fn=enter,
        )  # fmt: skip


def test_a_process_cannot_take_more_than_its_cap() -> None:
    assert eat(400 * MIB).stdout == "ate\n"
    assert eat(50 * MIB).returncode != 0


def test_the_limit_is_written_before_a_process_enters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hard_cap, "_ROOT", tmp_path)
    (tmp_path / "cgroup.controllers").touch()
    group = tmp_path / f"edge-et-{os.getpid()}"
    with hard_cap.hard_cap(7 * MIB) as enter:
        assert (group / "memory.max").read_text() == str(7 * MIB)
        assert enter is not None
        enter()
        assert (group / "cgroup.procs").read_text() == str(os.getpid())


def test_where_no_group_can_be_made_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hard_cap, "_ROOT", tmp_path / "none")
    with hard_cap.hard_cap(MIB) as enter:
        assert enter is None


def test_the_worst_error_counts_without_its_sign() -> None:
    def point(predicted: int, *, capped: bool = True) -> MemoryResult:
        return MemoryResult(
            budget_bytes=200, residency="all", predicted_bytes=predicted, measured_bytes=100,
            capped=capped,
        )  # fmt: skip

    results = [point(104), point(92), MemoryResult(budget_bytes=1, refused="refused")]
    found = worst_error(results)
    assert (found.name, found.n) == ("memory error", 2)
    assert found.value == pytest.approx(0.08)
    shown = table([*results, point(100, capped=False)]).splitlines()[2:]
    assert ["control group" in line for line in shown] == [True, True, False, False]
