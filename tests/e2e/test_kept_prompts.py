"""What the reasoner keeps of a prompt changes nothing of what it writes."""

from __future__ import annotations

import itertools
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest

import edge_et
from edge_et import llama
from edge_et.chain import Chain
from edge_et.config import GenerationConfig, RuntimeConfig, SamplingConfig
from edge_et.errors import Cancelled
from edge_et.gguf_header import read_header
from edge_et.llama import BLOCK_TOKENS
from edge_et.reasoner import Reasoner

GREEDY = GenerationConfig(reasoner_sampling=SamplingConfig(), think_budget_tokens=64)
STARTER = Path(edge_et.__file__).parent / "models" / "starter" / "reasoner" / "reasoner.gguf"
COLOURS = ("red", "green", "blue", "yellow", "black")
SHAPES = ("star", "ring", "cross", "square")
QUESTIONS = (
    "What colour is the star?",
    "How many shapes are there?",
    "Is there a red ring?",
    "What is left of the cross?",
    "Which shape is green?",
)


def go_on() -> bool:
    return False


def descriptions() -> list[str]:
    """40 lists of objects, some long enough for several blocks."""
    pairs = itertools.cycle(itertools.product(COLOURS, SHAPES))
    return [
        ", ".join(f"a {colour} {shape}" for colour, shape in itertools.islice(pairs, 2 + n % 30))
        for n in range(40)
    ]


@pytest.fixture
def reasoner() -> Generator[Reasoner]:
    reasoner = Reasoner.load(STARTER, RuntimeConfig(device="cpu"))
    yield reasoner
    reasoner.close()


@pytest.fixture
def context() -> Generator[llama.Context]:
    model = llama.Model(read_header(STARTER), "cpu")
    context = llama.Context(model, context_tokens=1024, threads=2)
    yield context
    context.close()
    model.close()


def test_200_questions_are_answered_the_same(reasoner: Reasoner) -> None:
    chain = Chain(None, reasoner, pair="starter")
    reused = 0
    for notes, question in itertools.product(descriptions(), QUESTIONS):
        kept = chain.think(notes, question, GREEDY)
        reasoner.forget()
        fresh = chain.think(notes, question, GREEDY)
        assert (kept.text, kept.thinking) == (fresh.text, fresh.thinking)
        assert fresh.reused_tokens == 0
        reused += kept.reused_tokens
    assert reused > 200 * BLOCK_TOKENS / 2


@pytest.mark.parametrize("length", [64, 65, 128, 129, 300, 512, 700])
def test_the_logits_are_the_same_bit_by_bit(context: llama.Context, length: int) -> None:
    rng = np.random.default_rng(length)
    prompt = rng.integers(0, 250, length).tolist()
    greedy = SamplingConfig()
    assert context.start(prompt, greedy, go_on) == 0
    wanted = context.logits()
    whole = (length - 1) // BLOCK_TOKENS * BLOCK_TOKENS
    for _ in range(3):
        context.feed([context.sample()])
    assert context.start(prompt, greedy, go_on) == whole
    assert np.array_equal(context.logits(), wanted)

    context.forget()
    for end in range(0, length, BLOCK_TOKENS):  # as a description that grows
        assert context.read_ahead(prompt[: end + 1], go_on, threads=1 + end % 128 // 64) == end
    assert context.start(prompt, greedy, go_on) == whole
    assert np.array_equal(context.logits(), wanted)

    other = prompt[: length // 2] + rng.integers(0, 250, length).tolist()
    context.start(other[:900], greedy, go_on)
    kept = context.start(prompt, greedy, go_on)
    assert kept % BLOCK_TOKENS == 0
    assert length // 2 - BLOCK_TOKENS < kept <= whole
    assert np.array_equal(context.logits(), wanted)


def test_what_was_written_is_not_taken_for_what_was_read(context: llama.Context) -> None:
    """Tokens fed one by one leave other last bits behind than a block does."""
    prompt = [7 + n % 40 for n in range(200)]
    context.start(prompt[:100], SamplingConfig(), go_on)
    for token in prompt[100:]:
        context.feed([token])
    assert context.start(prompt, SamplingConfig(), go_on) == BLOCK_TOKENS


def test_a_stopped_reading_leaves_only_what_was_read(context: llama.Context) -> None:
    prompt = [7 + n % 40 for n in range(300)]
    context.start(prompt, SamplingConfig(), go_on)
    wanted = context.logits()
    with pytest.raises(Cancelled):
        context.start(prompt[:70] + prompt, SamplingConfig(), lambda: True)
    assert context.start(prompt, SamplingConfig(), go_on) == BLOCK_TOKENS
    assert np.array_equal(context.logits(), wanted)
