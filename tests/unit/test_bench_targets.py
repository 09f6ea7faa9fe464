"""Targets: what committed files say about them, and why one is missed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge_et.errors import InputError
from edge_et_bench import findings
from edge_et_bench.findings import Finding
from edge_et_bench.record_files import read_runs, to_jsonl
from edge_et_bench.records import Configuration, Outcome, Stage
from edge_et_bench.targets import TARGETS, Row, markdown, rows
from tests.bench import run_of


def found(name: findings.Name, value: float) -> Finding:
    return Finding(
        name=name, subject="a b", value=value, least=value, most=value, n=5, cpu="c", versions={},
        commit=None,
    )  # fmt: skip


def by_name(files: list[Path]) -> dict[str, list[Row]]:
    made: dict[str, list[Row]] = {}
    for row in rows(files):
        made.setdefault(row.name, []).append(row)
    return made


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Vision: ours in 1 s, the peer's in 3 s."""
    made = []
    for label, runtime, seconds in (("edge-et x w8a8", "edge-et", 1.0), ("l q8_0", "llama.cpp", 3)):
        run = run_of([seconds] * 5, label=label, run_id=label)
        samples = tuple(replace(s, outcome=outcome(s.outcome, float(seconds))) for s in run.samples)
        made.append(
            replace(run, configuration=Configuration(label=label, runtime=runtime), samples=samples)
        )
    path = tmp_path / "runs.jsonl"
    path.write_text(to_jsonl(made))
    return path


def outcome(before: Outcome, seconds: float) -> Outcome:
    return replace(before, stages=(Stage(name="vision", seconds=seconds, tokens=None, steps=None),))


def test_a_stage_is_held_against_the_peers(runs: Path) -> None:
    (row,) = by_name([runs])["vision, one tile"]
    assert (row.figure, row.reached, row.target) == ("3.00 times", True, "2 times llama.cpp")
    assert (row.ours, row.peer) == ("1.00 s", "3.00 s (llama.cpp q8_0)")


def test_stages_of_different_files_are_not_held_against_each_other(runs: Path) -> None:
    ours, peer = (runs.with_name(f"{name}.jsonl") for name in ("ours", "peer"))
    first, second = read_runs(runs)
    ours.write_text(to_jsonl([first]))
    peer.write_text(to_jsonl([second]))
    assert by_name([ours, peer])["vision, one tile"][0].reached is None
    assert by_name([ours, peer, runs])["vision, one tile"][0].figure == "3.00 times"


@pytest.mark.parametrize(
    ("name", "target", "good", "bad"),
    [
        ("reasoner decode", "reasoner's decode", 0.99, 0.97),
        ("reasoner outside", "reasoner outside its kernels", 0.02, 0.04),
        ("another question", "another question, same image", 12.0, 9.0),
    ],
)
def test_a_finding_is_held_to_its_bound(
    tmp_path: Path, name: findings.Name, target: str, good: float, bad: float
) -> None:
    file = tmp_path / "f.jsonl"
    findings.add(file, [found(name, good)])
    findings.add(file, [found(name, bad)])
    assert [row.reached for row in by_name([file])[target]] == [True, False]


def test_what_was_not_measured_is_no_success(tmp_path: Path) -> None:
    file = tmp_path / "f.jsonl"
    findings.add(file, [found("vision cosine", 1.0)])
    made = rows([file])
    assert len(made) == len(TARGETS)
    assert {row.reached for row in made} == {True, None}
    assert "not measured" in markdown(made)


def test_the_cause_stands_beside_what_is_missed_only(tmp_path: Path) -> None:
    file = tmp_path / "f.jsonl"
    findings.add(file, [found("vision cosine", 0.9), found("vision cosine", 1.0)])
    (tmp_path / "causes.toml").write_text('"vision cosine" = "too few bits"\n')
    assert [row.cause for row in by_name([file])["vision cosine"]] == ["too few bits", ""]


def test_what_is_no_finding_is_named(tmp_path: Path) -> None:
    file = tmp_path / "f.jsonl"
    file.write_text('{"kind": "finding", "name": "beauty"}\n')
    with pytest.raises(InputError, match=r"f\.jsonl:1 is no finding"):
        rows([file])
    with pytest.raises(InputError, match="cannot be read"):
        rows([tmp_path / "none.jsonl"])
