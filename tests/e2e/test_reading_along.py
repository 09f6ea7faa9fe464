"""The handoff on real models: what is read ahead is the prompt, and the answers stay the same."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

import edge_et
from edge_et.config import GenerationConfig, RuntimeConfig, SamplingConfig
from edge_et.errors import MissingArtifact
from edge_et.llama import BLOCK_TOKENS
from edge_et.loading import locate
from edge_et.prompts import reasoning_opening, reasoning_prompt
from edge_et.reasoner import Reasoner
from tests.e2e.starter import ROOT, Run, read_examples

WORDS = (
    "a", "red", "star", "left of", "the", "Café", "naïve", "déjà vu", "5,678.90", "3.5", "$", "12%",
    '"STOP"', '"""', '""', "it's", "don't", "<|im_end|>", "</think>", "<think>", "<image>",
    "user_name", "x=y", "…", "–", "你好", "世界。", "左边，", "กขค", "नमस्ते", "🙂",
    "👩‍🚀", "e\u0301", "ß",
    "(top)", "[x]", "a/b", "http://x.org/?a=b", "```", "\\n", "#1", "**bold**", "1st", "A4",
)  # fmt: skip
GAPS = (" ", " ", " ", " ", "", "  ", "\n", "\n\n", ", ", ". ", ".\n", ": ", "\t", " - ")


def made_up_text(seed: int) -> str:
    rng = random.Random(seed)
    return "".join(rng.choice(WORDS) + rng.choice(GAPS) for _ in range(rng.randint(1, 60))).strip()


@pytest.fixture(params=["starter", "smollm2-135m"])
def reasoner(request: pytest.FixtureRequest) -> Generator[Reasoner]:
    try:
        named = None if request.param == "starter" else request.param
        path = locate("reasoner", named, "starter")
    except MissingArtifact:
        pytest.skip(f"{request.param} was not pulled")
    reasoner = Reasoner.load(path, RuntimeConfig(device="cpu"))
    yield reasoner
    reasoner.close()


def test_1000_texts_are_read_ahead_as_they_are_read_at_once(reasoner: Reasoner) -> None:
    wrong = []
    for seed in range(1000):
        text = made_up_text(seed)
        whole = reasoning_prompt(text, "What is it?", think=True, form="short answer")
        ids = reasoner.prompt_ids(whole, think=True)
        rng = random.Random(-seed)
        for end in sorted(rng.randint(0, len(text)) for _ in range(4)):
            ahead = reasoner.opening_ids(reasoning_opening(text[:end]), think=True)
            if ahead != ids[: len(ahead)]:
                wrong.append((seed, text[:end], text[end:]))
    assert wrong == []


def test_the_examples_are_answered_the_same() -> None:
    config = GenerationConfig(reasoner_sampling=SamplingConfig())
    # an extraction that was kept comes at once, and nothing is left to read along
    runtime = RuntimeConfig(device="cpu", handoff="off", cache_bytes=0)
    with edge_et.load(runtime=runtime) as chain:
        assert isinstance(chain.reasoner, Reasoner)
        ahead_tokens = 0
        for case in read_examples():
            picture = ROOT / "examples" / case["image"]
            answers = []
            for chain.handoff in (False, True):
                chain.reasoner.forget()
                answers.append(chain.ask(picture, case["question"], config))
            off, on = answers
            assert (on.text, on.thinking) == (off.text, off.thinking)
            assert (off.reused_tokens, off.timings.reason_prefill_hidden_s) == (0, 0.0)
            ahead_tokens += on.reused_tokens
        assert ahead_tokens >= BLOCK_TOKENS


def test_tune_is_remembered_and_heeded(
    edge_et: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    done = edge_et("doctor", "--tune", "--json", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["on_s"] > 0 < found["off_s"]
    kept = Path(found["kept_in"])
    record = json.loads(kept.read_text(encoding="utf-8"))
    (key,) = record["settings"]
    for handoff in (True, False):
        record["settings"][key]["handoff"] = handoff
        kept.write_text(json.dumps(record), encoding="utf-8")
        assert loaded_with() is handoff
    record["settings"] = {}
    kept.write_text(json.dumps(record), encoding="utf-8")
    assert loaded_with(handoff="on") is True


def loaded_with(**settings: str) -> bool:
    load: Callable[..., edge_et.Chain] = edge_et.load
    with load(runtime=RuntimeConfig(device="cpu", **settings)) as chain:  # type: ignore[arg-type]
        return chain.handoff
