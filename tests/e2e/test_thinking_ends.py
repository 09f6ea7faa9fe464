"""Thinking ends and the answer comes, with two real reasoners: with thinking marks, and without.

What a model would not do by itself it is made to do: its first tokens are dictated.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edge_et
from edge_et import llama
from edge_et.config import GenerationConfig, RuntimeConfig, SamplingConfig
from edge_et.reasoner import Reasoner, ReasonerRun
from edge_et.reflexive import WORDS, find_reflexive
from edge_et.thinking import INSIST_TOKENS
from edge_et.token_model import IntArray, Nudge
from edge_et.types import Chunk
from tests.e2e.starter import ROOT, Run

NOTES = "3 objects. 1: a small solid red star. 2: a large solid blue ring. 3: a small red heart."
QUESTION = "What colour is the star?"
STARTER = ROOT / "edge_et" / "models" / "starter" / "reasoner"
GREEDY = SamplingConfig()
ONE_THREAD = RuntimeConfig(device="cpu", threads=1)
"""Other tests may run beside these, and two threads wait for each other at every step."""


@pytest.fixture(scope="module", params=["starter", "smollm2-135m"])
def reasoner(request: pytest.FixtureRequest) -> Generator[Reasoner]:
    path = STARTER
    if request.param != "starter":
        path = request.getfixturevalue("smollm2")
    loaded = Reasoner.load(path, ONE_THREAD)
    yield loaded
    loaded.close()


@dataclass
class Spy:
    """Stands between the state machine and llama.cpp, and dictates the first tokens."""

    dictated: list[int] = field(default_factory=list)
    never: Sequence[int] = ()
    """Tokens the model is kept from by the spy, not by the machine."""
    urged: int | None = None
    """A token the model is given every reason to take."""
    fed: list[int] = field(default_factory=list)
    sampled: list[tuple[int, frozenset[int]]] = field(default_factory=list)
    """Each sampled token's place among the fed ones, and what was banned."""


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    spy = Spy()
    sample, feed = llama.Context.sample, llama.Context.feed

    def spied_sample(
        self: llama.Context, banned: IntArray = llama.NO_IDS, nudge: Nudge | None = None
    ) -> int:
        spy.sampled.append((len(spy.fed), frozenset(banned.tolist())))
        if spy.dictated:
            return spy.dictated.pop(0)
        if spy.urged is not None:
            nudge = Nudge(token=spy.urged, logits=1000.0)
        kept = np.union1d(banned, np.array(spy.never, dtype=np.intp)).astype(np.intp)
        return sample(self, kept, nudge)

    def spied_feed(self: llama.Context, tokens: Sequence[int]) -> None:
        spy.fed += tokens
        feed(self, tokens)

    monkeypatch.setattr(llama.Context, "sample", spied_sample)
    monkeypatch.setattr(llama.Context, "feed", spied_feed)
    return spy


def run(
    reasoner: Reasoner, *, think: int = 24, answer: int = 12, suppress: bool = False, **kept: Any
) -> tuple[ReasonerRun, list[Chunk]]:
    stream = reasoner.stream(
        "A red star, a blue ring. What colour is the star?",
        think=True,
        think_budget_tokens=think,
        answer_budget_tokens=answer,
        sampling=GREEDY,
        suppress_reflexive=suppress,
        **kept,
    )
    chunks = []
    while True:
        try:
            chunks.append(next(stream))
        except StopIteration as end:
            return end.value, chunks


def ids(reasoner: Reasoner, text: str) -> tuple[int, ...]:
    return reasoner._loaded().tokenize(text, True)


def keeps_the_rules(reasoner: Reasoner, spy: Spy, done: ReasonerRun, *, think: int = 24) -> None:
    """An answer, budgets to the token, and the marks masked from the closing on."""
    assert done.answer.strip().removeprefix("Answer:").strip()
    assert done.think_tokens <= think
    assert done.answer_tokens <= 12 + INSIST_TOKENS
    closing = reasoner._words.landing
    most = done.prompt_tokens + len(closing) + INSIST_TOKENS + think + 12
    assert len(spy.fed) <= most
    marks = reasoner._words.think_marks
    if marks is None:
        return
    close = spy.fed.index(marks[1], done.prompt_tokens)
    for place, banned in spy.sampled:
        assert (set(marks) <= banned) == (place > close)
    assert marks[1] not in spy.fed[close + 1 :]


def forbidden(reasoner: Reasoner) -> list[int]:
    """What a model that never closes does not say."""
    words = reasoner._words
    stops = sorted(words.stop_ids)
    return (
        [words.think_marks[1], *stops] if words.think_marks else [words.answer_opening[0], *stops]
    )


def test_a_model_that_never_closes(reasoner: Reasoner, spy: Spy) -> None:
    spy.never = forbidden(reasoner)
    done, _ = run(reasoner)
    keeps_the_rules(reasoner, spy, done)
    assert done.think_tokens == 24
    assert "Time to answer." not in done.thinking
    place = done.prompt_tokens + 24
    landing = list(reasoner._words.landing)
    assert spy.fed[place : place + len(landing)] == landing


def test_a_model_that_closes_at_its_last_token(reasoner: Reasoner, spy: Spy) -> None:
    marks = reasoner._words.think_marks
    thought = list(ids(reasoner, "I look for the star: a small red star.\n" * 3))
    close = [marks[1]] if marks else list(reasoner._words.answer_opening)
    room = 24 - len(close)
    thought = [*thought[: room - 1], ids(reasoner, "\n")[-1]]
    spy.dictated = [*thought, *close]
    done, chunks = run(reasoner)
    keeps_the_rules(reasoner, spy, done)
    assert done.think_tokens == (room if marks else 24)
    assert done.finish_reason != "think_budget"
    assert done.thinking.startswith("I look for the star")
    assert "Answer" not in "".join(c.text for c in chunks if c.kind == "thinking")
    assert reasoner._words.landing[1] not in spy.fed[done.prompt_tokens + 24 :][:2]


def test_a_model_that_goes_in_circles(reasoner: Reasoner, spy: Spy) -> None:
    spy.dictated = list(ids(reasoner, " red star")) * 60
    spy.dictated = spy.dictated[:96]
    spy.never = forbidden(reasoner)
    done, _ = run(reasoner, think=90)
    keeps_the_rules(reasoner, spy, done, think=90)
    assert 48 <= done.think_tokens <= 60
    assert done.finish_reason in ("think_loop", "length")


def test_a_model_that_opens_again_and_wants_the_tag_in_its_answer(
    reasoner: Reasoner, spy: Spy
) -> None:
    marks = reasoner._words.think_marks
    if marks is None:
        pytest.skip("it has no marks")
    spy.dictated = [marks[0], *ids(reasoner, "red"), marks[0], marks[1]]
    spy.urged = marks[1]
    done, chunks = run(reasoner)
    keeps_the_rules(reasoner, spy, done)
    assert done.thinking == "red"
    assert done.answer_tokens > 0
    assert "think>" not in "".join(chunk.text for chunk in chunks)


def test_a_model_that_ends_at_once(reasoner: Reasoner, spy: Spy) -> None:
    spy.dictated = [min(reasoner._words.stop_ids)]
    done, _ = run(reasoner)
    keeps_the_rules(reasoner, spy, done)
    assert done.think_tokens == 0
    assert done.finish_reason in ("stop", "length")


def test_a_model_that_says_nothing_but_ends(reasoner: Reasoner, spy: Spy) -> None:
    spy.dictated = [min(reasoner._words.stop_ids)] * 2
    done, _ = run(reasoner)
    keeps_the_rules(reasoner, spy, done)


def last_of_thinking(reasoner: Reasoner, spy: Spy, done: ReasonerRun) -> int:
    """Return the place where the thinking's last token was sampled, be it the closing mark or the
    end of text, which is not fed."""
    end = done.prompt_tokens + done.think_tokens
    words = reasoner._words
    if words.think_marks:
        return spy.fed.index(words.think_marks[1], done.prompt_tokens)
    written = any(tuple(spy.fed[end:][: len(c)]) == c for c in (words.closing, words.landing))
    return end if written else end - 1


def every_spelling() -> set[str]:
    return {spell(word) for word in WORDS for spell in (str.lower, str.capitalize, str.upper)}


def test_reflexive_words_are_masked_in_the_thinking_alone(reasoner: Reasoner, spy: Spy) -> None:
    model = reasoner._loaded()
    words = find_reflexive(model.vocab_size, model.piece)
    spelled = {model.piece(token) for token in words.spaced.tolist()}
    assert spelled >= {b" another", b" other"}
    assert spelled <= {b" " + word.encode() for word in every_spelling()}
    done, _ = run(reasoner, suppress=True)
    last = last_of_thinking(reasoner, spy, done)
    for place, banned in spy.sampled:
        assert (set(words.spaced.tolist()) <= banned) == (place <= last)
    urged = int(words.spaced[0])
    spy.urged, spy.sampled, spy.fed = urged, [], []
    done, _ = run(reasoner, suppress=True)
    assert urged not in spy.fed[done.prompt_tokens :][: done.think_tokens]
    assert urged in spy.fed[done.prompt_tokens + done.think_tokens :]


def test_thinking_without_marks_streams_as_thinking(smollm2: Path) -> None:
    with edge_et.load(reasoner=smollm2, runtime=ONE_THREAD, only="reasoner") as chain:
        stream = chain.stream_think(NOTES, QUESTION, GenerationConfig(think_budget_tokens=64))
        chunks = list(stream)
        answer = stream.result()
    thinking = "".join(chunk.text for chunk in chunks if chunk.kind == "thinking")
    assert thinking.strip() == answer.thinking != ""
    assert 0 < answer.think_tokens <= 64
    assert "Answer:" not in thinking
    assert "red" in answer.text.lower()
    assert answer.timings.ttft_think_s is not None


def test_a_deadline_that_is_long_enough_changes_nothing(
    edge_et: Run, example: dict[str, Any]
) -> None:
    options = ("--json", "--temperature", "0")
    ask = ("ask", example["image"], example["question"], *options)
    timed, free = (json.loads(edge_et(*ask, *more).stdout) for more in (("--deadline", "60s"), ()))
    assert timed["finish_reason"] == "stop"
    for part in ("answer", "thinking", "image"):
        assert timed[part] == free[part]
    assert timed["timings"]["measure_s"] > 0
    assert free["timings"]["measure_s"] == 0


def test_a_deadline_that_nothing_can_keep_still_brings_an_answer(
    edge_et: Run, example: dict[str, Any]
) -> None:
    done = edge_et("ask", example["image"], example["question"], "--json", "--deadline", "1ms")
    record = json.loads(done.stdout)
    assert done.returncode == (7 if record["finish_reason"] == "deadline" else 0)
    assert record["answer"]
    assert record["finish_reason"] in ("deadline", "extraction_deadline")
    assert record["extraction"]["generated_tokens"] == record["think_tokens"] == 0


@pytest.mark.parametrize(
    ("settings", "reasons"),
    [
        # 4,000 tokens of either take any machine longer
        ({"effort": "none", "answer_budget_tokens": 4000}, {"deadline"}),
        ({"think_budget_tokens": 4000}, {"think_deadline", "deadline"}),
    ],
)
def test_the_deadline_speaks_before_a_budget_it_cannot_wait_for(
    smollm2: Path,
    spied_to_go_on: Callable[[Reasoner], None],
    settings: dict[str, Any],
    reasons: set[str],
) -> None:
    with edge_et.load(reasoner=smollm2, runtime=ONE_THREAD, only="reasoner") as chain:
        assert isinstance(chain.reasoner, Reasoner)
        spied_to_go_on(chain.reasoner)
        generation = GenerationConfig(deadline_s=3.0, reasoner_sampling=GREEDY, **settings)
        for _ in range(2):  # with measured rates, and with learned ones
            answer = chain.think(NOTES, QUESTION, generation)
            assert answer.finish_reason in reasons
            assert answer.text.strip()


@pytest.fixture
def spied_to_go_on(spy: Spy, monkeypatch: pytest.MonkeyPatch) -> Callable[[Reasoner], None]:
    """Return a function that keeps a reasoner from ending, or from closing, by itself."""
    from edge_et import thinking

    monkeypatch.setattr(thinking.LoopWatch, "add", lambda self, token: False)

    def keep(reasoner: Reasoner) -> None:
        spy.never = forbidden(reasoner)

    return keep
