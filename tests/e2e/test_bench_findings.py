"""Findings of the starter, and the targets they are held to. Values are measurements: only their
bounds are held."""

from __future__ import annotations

import json
from pathlib import Path

from edge_et_bench.findings import read
from tests.e2e.starter import ROOT, Run


def test_both_loops_are_measured(edge_et: Run, tmp_path: Path) -> None:
    out = tmp_path / "found.jsonl"
    done = edge_et(
        "bench", "loop", "--prompt", "130", "--decode", "8", "--repeats", "2", "--out", str(out)
    )
    assert done.returncode == 0, done.stderr
    found = {one.name: one for one in read(out)}
    assert list(found) == [
        "reasoner prefill", "reasoner decode", "reasoner outside", "extractor outside",
    ]  # fmt: skip
    assert all(0 < found[f"{half} outside"].value < 1 for half in ("reasoner", "extractor"))
    assert {(one.subject, one.n) for one in found.values()} == {("starter", 2)}
    assert "| reasoner prefill | starter |" in done.stdout


def test_the_handoff_hides_most_of_a_description(edge_et: Run, tmp_path: Path) -> None:
    out = tmp_path / "found.jsonl"
    done = edge_et(
        "bench", "handoff", "--threads", "1", "--extraction", "256", "--repeats", "2",
        "--out", str(out),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    hidden, total = read(out)
    assert (hidden.name, total.name) == ("handoff hidden", "handoff total")
    assert 0 < hidden.value <= 1


def test_findings_are_held_to_targets(edge_et: Run, tmp_path: Path) -> None:
    out = tmp_path / "found.jsonl"
    done = edge_et("bench", "again", "--repeats", "2", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert [(one.name, one.value) for one in read(out)][1:] == [("same question", 1.0)]
    published = ROOT / "benchmarks" / "results" / "single-tile-2-core-xeon.jsonl"
    done = edge_et("bench", "targets", str(published), str(out), "--format", "json")
    assert done.returncode == 0, done.stderr
    reached = {row["name"]: row["reached"] for row in json.loads(done.stdout)}
    assert reached["same question: no extraction"] is True
    assert reached["prefill at 8 bits"] is True
    assert reached["decode at 8 bits, of memory"] is False
    assert reached["vision cosine"] is None
