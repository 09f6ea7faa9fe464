"""The peers for real: tiny models of one checkpoint in each engine, and a server on loopback."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edge_et_bench.record_files import read_runs
from tests.e2e.starter import Run
from tests.tiny import make_extractor, make_reasoner

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxruntime_genai")
pytest.importorskip("gguf")

READ, WRITTEN = 40, 7
WORKLOAD = """
[tiny]
summary = "a few tokens"
image = "{image}"
question = "What?"
{prompt}
extraction_tokens = 7
thinking_tokens = 1
answer_tokens = 1
warmup = 0
repeats = 2
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One reasoner's weights for llama.cpp, transformers and genai; an extractor for edge-et."""
    from edge_et_export import ExtractorOptions, ReasonerOptions, export_extractor, export_reasoner
    from edge_et_export.precisions import Precisions

    root = tmp_path_factory.mktemp("peers")
    reasoner = make_reasoner(root / "reasoner", "untied", seed=1)
    export_reasoner(reasoner, root / "gguf" / "tiny.gguf", ReasonerOptions(type="f16"))
    precisions = Precisions(vision=("fp32",), decoder=("int8",), embeddings="fp32")
    export_extractor(
        make_extractor(root / "checkpoint"),
        root / "extractor",
        ExtractorOptions(precisions=precisions, allow_drift=True),
    )
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-p", "fp32", "-e", "cpu"]
    command += ["-i", str(reasoner), "-m", str(reasoner), "-o", str(root / "genai")]
    command += ["-c", str(root / "cache")]
    subprocess.run(command, check=True, capture_output=True)
    return root


@pytest.fixture
def workload(tmp_path: Path) -> Any:
    """Return a function that writes a workload, with an image or with made-up tokens."""
    from PIL import Image

    def write(*, alone: bool) -> str:
        image = tmp_path / "image.png"
        Image.new("RGB", (40, 30), "red").save(image)
        path = tmp_path / "workload.toml"
        prompt = f"prompt_tokens = {READ}" if alone else ""
        path.write_text(WORKLOAD.format(image=image, prompt=prompt))
        return str(path)

    return write


def test_each_engine_reads_and_writes_the_same_counts(
    edge_et: Run, models: Path, workload: Any, tmp_path: Path
) -> None:
    out = tmp_path / "runs.jsonl"
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF of a kind")
    done = edge_et(
        "bench", "peers", "--extractor", str(models / "extractor"),
        "--gguf", str(models / "gguf" / "tiny.gguf"), "--gguf", str(broken),
        "--checkpoint", str(models / "reasoner"), "--genai", str(models / "genai"),
        "--workload", workload(alone=True), "--threads", "1", "--format", "jsonl",
        "--out", str(out),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "llama.cpp broken did not run" in done.stderr
    runs = {run.configuration.label: run for run in read_runs(out)}
    assert list(runs) == [
        "edge-et extractor", "llama.cpp tiny", "transformers reasoner fp32",
        "transformers reasoner bf16", "onnxruntime-genai genai",
    ]  # fmt: skip
    for label, run in runs.items():
        assert run.used.threads == {"extractor": 1}, label
        assert run.used.parts, label
        for sample in run.samples:
            tokens = {s.name: (s.tokens, s.steps) for s in sample.outcome.stages}
            made = {"extract_prefill": (READ, None), "extract_decode": (WRITTEN, WRITTEN - 1)}
            assert tokens == {**made, "other": (None, None)}, label
    # the same weights, the same prompt, the greedy choice: the same text from three engines
    alike = ("llama.cpp tiny", "transformers reasoner fp32", "onnxruntime-genai genai")
    texts = {runs[label].samples[0].outcome.answer for label in alike}
    assert len(texts) == 1
    assert len(set(texts.pop())) > 1
    assert {d.stage for d in runs["llama.cpp tiny"].demands} == {
        "extract_prefill", "extract_decode",
    }  # fmt: skip


def test_a_model_with_eyes_in_transformers(
    edge_et: Run, models: Path, workload: Any, tmp_path: Path
) -> None:
    out = tmp_path / "runs.jsonl"
    done = edge_et(
        "bench", "peers", "--checkpoint", str(models / "checkpoint"),
        "--workload", workload(alone=False), "--format", "jsonl", "--out", str(out),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for run in read_runs(out):
        stages = {s.name: s for s in run.samples[0].outcome.stages}
        assert list(stages) == ["image", "vision", "extract_prefill", "extract_decode", "other"]
        assert stages["vision"].tokens == 16  # (32 / 8) squared
        assert stages["extract_prefill"].tokens > 16


@contextlib.contextmanager
def server(*, words: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve chat completions of so many words; yield the URL and the bodies that came."""
    bodies: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            bodies.append({"path": self.path} | body)
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            events: list[Any] = [{"choices": [{"delta": {"role": "assistant", "content": ""}}]}]
            events += [{"choices": [{"delta": {"content": "red "}}]}] * words
            events += [{"choices": [{"delta": {}, "finish_reason": "length"}]}]
            usage = {"prompt_tokens": 55, "completion_tokens": words}
            for event in [*events, {"choices": [], "usage": usage}]:
                self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
                self.wfile.flush()
            self.wfile.write(b"data: [DONE]\n\n")

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{served.server_address[1]}/v1", bodies
        finally:
            served.shutdown()
            thread.join()


@pytest.mark.network
def test_a_server(edge_et: Run, workload: Any, tmp_path: Path) -> None:
    out = tmp_path / "runs.jsonl"
    with server(words=WRITTEN) as (url, bodies):
        done = edge_et(
            "bench", "peers", "--url", url, "--url-model", "small",
            "--workload", workload(alone=False), "--format", "jsonl", "--out", str(out),
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [body["path"] for body in bodies] == ["/v1/chat/completions"] * 2
    assert {body["model"] for body in bodies} == {"small"}
    (run,) = read_runs(out)
    outcome = run.samples[0].outcome
    stages = {s.name: s.tokens for s in outcome.stages}
    assert stages == {"extract_prefill": 55, "extract_decode": WRITTEN, "other": None}
    assert (outcome.answer, outcome.finish_reason) == ("red " * WRITTEN, "length")


@pytest.mark.network
def test_a_server_that_stops_early_is_not_compared(edge_et: Run, workload: Any) -> None:
    with server(words=WRITTEN - 2) as (url, _):
        done = edge_et("bench", "peers", "--url", url, "--workload", workload(alone=False))
    assert done.returncode == 3
    assert "wrote 5 tokens where the workload wants 7" in done.stderr
