"""Second questions about an image, with the pair that ships: the same bits, sooner."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edge_et
from edge_et import extractor as extractor_module
from edge_et.config import GenerationConfig, RuntimeConfig, SamplingConfig
from tests.e2e.starter import PAIR, ROOT, SCRIPT, Run

OFF = RuntimeConfig(cache_bytes=0)
GREEDY = GenerationConfig(reasoner_sampling=SamplingConfig())
QUESTIONS = (
    "Which object is the highest?",
    "Is there a red object?",
    "How many objects are there?",
)
COMPUTED = {"extraction": "computed", "image_prefill": "computed", "image_features": "computed"}
CONTINUED = {"extraction": "computed", "image_prefill": "disk", "image_features": None}
REPLAYED = {"extraction": "disk", "image_prefill": None, "image_features": None}


def load(runtime: RuntimeConfig) -> edge_et.Chain:
    options = dict(zip(PAIR[::2], PAIR[1::2], strict=True))
    return edge_et.load(
        extractor=options.get("--extractor"), reasoner=options.get("--reasoner"), runtime=runtime
    )


@pytest.fixture
def logits_of(
    monkeypatch: pytest.MonkeyPatch, example: dict[str, Any]
) -> Callable[[edge_et.Chain, str], tuple[str, np.ndarray]]:
    """Return a function that extracts and gives the text with the logits of every token."""
    seen: list[np.ndarray] = []
    choose = extractor_module.choose_token

    def spy(logits: np.ndarray, *rest: Any) -> int:
        seen.append(logits.copy())
        return choose(logits, *rest)

    monkeypatch.setattr(extractor_module, "choose_token", spy)

    def extract(chain: edge_et.Chain, question: str) -> tuple[str, np.ndarray]:
        seen.clear()
        return chain.extract(ROOT / example["image"], question).text, np.stack(seen)

    return extract


def test_a_warm_run_gives_the_bits_of_a_cold_one(
    tmp_path: Path, logits_of: Callable[[edge_et.Chain, str], tuple[str, np.ndarray]]
) -> None:
    uncached = []
    for question in QUESTIONS:
        with load(OFF) as chain:
            uncached.append(logits_of(chain, question))
    with load(RuntimeConfig(disk_cache=tmp_path)) as chain:
        memory = [logits_of(chain, question) for question in QUESTIONS]
    for path in tmp_path.glob("extraction-*"):
        path.unlink()
    disk = []
    for question in QUESTIONS:
        with load(RuntimeConfig(disk_cache=tmp_path)) as chain:
            disk.append(logits_of(chain, question))
    for cold, warm, read in zip(uncached, memory, disk, strict=True):
        assert cold[0] == warm[0] == read[0]
        np.testing.assert_array_equal(cold[1], warm[1])
        np.testing.assert_array_equal(cold[1], read[1])


def test_answers_are_those_of_a_chain_that_keeps_nothing(example: dict[str, Any]) -> None:
    """Several threads ask several questions twice; each answer says what was served from where."""
    image = ROOT / example["image"]
    with load(OFF) as chain:
        expected = {q: chain.ask(image, q, GREEDY) for q in QUESTIONS}
    with load(RuntimeConfig()) as chain, ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda q: (q, chain.ask(image, q, GREEDY)), QUESTIONS * 2))
    for question, answer in answers:
        assert answer.text == expected[question].text
        assert answer.extraction.text == expected[question].extraction.text
    served = [answer.served for _, answer in answers if answer.served is not None]
    assert sum(one.image_features == "computed" for one in served) == 1
    assert sum(one.extraction == "computed" for one in served) == len(QUESTIONS)
    assert sum(one.extraction == "memory" for one in served) == len(QUESTIONS)


def test_the_count_of_bytes_is_that_of_the_rows(example: dict[str, Any]) -> None:
    with load(RuntimeConfig()) as chain:
        notes = chain.extract(ROOT / example["image"], QUESTIONS[0])
        extractor = chain.extractor
        assert isinstance(extractor, extractor_module.Extractor)
        spec = extractor.manifest.decoder
        row_bytes = 2 * spec.layers * spec.kv_heads * spec.head_dim * 4  # keys and values in fp32
        tokens = notes.prompt_tokens + notes.generated_tokens
        assert extractor.caches.prefixes.held_bytes == tokens * row_bytes


def asked(
    edge_et: Run, example: dict[str, Any], cache: Path, question: str, *options: str
) -> dict[str, Any]:
    done = edge_et(
        "ask", example["image"], question, "--json", "--temperature", "0", *options, *PAIR,
        env={"XDG_CACHE_HOME": str(cache)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record: dict[str, Any] = json.loads(done.stdout)
    return record


def test_the_disk_is_used_when_it_is_asked_for(
    edge_et: Run, example: dict[str, Any], tmp_path: Path
) -> None:
    env = {"XDG_CACHE_HOME": str(tmp_path)}
    plain = asked(edge_et, example, tmp_path, QUESTIONS[0])
    assert plain["served"] == COMPUTED and not list(tmp_path.rglob("*.seen"))
    first = asked(edge_et, example, tmp_path, QUESTIONS[0], "--disk-cache")
    other = asked(edge_et, example, tmp_path, QUESTIONS[1], "--disk-cache")
    again = asked(edge_et, example, tmp_path, QUESTIONS[0], "--disk-cache")
    assert [r["served"] for r in (first, other, again)] == [COMPUTED, CONTINUED, REPLAYED]
    assert again["extraction"]["text"] == plain["extraction"]["text"]
    assert again["answer"] == plain["answer"]
    info = json.loads(edge_et("cache", "info", "--json", env=env).stdout)
    entries = {one["kind"]: one["entries"] for one in info["contents"]}
    assert entries == {"extraction": 2, "features": 1, "prefix": 1}
    assert info["size_bytes"] == sum(p.stat().st_size for p in tmp_path.rglob("*.seen"))
    shown = edge_et("cache", "info", env=env).stdout
    assert info["folder"] in shown and "extraction" in shown
    stats = edge_et(
        "ask", example["image"], QUESTIONS[0], "--disk-cache", "--stats", "-q", *PAIR, env=env
    )
    assert "from disk" in stats.stderr
    assert edge_et("cache", "clear", env=env).returncode == 0
    assert not list(tmp_path.rglob("*.seen"))


def test_a_damaged_entry_changes_no_answer(
    edge_et: Run, example: dict[str, Any], tmp_path: Path
) -> None:
    first = asked(edge_et, example, tmp_path, QUESTIONS[0], "--disk-cache")
    for path in tmp_path.rglob("*.seen"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)
    again = asked(edge_et, example, tmp_path, QUESTIONS[0], "--disk-cache")
    assert again["served"] == COMPUTED
    assert again["extraction"]["text"] == first["extraction"]["text"]
    assert asked(edge_et, example, tmp_path, QUESTIONS[0], "--disk-cache")["served"] == REPLAYED


def test_processes_share_the_disk(edge_et: Run, example: dict[str, Any], tmp_path: Path) -> None:
    expected = {q: asked(edge_et, example, tmp_path / "alone", q) for q in QUESTIONS}
    running = [
        (
            question,
            subprocess.Popen(
                [str(SCRIPT), "ask", example["image"], question, "--json", "--temperature", "0",
                 "--disk-cache", *PAIR],
                stdout=subprocess.PIPE, cwd=ROOT,
                env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "shared")},
            ),
        )
        for question in QUESTIONS * 2
    ]  # fmt: skip
    for question, process in running:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        record = json.loads(out)
        assert record["extraction"]["text"] == expected[question]["extraction"]["text"]
        assert record["answer"] == expected[question]["answer"]
    assert not list(tmp_path.rglob("*.part"))
    for question in QUESTIONS:
        record = asked(edge_et, example, tmp_path / "shared", question, "--disk-cache")
        assert record["served"] == REPLAYED


def test_a_second_question_is_measured(edge_et: Run) -> None:
    done = edge_et("bench", "again", "--repeats", "2", "--size", "384", "512", "--format", "json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    served = {asked: cost["served"] for asked, cost in report["costs"].items()}
    assert served == {
        "first": COMPUTED,
        "other": {**CONTINUED, "image_prefill": "memory"},
        "same": {**REPLAYED, "extraction": "memory"},
    }
    assert report["prompt_tokens"] > report["image_tokens"] > 0
    assert report["held_bytes"] > 0
    assert report["costs"]["first"]["sooner"] is None
    assert report["costs"]["other"]["sooner"]["n"] == 2
    off = edge_et("bench", "again", "--repeats", "2", "--cache-mb", "0", "--format", "json")
    assert {str(c["served"]) for c in json.loads(off.stdout)["costs"].values()} == {str(COMPUTED)}
    shown = edge_et("bench", "again", "--repeats", "2").stdout
    assert "| same |" in shown and "times" in shown


def test_benchmarks_measure_cold_work(example: dict[str, Any]) -> None:
    from edge_et_bench.adapters import Request
    from edge_et_bench.own import EdgeET
    from edge_et_bench.records import Configuration

    adapter = EdgeET(Configuration(label="starter"))
    request = Request(
        image=(ROOT / example["image"]).read_bytes(), question=QUESTIONS[0], forced=None,
        max_tiles=None, seed=0,
    )  # fmt: skip
    adapter.load()
    try:
        outcomes = [adapter.ask(request) for _ in range(2)]
    finally:
        adapter.close()
    for outcome in outcomes:
        worked = {stage.name for stage in outcome.stages if stage.seconds > 0}
        assert {"vision", "extract_prefill", "extract_decode"} <= worked
