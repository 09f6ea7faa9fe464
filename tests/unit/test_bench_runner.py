"""Which jobs are run in what order, and what becomes of a worker that fails."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from PIL import Image
from typer.testing import CliRunner

from edge_et.cli.app import app
from edge_et.errors import InputError, MissingDependency
from edge_et_bench.record_files import read_runs
from edge_et_bench.records import Configuration
from edge_et_bench.runner import Plan, WorkerFailed, plan_jobs, run_job, run_plan
from edge_et_bench.workloads import BUILT_IN, find_workloads, read_workloads, request_of
from tests.bench import WORKLOAD, run_of

LABELS = tuple("abcde")
PLAN = Plan(
    configurations=tuple(Configuration(label=label) for label in LABELS),
    workloads=(WORKLOAD, replace(WORKLOAD, name="second")),
    rounds=3,
    quality_data="questions",
)


def names(jobs):
    return [(job.configuration.label, job.workload.name) for job in jobs]


def test_each_round_has_every_job_once_in_another_order():
    jobs = plan_jobs(PLAN)
    rounds = [[job for job in jobs if job.round == number] for number in range(3)]
    assert jobs == [job for batch in rounds for job in batch]
    assert len({tuple(sorted(names(batch))) for batch in rounds}) == 1
    assert len({tuple(names(batch)) for batch in rounds}) == 3
    assert len({job.run_id for job in jobs}) == len(jobs) == 30


def test_the_order_comes_from_its_seed():
    assert names(plan_jobs(PLAN)) == names(plan_jobs(PLAN))
    assert names(plan_jobs(PLAN)) != names(plan_jobs(replace(PLAN, order_seed=1)))


def test_quality_is_asked_once_for_each_configuration():
    asked = [job for job in plan_jobs(PLAN) if job.quality_data]
    assert sorted(job.configuration.label for job in asked) == list(LABELS)


def test_an_error_of_the_worker_keeps_its_code():
    job = plan_jobs(replace(PLAN, configurations=(Configuration(label="x", runtime="steam"),)))[0]
    with pytest.raises(WorkerFailed, match="unknown runtime 'steam'") as caught:
        run_job(job, lambda *_: None)
    assert (caught.value.code, caught.value.exit_code) == ("bad_input", 3)


def test_a_worker_that_dies_is_told(monkeypatch):
    monkeypatch.setattr("edge_et_bench.runner._WORKER", "this")  # prints a poem and ends with 0
    monkeypatch.setattr("edge_et_bench.runner._events", lambda process: iter(()))
    with pytest.raises(WorkerFailed, match="before its run was whole"):
        run_job(plan_jobs(PLAN)[0], lambda *_: None)


def test_the_built_in_workloads_are_whole():
    for workload in read_workloads(BUILT_IN).values():
        assert request_of(workload).image
        assert len(workload.image_sha256) == 64


def test_a_workload_of_ones_own(tmp_path):
    Image.new("RGB", (8, 6), "red").save(tmp_path / "red.png")
    path = tmp_path / "own.toml"
    path.write_text(
        '[mine]\nsummary = "-"\nimage = "red.png"\nquestion = "?"\nimage_height_px = 30\n'
        "image_width_px = 20\nextraction_tokens = 1\nthinking_tokens = 2\nanswer_tokens = 3\n",
        encoding="utf-8",
    )
    (workload,) = find_workloads(str(path))
    request = request_of(workload)
    with Image.open(io.BytesIO(request.image)) as sent:
        assert sent.size == (20, 30)
    assert request.forced is not None
    assert (request.forced.extraction, request.forced.thinking, request.forced.answer) == (1, 2, 3)


@pytest.mark.parametrize(
    "text",
    [
        "[mine]\nsummary = 1",
        "mine = 1",
        '[mine]\nsummary = "-"\nimage = "gone.png"\nquestion = "?"',
        "[mine",
    ],
)
def test_workloads_that_cannot_be_read(tmp_path, text):
    path = tmp_path / "own.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"own\.toml"):
        find_workloads(str(path))
    with pytest.raises(InputError, match="no workload"):
        find_workloads("nothing")


@pytest.fixture
def bench(monkeypatch):
    """`edge-et bench`, with runs made by hand for every job; returns what was planned, too."""
    plans = []

    def run_plan(plan, told):
        plans.append(plan)
        return tuple(
            run_of([1.0, 1.1], label=c.label, workload=w, run_id=f"{c.label}{w.name}")
            for w in plan.workloads
            for c in plan.configurations
        )

    monkeypatch.setattr("edge_et_bench.runner.run_plan", run_plan)

    def run(*arguments):
        return CliRunner().invoke(app, ["bench", *map(str, arguments)]), plans

    return run


def test_a_pair_without_a_command_is_run(bench):
    done, (plan,) = bench("starter", "--repeats", 3, "--format", "json")
    assert done.exit_code == 0, done.output
    assert [c.label for c in plan.configurations] == ["starter"]
    assert [(w.name, w.repeats) for w in plan.workloads] == [("natural", 3)]
    assert json.loads(done.stdout)[0]["configuration"]["label"] == "starter"


def test_options_given_twice_make_configurations(bench):
    done, (plan,) = bench(
        "--threads", 1, "--threads", 2, "--decoder", "int8", "--decoder", "q4", "--no-quality",
        "--workload", "smoke", "--workload", "forced", "--format", "csv",
    )  # fmt: skip
    assert [c.label for c in plan.configurations] == [
        f"starter, decoder {decoder}, {count} threads"
        for decoder in ("int8", "q4")
        for count in (1, 2)
    ]
    assert [w.name for w in plan.workloads] == ["smoke", "forced"]
    assert plan.quality_data is None
    assert len(done.stdout.splitlines()) == 1 + 4 * 2 * 2


def test_a_file_to_compare_and_to_show_again(bench, tmp_path):
    out, page = tmp_path / "a.jsonl", tmp_path / "a.html"
    done, _ = bench("--format", "jsonl", "--out", out, "--html", page)
    assert (done.exit_code, done.stdout) == (0, "")
    assert read_runs(out)[0].configuration.label == "starter"
    html = page.read_text(encoding="utf-8")
    assert html.count("<svg") == 3
    assert "<table>" in html
    assert "src=" not in html
    compared, _ = bench("compare", out, out)
    assert "no difference" in compared.stdout
    assert "slower" not in compared.stdout
    assert "other processes used 25% and 25% of the cores" in compared.stdout
    shown, _ = bench("render", out)
    assert "### starter · natural" in shown.stdout


def test_the_table_says_how_far_the_ceiling_is(bench):
    done, _ = bench("--format", "md")
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("| answer_decode")]
    # 10 steps of 10 MB in 0.2625 s (the median of two is the later) under 1 GB/s
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[6:8] == ["38.1", "36%"]


def test_without_the_extra_no_process_is_started(monkeypatch):
    def started(job, told):
        raise AssertionError("a worker was started")

    monkeypatch.setattr("edge_et_bench.runner.run_job", started)
    monkeypatch.setattr("edge_et_bench.runner.find_spec", lambda name: None)
    with pytest.raises(MissingDependency) as caught:
        run_plan(PLAN)
    assert caught.value.hint == 'pip install "edge-et[bench]"'
