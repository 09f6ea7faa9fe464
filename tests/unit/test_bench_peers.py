"""Peers without their engines: the choice, the stream of a server, what is said of one missing."""

from __future__ import annotations

import base64
import io
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from edge_et.errors import InferenceFailed, InputError, MissingArtifact, MissingDependency
from edge_et_bench import runner
from edge_et_bench.adapters import Request, Tokens, make_adapter
from edge_et_bench.peers import one_model, openai_format
from edge_et_bench.peers.choice import Choice, configurations
from edge_et_bench.peers.side_by_side import not_run, side_by_side
from edge_et_bench.records import Configuration, Workload
from edge_et_bench.runner import WorkerFailed
from tests import bench


def request(**changes) -> Request:
    picture = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(picture, "PNG")
    forced = Tokens(extraction=5, thinking=1, answer=1)
    given = {"image": picture.getvalue(), "question": "What?", "forced": forced}
    return Request(**{**given, "max_tiles": 1, "seed": 3, **changes})


def stream(*lines: str) -> list[bytes]:
    return [f"{line}\n".encode() for line in lines]


def test_events_are_the_data_up_to_the_end_of_the_stream():
    lines = stream(": a comment", "", "event: x", 'data: {"a": 1}', 'data:{"b": 2}')
    ended = stream("data: [DONE]", 'data: {"c": 3}')
    assert list(openai_format.events(lines + ended)) == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize(
    "line", ["data: {", 'data: "text"', 'data: {"error": {"message": "no such model"}}']
)
def test_a_stream_that_tells_of_an_error_or_is_garbled_fails(line):
    with pytest.raises(InferenceFailed):
        list(openai_format.events(stream(line)))


def test_the_thinking_of_a_server_is_text_as_well():
    assert openai_format.text_of({"content": None, "reasoning_content": "so"}) == "so"
    assert openai_format.text_of({"role": "assistant", "content": ""}) == ""


def test_the_image_goes_to_a_server_as_it_is():
    asked = request()
    body = openai_format.payload(asked, "small")
    image, text = body["messages"][0]["content"]
    head, data = image["image_url"]["url"].split(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data) == asked.image
    assert text["text"] == "What?"
    assert (body["max_tokens"], body["ignore_eos"], body["stream"]) == (5, True, True)
    assert "max_tokens" not in openai_format.payload(request(forced=None), "small")


def test_a_server_is_not_asked_to_read_made_up_tokens():
    with pytest.raises(InputError, match="made-up"):
        openai_format.payload(request(prompt_tokens=10), "small")


@pytest.mark.parametrize("url", ["localhost:8080/v1", "ftp://host/v1", "http:///v1"])
def test_a_url_is_one(url):
    configuration = Configuration(
        label="x", runtime="openai-url", options={"url": url, "model": "m"}
    )
    with pytest.raises(InputError, match="no http URL"):
        make_adapter(configuration)


@pytest.mark.parametrize(
    ("runtime", "module", "command"),
    [
        ("transformers", "transformers", 'pip install "edge-et[export]"'),
        ("onnxruntime-genai", "onnxruntime_genai", 'pip install "edge-et[export]"'),
        ("openvino-genai", "openvino", "pip install openvino-genai"),
    ],
)
def test_a_peer_that_is_not_installed_names_its_pip_command(
    runtime, module, command, monkeypatch, tmp_path
):
    monkeypatch.setitem(sys.modules, module, None)
    for name in ("genai", "transformers_cpu", "openvino_genai"):
        monkeypatch.delitem(sys.modules, f"edge_et_bench.peers.{name}", raising=False)
    (tmp_path / "genai_config.json").write_text('{"model": {}}')
    options = {"model": str(tmp_path), "checkpoint": str(tmp_path), "dtype": "fp32"}
    with pytest.raises(MissingDependency) as caught:
        make_adapter(Configuration(label="x", runtime=runtime, options=options))
    assert caught.value.hint == command


def test_an_option_is_missed_by_name_and_a_path_by_itself(tmp_path):
    with pytest.raises(InputError, match="'model'"):
        one_model.path_option(Configuration(label="x", runtime="llama.cpp"), "model")
    absent = Configuration(label="x", options={"model": str(tmp_path / "absent.gguf")})
    with pytest.raises(MissingArtifact, match=r"absent\.gguf"):
        one_model.path_option(absent, "model")


def test_prompts_are_the_same_for_every_runtime_and_inside_the_vocabulary():
    first = one_model.prompt_ids(200, vocab_size=50, seed=1)
    assert first == one_model.prompt_ids(200, vocab_size=50, seed=1)
    assert first != one_model.prompt_ids(200, vocab_size=50, seed=2)
    assert set(first) <= set(range(50))
    assert len(first) == 200


def test_a_language_model_alone_wants_a_prompt_and_a_count():
    with pytest.raises(InputError, match="prompt_tokens"):
        one_model.needed_prompt(request())
    with pytest.raises(InputError, match="forced"):
        one_model.new_tokens(request(forced=None))


def test_a_prompt_of_tokens_wants_forced_counts():
    with pytest.raises(InputError, match="prompt_tokens"):
        Workload(name="w", summary="", image="i", question="q", prompt_tokens=10)


def test_laps_leave_nothing_out():
    laps = one_model.Laps()
    time.sleep(0.01)  # far longer than what follows
    laps.first_token()
    laps.end("extract_prefill")
    laps.end("extract_decode", tokens=4, steps=3)
    laps.count("extract_prefill", 7)
    outcome = laps.outcome("text")
    assert [s.name for s in outcome.stages] == ["extract_prefill", "extract_decode", "other"]
    assert [s.tokens for s in outcome.stages] == [7, 4, None]
    assert sum(s.seconds for s in outcome.stages) == pytest.approx(outcome.total_s)
    assert outcome.ttft_extract_s <= outcome.stages[0].seconds


def test_what_is_given_is_what_runs():
    choice = Choice(
        extractors=(Path("x"),),
        decoders=("int8", "q4"),
        ggufs=(Path("a-q8_0.gguf"),),
        mmproj=Path("eyes.gguf"),
        checkpoints=(Path("c"),),
        openvino=(Path("ov"),),
        url="http://localhost:8080/v1",
        url_model="small",
        threads=2,
    )
    alone = configurations(choice, alone=True)
    assert [c.label for c in alone] == [
        "edge-et x int8", "edge-et x q4", "llama.cpp a-q8_0", "transformers c fp32",
        "transformers c bf16", "openvino-genai ov", "openai-url small",
    ]  # fmt: skip
    assert alone[0].runtime == "edge-et-decoder"
    assert configurations(choice, alone=False)[0].runtime == "edge-et"
    assert alone[2].options == {"model": "a-q8_0.gguf", "mmproj": "eyes.gguf"}
    assert {c.threads for c in alone} == {2}
    assert {c.device for c in alone} == {"cpu"}


def test_two_models_of_one_name_have_two_labels():
    choice = Choice(ggufs=(Path("a/model.gguf"), Path("b/model.gguf")))
    labels = [c.label for c in configurations(choice, alone=True)]
    assert labels == ["llama.cpp a/model.gguf", "llama.cpp b/model.gguf"]


def test_nothing_given_is_refused():
    with pytest.raises(InputError, match="anything to run"):
        configurations(Choice(threads=2), alone=True)


def test_the_table_has_a_row_for_each_and_a_line_for_what_did_not_run():
    failures = {
        "openvino-genai ov": WorkerFailed(
            "needs openvino", hint="pip install openvino-genai", code="missing_dependency",
            exit_code=2,
        ),
        "llama.cpp a": WorkerFailed("broken file", hint=None, code="load_failed", exit_code=4),
    }  # fmt: skip
    runs = [bench.run_of([1.0, 2.0], label="one"), bench.run_of([4.0], label="two", run_id="r1")]
    text = side_by_side(runs, failures)
    rows = [line for line in text.splitlines() if line.startswith(("| one", "| two"))]
    assert len(rows) == 2
    assert rows[1].split(" | ")[2] == "2.000"  # vision: half of the time
    lines = not_run(failures).splitlines()
    assert "not installed" in lines[0]
    assert "pip install openvino-genai" in lines[0]
    assert lines[1] == "- llama.cpp a did not run: broken file"
    assert text.endswith(lines[1] + "\n")


def test_a_peer_that_fails_does_not_stop_the_others(monkeypatch):
    def run_job(job, told):
        if job.configuration.label == "bad":
            raise WorkerFailed("broken", hint=None, code="load_failed", exit_code=4)
        return bench.run_of([1.0], label=job.configuration.label, run_id=job.run_id)

    monkeypatch.setattr(runner, "run_job", run_job)
    plan = runner.Plan(
        configurations=tuple(Configuration(label=name) for name in ("good", "bad", "fine")),
        workloads=(bench.WORKLOAD,),
    )
    failed = []
    runs = runner.run_plan(plan, failed=lambda job, error: failed.append(job.configuration.label))
    assert [run.configuration.label for run in runs] == ["good", "fine"]
    assert failed == ["bad"]
    with pytest.raises(WorkerFailed, match="broken"):
        runner.run_plan(plan)
