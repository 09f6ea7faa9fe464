"""Drafts change no text of a real reasoner, whatever it is sampled with."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest

import edge_et
from edge_et import llama
from edge_et.ahead import Ahead
from edge_et.chain import Chain
from edge_et.config import GenerationConfig, RuntimeConfig, SamplingConfig
from edge_et.gguf_header import read_header
from edge_et.reasoner import Reasoner
from edge_et.reflexive import NO_IDS

STARTER = Path(edge_et.__file__).parent / "models" / "starter" / "reasoner" / "reasoner.gguf"
NOTES = (
    "From left to right: first a small blue diamond, second a small blue circle, third a large "
    "blue diamond. In all 3 objects.",
    "There is a red star left of a green ring.",
)
QUESTIONS = ("How many diamonds are there?", "What colour is the star?", "Is there a red ring?")
SAMPLED = SamplingConfig(temperature=0.8, top_p=0.95, top_k=20, seed=7)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "lookup"])
def chain(request: pytest.FixtureRequest) -> Generator[Chain]:
    reasoner = Reasoner.load(STARTER, RuntimeConfig(device="cpu", lookup=request.param))
    yield Chain(None, reasoner, pair="starter")
    reasoner.close()


_SAID: dict[tuple[object, ...], list[tuple[object, ...]]] = {}


@pytest.mark.parametrize("notes", NOTES)
@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("sampling", [SamplingConfig(), SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("form", [None, "yes_no"])
def test_the_same_is_thought_and_answered(chain, notes, question, sampling, form):
    config = GenerationConfig(reasoner_sampling=sampling, form=form, looks=0)
    answer = chain.think(notes, question, config)
    said = _SAID.setdefault((notes, question, sampling, form), [])
    said.append((answer.thinking, answer.text, answer.think_tokens, answer.finish_reason))
    assert said[0] == said[-1]
    assert chain.reasoner.lookup or not answer.copied_tokens
    assert answer.copied_tokens <= answer.think_tokens + answer.answer_tokens + 8


def test_repetition_is_copied(chain):
    answer = chain.think(NOTES[0], QUESTIONS[0], GenerationConfig(looks=0))
    assert (answer.copied_tokens > 0) == chain.reasoner.lookup


def test_what_is_taken_back_leaves_no_trace() -> None:
    """After drafts that were wrong, the logits are as if they had never been read."""
    model = llama.Model(read_header(STARTER), "cpu")
    context = llama.Context(model, context_tokens=512, threads=1)
    prompt = [7 + n % 9 for n in range(70)]
    rng = np.random.default_rng(0)
    written = [prompt[n] if n % 3 else int(rng.integers(20, 250)) for n in range(60)]
    context.start(prompt, SamplingConfig(), lambda: False)
    wanted = []
    for token in written:
        context.feed((token,))
        wanted.append(context.logits())
    context.start(prompt, SamplingConfig(), lambda: False)
    ahead = Ahead(context, prompt)
    for token, logits in zip(written, wanted, strict=True):
        ahead.feed((token,))
        row = context._logits(len(ahead._ahead)).copy()
        assert np.abs(row - logits).max() < 1e-2 * np.abs(logits).max()
        assert ahead.sample(NO_IDS) == int(row.argmax())
    assert ahead.copied_tokens > 10
    context.close()
    model.close()
