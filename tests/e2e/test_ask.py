"""The starter answers, and its command line keeps its word."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.starter import PAIR, ROOT, SCRIPT, Run, read_examples

STAGES = (
    "queue_s", "measure_s", "focus_s", "image_s", "vision_s", "extract_prefill_s",
    "extract_decode_s", "handoff_s", "reason_prefill_s", "think_decode_s", "answer_decode_s",
    "check_s",
)  # fmt: skip
GREEDY = ("--temperature", "0")


@pytest.mark.parametrize(
    "case", read_examples(), ids=lambda case: f"{case['image']}: {case['question']}"
)
def test_the_examples_are_answered_right(edge_et: Run, case: dict[str, str]) -> None:
    done = edge_et("ask", f"examples/{case['image']}", case["question"], *PAIR)
    assert (done.returncode, done.stdout) == (0, f"{case['answer']}\n"), done.stderr
    assert done.stderr.strip(), "extraction and thinking are shown on stderr"


def test_extract_then_think_is_ask(edge_et: Run, example: dict[str, Any]) -> None:
    image, question = example["image"], example["question"]
    asked = json.loads(edge_et("ask", image, question, "--json", *GREEDY, *PAIR).stdout)
    extracted = edge_et("extract", image, question, *PAIR[:2])
    assert extracted.stdout == asked["extraction"]["text"] + "\n"
    thought = edge_et(
        "think", "--from", "-", question, "--json", *GREEDY, *PAIR[2:], stdin=extracted.stdout
    )
    record = json.loads(thought.stdout)
    assert (record["answer"], record["thinking"]) == (asked["answer"], asked["thinking"])
    assert record["prompt_tokens"] == asked["prompt_tokens"]


def test_the_json_record(edge_et: Run, example: dict[str, Any]) -> None:
    done = edge_et("ask", example["image"], example["question"], "--json", *PAIR)
    assert (done.returncode, done.stderr) == (0, "")
    record = json.loads(done.stdout)
    assert record["answer"] == example["answer"]
    assert record["thinking"]
    assert record["extraction"]["text"]
    assert record["finish_reason"] == "stop"
    assert record["device"]["extractor"] == record["device"]["reasoner"] == "cpu"
    image = record["image"]
    for name in ("original_height_px", "used_width_px", "tiles", "image_tokens"):
        assert image[name] > 0
    assert record["extraction"]["prompt_tokens"] > image["image_tokens"]


def test_the_stages_add_up_to_the_wall_clock(edge_et: Run, example: dict[str, Any]) -> None:
    unaccounted = []
    for _ in range(5):  # on a busy machine a call may lose its core between two stages
        done = edge_et("ask", example["image"], example["question"], "--json", *PAIR)
        timings = json.loads(done.stdout)["timings"]
        spent_s = sum(timings[name] for name in STAGES)
        unaccounted.append(abs(timings["total_s"] - spent_s) / timings["total_s"])
        if unaccounted[-1] < 0.02:
            break
    assert min(unaccounted) < 0.02
    assert 0 < timings["ttft_extract_s"] < timings["ttft_think_s"] < timings["ttfa_s"]


def test_events(edge_et: Run, example: dict[str, Any]) -> None:
    done = edge_et("ask", example["image"], example["question"], "--jsonl", *PAIR)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    result = events[-1]
    assert result["event"] == "result"
    assert result["answer"] == example["answer"]
    for kind, whole in (
        ("extraction", result["extraction"]["text"]),
        ("thinking", result["thinking"]),
    ):
        assert "".join(e["text"] for e in events[:-1] if e["event"] == kind).strip() == whole


def test_an_image_from_stdin_and_no_thinking(edge_et: Run, example: dict[str, Any]) -> None:
    data = (ROOT / example["image"]).read_bytes()
    done = edge_et("ask", "-", example["question"], "--json", "--no-think", *PAIR, stdin=data)
    record = json.loads(done.stdout)
    assert done.returncode == 0
    assert (record["thinking"], record["think_tokens"]) == ("", 0)
    assert record["answer"]


def test_a_thinking_budget_leaves_the_answer_its_own(edge_et: Run, example: dict[str, Any]) -> None:
    done = edge_et(
        "ask", example["image"], example["question"], "--json", "--think-budget", "4", *PAIR
    )
    record = json.loads(done.stdout)
    assert record["think_tokens"] == 4
    assert record["answer"]
    assert record["finish_reason"] in ("think_budget", "length")


def test_exit_codes(edge_et: Run, example: dict[str, Any], tmp_path: Path) -> None:
    image, question = example["image"], example["question"]
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\x03\x00")
    assert edge_et("ask", image).returncode == 2
    assert edge_et("ask", str(tmp_path / "none.png"), question, *PAIR).returncode == 3
    assert edge_et("ask", str(tmp_path / "text.png"), question, *PAIR).returncode == 3
    assert edge_et("ask", image, question, "--pair", "nope").returncode == 4
    cut = edge_et("ask", image, question, *PAIR[:2], "--reasoner", str(tmp_path / "cut.gguf"))
    assert cut.returncode == 4
    assert "Traceback" not in cut.stderr
    length = edge_et("ask", image, question, "--no-think", "--answer-budget", "1", *PAIR)
    assert (length.returncode, bool(length.stdout.strip())) == (7, True)


def test_an_unusable_device_is_an_error(edge_et: Run, example: dict[str, Any]) -> None:
    done = edge_et("ask", example["image"], example["question"], "--device", "cuda", *PAIR)
    if done.returncode != 0:  # a machine with CUDA answers
        assert done.returncode == 5
        assert "--device cpu" in done.stderr


def test_ctrl_c(example: dict[str, Any], tmp_path: Path) -> None:
    """The pipe tells when the process is there: opening it waits for the reader."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = subprocess.Popen(
        [str(SCRIPT), "think", "--from", str(pipe), "What?", *PAIR[2:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell's background job ignores SIGINT, and its children would, too
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with pipe.open("w"):
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in stderr


def test_a_reader_that_goes_away(example: dict[str, Any]) -> None:
    process = subprocess.Popen(
        [str(SCRIPT), "ask", example["image"], example["question"], "--quiet", *PAIR],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    stderr = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 141
    assert stderr == b""


def test_doctor_finds_the_pair(edge_et: Run) -> None:
    done = edge_et("doctor", "--json")
    record = json.loads(done.stdout)
    assert (done.returncode, record["usable"]) == (0, True), record
    found = {finding["name"]: finding["data"] for finding in record["findings"]}
    models = [name for name in found if name.startswith(("extractor ", "reasoner "))]
    assert all(found[name]["hashes_hold"] for name in models if " of " not in name)
    decoder = found["extractor of starter"]["decoder"]
    assert decoder["CPUExecutionProvider"]["GroupQueryAttention"] == 4
    memory = found["memory of starter"]
    assert memory["residency"] == "all"
    assert 0 < memory["least_bytes"] < memory["peak_bytes"] < memory["free_bytes"]
    assert edge_et("doctor").returncode == 0


def test_doctor_says_what_keeps_another_pair_from_answering(edge_et: Run) -> None:
    done = edge_et("doctor", "--json", "--pair", "no-such-pair")
    record = json.loads(done.stdout)
    assert (done.returncode, record["usable"]) == (1, False)
    wrong = [finding for finding in record["findings"] if finding["status"] == "problem"]
    assert [finding["name"] for finding in wrong] == ["pair no-such-pair"]
    assert "--extractor" in wrong[0]["fix"]


def test_cuda_that_is_not_there_is_5(edge_et: Run, example: dict[str, Any]) -> None:
    from edge_et import providers

    if "CUDAExecutionProvider" in providers.usable_providers():
        pytest.skip("CUDA works here")
    for command in (("ask", example["image"]), ("think", "--from", str(ROOT / "README.md"))):
        done = edge_et(*command, example["question"], "--device", "cuda")
        assert done.returncode == 5, done.stderr
        assert "CUDA was asked for" in done.stderr
