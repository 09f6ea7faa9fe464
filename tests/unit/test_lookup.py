"""Drafts copied from the text so far, and a model that reads them ahead."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_et.ahead import Ahead
from edge_et.errors import Cancelled
from edge_et.lookup import MOST_DRAFT_TOKENS, Lookup
from edge_et.shapes import Words
from edge_et.thinking import Demand, plan_budgets, reason
from tests.fakes import CLOSE, EOS, OPEN, FakeVocabulary

WORDS = ("so ", "a star", " red", "red", "\n", ".", "Answer", ":", " but", OPEN, CLOSE, EOS)
PROMPT = (2, 3, 4, 2, 3)


def lookup_of(*tokens: int, right: int = 0) -> Lookup:
    lookup = Lookup()
    lookup.add(tokens)
    for _ in range(right):
        lookup.judge(right=True)
    return lookup


def test_what_came_the_last_time_is_drafted():
    assert lookup_of(1, 2, 3, 4, 1, 2, right=1).draft(8) == [3, 4, 1]
    assert lookup_of(1, 2, 3).draft(8) == []
    assert lookup_of().draft(8) == []


def test_the_longest_match_counts_and_then_the_latest():
    assert lookup_of(1, 2, 5, 9, 2, 6, 1, 2).draft(1) == [5]
    assert lookup_of(2, 5, 2, 6, 2).draft(1) == [6]


def test_a_round_is_repeated():
    assert lookup_of(7, 7, right=1).draft(8) == [7, 7, 7]
    assert lookup_of(1, 2, 1, 2, right=1).draft(8) == [1, 2, 1]


def test_drafts_grow_when_they_come_true_and_shrink_when_not():
    lookup = lookup_of(1, 2, 1, 2)
    assert len(lookup.draft(8)) == 1
    for _ in range(5):
        lookup.judge(right=True)
    assert len(lookup.draft(8)) == MOST_DRAFT_TOKENS
    assert len(lookup.draft(2)) == 2
    lookup.judge(right=False)
    assert len(lookup.draft(8)) == 1


class Rows:
    """What it says depends on its last tokens alone, so that it often repeats itself."""

    def __init__(self, vocabulary: FakeVocabulary, seed: int, room: int) -> None:
        self.seed, self.size = seed, len(WORDS) + 20
        self.vocabulary, self.capacity = vocabulary, room + len(PROMPT)
        self.read: list[int] = list(PROMPT)
        self.steps = self.rows = 1
        self.grammar: str | None = None
        self.held: list[int] = []
        self.sampled: list[tuple[tuple[int, ...], float]] = []

    @property
    def room_tokens(self):
        return self.capacity - len(self.read)

    def sample(self, banned, nudge=None, *, back=0):
        assert back < self.rows, "no logits there"
        text = self.read[: len(self.read) - back]
        if self.grammar is not None:
            self.held = [*self.held, self.vocabulary.id("red" if not self.held else EOS)]
            return self.held[-1]
        rng = np.random.default_rng([self.seed, *text[-2:]])
        scores = rng.normal(size=self.size) * 4
        if nudge is not None:
            scores[nudge.token] += nudge.logits
        scores[banned] = -np.inf
        self.sampled.append((tuple(banned.tolist()), 0.0 if nudge is None else nudge.logits))
        return int(scores.argmax())

    def feed(self, tokens, draft=()):
        assert not (draft and self.grammar), "a draft under a grammar"
        assert len(tokens) + len(draft) <= self.room_tokens
        self.read += [*tokens, *draft]
        self.rows, self.steps = 1 + len(draft), self.steps + 1

    def take_back(self, tokens):
        assert 0 < tokens < self.rows
        del self.read[-tokens:]
        self.rows = 0

    def constrain(self, grammar):
        self.grammar, self.held = grammar, []


def outcome(*, ahead, seed, marks, think, answer, limit, suppress, held):
    vocabulary = FakeVocabulary(thinks=marks)
    for word in (*WORDS, *(f"w{n} " for n in range(30))):
        vocabulary.id(word)
    closing = max(len(vocabulary.closing), len(vocabulary.landing)) + 30
    budgets = plan_budgets(
        prompt=len(PROMPT), limit=limit, think=think, answer=answer, closing=closing
    )
    rows = Rows(vocabulary, seed, budgets.context_tokens - len(PROMPT))
    model = Ahead(rows, PROMPT) if ahead else rows
    demand = None
    if held:
        shape = Words(spellings=("red", "so"))
        demand = Demand(shape=shape, at_once=False, accepts=lambda text: False)
    stream = reason(
        model, vocabulary, budgets, thinking=True, suppress_reflexive=suppress, demand=demand
    )
    chunks = []
    while True:
        try:
            chunks.append(next(stream))
        except StopIteration as end:
            done = end.value
            break
    fed = len(rows.read) - (len(model._ahead) if ahead else 0)
    said = (done.thinking, done.answer, done.think_tokens, done.answer_tokens, done.finish_reason)
    return (said, chunks, rows.read[:fed], rows.sampled), rows, model


@given(
    seed=st.integers(0, 10_000),
    marks=st.booleans(),
    think=st.integers(0, 60),
    answer=st.integers(1, 30),
    limit=st.integers(110, 260),
    suppress=st.booleans(),
    held=st.booleans(),
)
def test_every_rule_of_the_thinking_holds_to_the_token(**case):
    """Same text, same tokens read, same masks and nudges at each of them, never more steps."""
    plain, rows, _ = outcome(ahead=False, **case)
    drafted, rows_ahead, _ = outcome(ahead=True, **case)
    assert drafted == plain
    assert rows_ahead.steps <= rows.steps


def test_repetition_saves_steps():
    saved = 0
    for seed in range(20):
        case = {
            "seed": seed, "marks": True, "think": 60, "answer": 9, "limit": 400,
            "suppress": False, "held": False,
        }  # fmt: skip
        saved += outcome(ahead=True, **case)[2].copied_tokens
    assert saved > 100


def test_forced_tokens_that_a_draft_holds_are_not_read_again():
    vocabulary = FakeVocabulary()
    rows = Rows(vocabulary, 0, 100)
    model = Ahead(rows, PROMPT)  # ends with 2 3, which 4 2 3 followed
    model.feed((4,))
    assert rows.read == [*PROMPT, 4, 2]
    model.feed((2, 3))
    assert rows.read == [*PROMPT, 4, 2, 3, 4, 2, 3]  # three at once: the last draft came true
    assert model.copied_tokens == 1


def test_no_draft_where_there_is_no_room():
    rows = Rows(FakeVocabulary(), 0, 2)
    model = Ahead(rows, PROMPT)
    model.feed((4,))
    assert (rows.room_tokens, model.room_tokens) == (0, 1)
    model.feed((2,))
    assert model.room_tokens == 0


def test_a_cancel_comes_within_one_step():
    vocabulary = FakeVocabulary()
    for word in (*WORDS, *(f"w{n} " for n in range(30))):
        vocabulary.id(word)
    rows = Rows(vocabulary, 3, 500)
    budgets = plan_budgets(prompt=5, limit=400, think=200, answer=20, closing=20)
    stream = reason(
        Ahead(rows, PROMPT), vocabulary, budgets, thinking=True,
        cancelled=lambda: rows.steps >= 9,
    )  # fmt: skip
    with pytest.raises(Cancelled):
        list(stream)
    assert rows.steps == 9


def test_the_last_token_of_the_room_has_no_draft():
    rows = Rows(FakeVocabulary(), 0, 1)
    Ahead(rows, PROMPT).feed((4,))
    assert rows.read == [*PROMPT, 4]


def test_after_a_wrong_draft_comes_a_short_one():
    rows = Rows(FakeVocabulary(), 0, 100)
    model = Ahead(rows, PROMPT)
    for token in (4, 2, 3):  # the draft of 2 came true: the next has three
        model.feed((token,))
    assert rows.rows == 4
    model.feed((3,))  # and is wrong
    assert rows.read == [*PROMPT, 4, 2, 3, 3, 3]
