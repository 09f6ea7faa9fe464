"""The real harness on the pair that ships, with few tokens. No test judges a time."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest

from edge_et_bench.record_files import read_runs
from edge_et_bench.records import StageName
from tests.e2e.starter import ROOT, Run

STARTER = ROOT / "edge_et" / "models" / "starter"
MADE = {"extract_decode": 4, "think_decode": 6, "answer_decode": 2}
"""The smoke workload's."""


@pytest.fixture(scope="module")
def measured(edge_et: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """Return the run as JSON data, and the file it lies in."""
    out = tmp_path_factory.mktemp("bench") / "runs.json"
    page = out.with_suffix(".html")
    done = edge_et(
        "bench", "starter", "--workload", "smoke", "--repeats", "3", "--format", "json",
        "--out", str(out), "--html", str(page),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    (run,) = json.loads(out.read_text(encoding="utf-8"))
    return run, out


def test_the_environment(measured):
    found = measured[0]["environment"]
    for name in ("cpu", "usable_cores", "ram_bytes", "os", "python"):
        assert found[name], name
    for library in ("edge-et", "onnxruntime", "llama-cpp-python", "llama.cpp"):
        assert found["versions"][library]
    head = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    if head.returncode == 0:
        assert head.stdout.startswith(found["commit"].removesuffix("+changes"))


def test_what_was_used(measured):
    used = measured[0]["used"]
    assert set(used["devices"]) == set(used["threads"]) == {"extractor", "reasoner"}
    roles = {part["role"] for part in used["parts"]}
    assert {"vision_encoder", "decoder", "embed_tokens", "reasoner"} <= roles
    manifests = [
        json.loads((STARTER / half / "edge_et.json").read_text(encoding="utf-8"))
        for half in ("extractor", "reasoner")
    ]
    known = {p["sha256"]: p["precision"] for m in manifests for p in m["parts"]}
    for part in used["parts"]:
        assert known[part["sha256"]] == part["precision"]


def test_every_sample_has_every_stage(measured):
    samples = measured[0]["samples"]
    assert [sample["repeat"] for sample in samples] == [0, 1, 2]
    for sample in samples:
        outcome = sample["outcome"]
        stages = {stage["name"]: stage for stage in outcome["stages"]}
        assert tuple(stages) == get_args(StageName)
        assert all(stage["seconds"] >= 0 for stage in stages.values())
        assert {name: stages[name]["tokens"] for name in MADE} == MADE
        assert sum(s["seconds"] for s in stages.values()) == pytest.approx(
            outcome["total_s"], rel=0.02
        )
        assert stages["extract_prefill"]["tokens"] > stages["vision"]["tokens"] > 0
        assert stages["vision"]["steps"] == 1
        assert 0 < outcome["ttft_extract_s"] < outcome["ttft_think_s"] < outcome["total_s"]
        assert outcome["answer"]
    assert any(sample["stage_peaks_bytes"] for sample in samples)


def test_load_memory_and_ceiling(measured):
    run = measured[0]
    assert run["load"]["seconds"] > 0
    assert run["load"]["page_cache"] == "warm"
    assert run["load"]["resident_fraction"] in (1.0, None)
    memory = run["memory"]
    assert 0 < memory["baseline_bytes"] < memory["peak_bytes"]
    assert memory["baseline_bytes"] < memory["load_peak_bytes"] <= memory["peak_bytes"]
    assert memory["timeline"]
    assert {c["threads"] for c in run["ceilings"]} == set(run["used"]["threads"].values())
    for ceiling in run["ceilings"]:
        assert ceiling["read_bytes_per_s"] > 0
        assert ceiling["macs_per_s"]["fp32"] > 0 < ceiling["macs_per_s"]["int8"]
    stages = {demand["stage"] for demand in run["demands"]}
    assert stages == {
        "vision", "extract_prefill", "extract_decode", "reason_prefill", "think_decode",
        "answer_decode",
    }  # fmt: skip


def test_quality_comes_with_it(measured):
    quality = measured[0]["quality"]
    assert quality["n"] == len(quality["items"]) == 40
    assert quality["correct"] == sum(item["right"] for item in quality["items"]) >= 30
    assert 0 < quality["low"] < quality["correct"] / 40 <= quality["high"] <= 1


def test_the_page_stands_by_itself(measured):
    html = measured[1].with_suffix(".html").read_text(encoding="utf-8")
    assert html.count("<svg") >= 3
    assert "<script" not in html and 'src="' not in html
    assert "starter" in html


def test_the_file_is_read_back_and_compared(edge_et: Run, measured):
    out = measured[1]
    (run,) = read_runs(out)
    assert run.run_id == measured[0]["run_id"]
    done = edge_et("bench", "compare", str(out), str(out), "--format", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {"total_s", "ttft_extract_s", "vision"} <= {one["metric"] for one in found}
    assert {one["verdict"] for one in found} == {"no difference"}


def test_questions_of_ones_own(edge_et: Run, tmp_path: Path):
    examples = json.loads((ROOT / "examples" / "questions.json").read_text(encoding="utf-8"))[:2]
    for example in examples:
        example["image"] = str(ROOT / "examples" / example["image"])
    examples.append(examples[0] | {"answer": "nothing like that"})
    data = tmp_path / "own.jsonl"
    data.write_text("\n".join(map(json.dumps, examples)), encoding="utf-8")
    done = edge_et("bench", "quality", "--data", str(data), "starter", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert [one["right"] for one in json.loads(done.stdout)["items"]] == [True, True, False]


@pytest.mark.parametrize("command", [("quality",), ("run", "--workload", "smoke")])
def test_an_image_that_is_not_there_is_3_before_anything_runs(
    edge_et: Run, tmp_path: Path, command: tuple[str, ...]
):
    data = tmp_path / "own.jsonl"
    data.write_text('{"image": "gone.png", "question": "?", "answer": "x"}\n', encoding="utf-8")
    # the pair is not there either: the questions are looked at first
    done = edge_et("bench", *command, "nothing", "--data", str(data))
    assert (done.returncode, done.stdout) == (3, "")
    assert "own.jsonl:1: there is no file" in done.stderr


def test_a_pair_that_is_not_there_is_4(edge_et: Run):
    done = edge_et("bench", "nothing", "--workload", "smoke", "--no-quality")
    assert (done.returncode, done.stdout) == (4, "")
    assert "error[unknown_model]" in done.stderr
