"""Runs to JSON, jsonl and back; what is absent stays absent."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edge_et.errors import InputError
from edge_et_bench.record_files import read_runs, to_json, to_jsonl
from edge_et_bench.records import Gpu, Judged, Quality, Workload
from tests.bench import run_of


def full():
    """Return runs in which every kind of record occurs."""
    run = run_of([1.0, 1.5], run_id="a")
    judged = Judged(
        image="i.png", question="?", expected=("x", "y"), answer="x", right=True, seconds=0.5
    )
    return (
        replace(
            run,
            environment=replace(
                run.environment,
                gpus=(Gpu(name="g", driver="1", memory_bytes=5),),
                governor="powersave",
            ),
            configuration=replace(run.configuration, options={"url": "-"}),
            quality=Quality(
                data="d", sha256="0", correct=1, n=1, low=0.2, high=1.0, items=(judged,)
            ),
            idle_watts={"package-0": 3.0},
            samples=tuple(replace(s, energy_joules={"package-0": 2.0}) for s in run.samples),
        ),
        run_of([2.0], run_id="b"),
    )


@pytest.mark.parametrize("write", [to_json, to_jsonl])
def test_round_trip(tmp_path, write):
    path = tmp_path / "runs"
    path.write_text(write(full()), encoding="utf-8")
    assert read_runs(path) == full()


def test_jsonl_has_a_line_for_each_sample():
    lines = [json.loads(line) for line in to_jsonl(full()).splitlines()]
    assert [line["kind"] for line in lines] == ["run", "sample", "sample", "run", "sample"]
    assert lines[1]["run_id"] == "a"
    assert lines[0]["samples"] == []


def test_a_missing_stage_is_absent_not_zero(tmp_path):
    path = tmp_path / "runs"
    path.write_text(to_jsonl([run_of([1.0])]), encoding="utf-8")
    stages = read_runs(path)[0].samples[0].outcome.stages
    assert [stage.name for stage in stages] == ["vision", "answer_decode", "other"]
    assert read_runs(path)[0].samples[0].outcome.ttft_think_s is None


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: run | {"schema": 99}, "schema 99"),
        (lambda run: run | {"colour": 1}, "colour"),
        (lambda run: {k: v for k, v in run.items() if k != "load"}, "load"),
        (lambda run: run | {"round": "first"}, "round"),
        (lambda run: run | {"kind": "walk"}, "neither a run nor a sample"),
    ],
)
def test_what_is_no_run_is_refused(tmp_path, spoil, message):
    path = tmp_path / "runs"
    line = json.loads(to_jsonl([run_of([1.0])]).splitlines()[0])
    path.write_text(json.dumps(spoil(line)) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_runs(path)


def test_a_sample_needs_its_run(tmp_path):
    path = tmp_path / "runs"
    path.write_text(to_jsonl([run_of([1.0])]).splitlines()[1], encoding="utf-8")
    with pytest.raises(InputError, match="unknown run r0"):
        read_runs(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_runs(tmp_path / "nothing")


@pytest.mark.parametrize("text", ["", "\n", "[]"])
def test_a_file_without_runs_is_refused(tmp_path, text):
    path = tmp_path / "runs"
    path.write_text(text)
    with pytest.raises(InputError, match="holds no benchmark runs"):
        read_runs(path)


@pytest.mark.parametrize(
    "fields",
    [
        {"extraction_tokens": 5},
        {"extraction_tokens": 0, "thinking_tokens": 1, "answer_tokens": 1},
        {"image_width_px": 5},
        {"repeats": 0},
    ],
)
def test_workloads_that_make_no_sense(fields):
    with pytest.raises(InputError):
        Workload(name="w", summary="", image="i", question="?", **fields)
