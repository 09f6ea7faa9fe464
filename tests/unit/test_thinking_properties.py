"""Whatever the model does: an answer, budgets to the token, masks where they belong."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_et.thinking import INSIST_TOKENS, plan_budgets, reason
from tests.fakes import CLOSE, EOS, LAST_LINE, OPEN, FakeModel, FakeVocabulary

PROMPT = 7
REFLEXIVE = (" but", "but", "Wait", " again")
PLAIN = ("so ", "a star", " red", "de", "\n", " ", ".", "Answer", ":", "The answer", " is", "é")
WORDS = (*PLAIN, *REFLEXIVE, OPEN, CLOSE, EOS)
SCRIPTS = {
    "never closes": ([], "so "),
    "closes at the last token": (["so "] * 9 + [CLOSE, "Answer", ":", " red"], EOS),
    "answers at the last token": (["so "] * 7 + ["\n", "Answer", ":", " red"], EOS),
    "reopens": (["so ", CLOSE, OPEN, "so ", OPEN, CLOSE, "Answer", ":", " red"], EOS),
    "opens again inside": ([OPEN, "so ", OPEN, CLOSE, "Answer", ":", " red"], EOS),
    "loops": (["so ", "a star"] * 500, "so "),
    "the tag inside the answer": ([CLOSE, "Answer", ":", CLOSE, " red", CLOSE, OPEN], CLOSE),
    "ends at once": ([], EOS),
    "blank for ever": ([], "\n"),
    "nothing but markers": (["Answer", ":", "\n"] * 400, "\n"),
    "reflexive for ever": ([], " but"),
}


def check(script, rest, *, marks, thinking, think, answer, limit, suppress, yields_at):
    vocabulary = FakeVocabulary(thinks=marks)
    for word in WORDS:
        vocabulary.id(word)
    closing = max(len(vocabulary.closing), len(vocabulary.landing))
    budgets = plan_budgets(prompt=PROMPT, limit=limit, think=think, answer=answer, closing=closing)
    room = budgets.context_tokens - PROMPT  # feeding more than this fails
    model = FakeModel(vocabulary, script, rest, room, yields_at)
    stream = reason(model, vocabulary, budgets, thinking=thinking, suppress_reflexive=suppress)
    chunks, sampled_at_answer = [], None
    while True:
        try:
            chunks.append(next(stream))
        except StopIteration as end:
            done = end.value
            break
        if chunks[-1].kind == "answer" and sampled_at_answer is None:
            sampled_at_answer = model.sampled

    said = re.sub(r"(?i)answer", "", done.answer)
    assert re.search(r"\w", said)
    assert done.think_tokens <= (budgets.think_tokens if thinking else 0)
    assert done.answer_tokens <= budgets.answer_tokens + INSIST_TOKENS
    kinds = [chunk.kind for chunk in chunks]
    assert kinds == sorted(kinds, reverse=True)  # thinking, then answer
    for kind, whole in (("thinking", done.thinking), ("answer", done.answer)):
        assert "".join(c.text for c in chunks if c.kind == kind).strip() == whole
    for mark in (OPEN, CLOSE):
        assert not marks or mark not in done.thinking + done.answer
    check_masks(model, vocabulary, thinking=thinking, suppress=suppress, first=sampled_at_answer)
    return done, model


def check_masks(model, vocabulary, *, thinking, suppress, first):
    """`first`: how many tokens had been sampled when the answer's first text came."""
    reflexive = set(map(vocabulary.id, REFLEXIVE))
    marks = set(vocabulary.think_marks or ())
    if not thinking:
        begun = 0
    elif marks:
        place = model.read.index(CLOSE)
        begun = sum(before <= place for before in model.read_before)
    else:
        begun = first
    for place, mask in enumerate(model.masks):
        if place >= begun:
            assert not mask & reflexive, "the answer may say anything"
            assert marks <= mask
        else:
            spaced = {vocabulary.id(" but"), vocabulary.id(" again")}
            assert mask >= spaced if suppress else not mask & reflexive
            assert not mask & (marks | vocabulary.stop_ids)


@pytest.mark.parametrize("suppress", [False, True])
@pytest.mark.parametrize("marks", [True, False])
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_model_that_misbehaves(name, marks, suppress):
    script, rest = SCRIPTS[name]
    for think, answer in ((10, 6), (0, 1), (200, 40)):
        for yields_at in (float("inf"), 5.0):
            check(
                script, rest, marks=marks, thinking=True, think=think, answer=answer,
                limit=10_000, suppress=suppress, yields_at=yields_at,
            )  # fmt: skip


@given(
    script=st.lists(st.sampled_from(WORDS), max_size=60),
    rest=st.sampled_from(("so ", EOS, "\n", CLOSE, " but", ":")),
    marks=st.booleans(),
    thinking=st.booleans(),
    think=st.integers(0, 40),
    answer=st.integers(1, 20),
    limit=st.integers(70, 140),
    suppress=st.booleans(),
    yields_at=st.sampled_from((float("inf"), 0.5, 10.0)),
)
def test_whatever_the_model_says(**case):
    check(case.pop("script"), case.pop("rest"), **case)


def outcome(name, *, marks, think, answer=20):
    script, rest = SCRIPTS[name]
    return check(
        script, rest, marks=marks, thinking=True, think=think, answer=answer,
        limit=10_000, suppress=False, yields_at=float("inf"),
    )  # fmt: skip


def test_a_close_at_the_last_token_is_the_models_own():
    done, model = outcome("closes at the last token", marks=True, think=10)
    assert (done.think_tokens, done.answer, done.finish_reason) == (9, "Answer: red", "stop")
    assert not set(LAST_LINE) & set(model.read)
    done, model = outcome("answers at the last token", marks=False, think=10)
    assert (done.think_tokens, done.answer, done.finish_reason) == (10, "Answer: red", "stop")
    assert not set(LAST_LINE[1:]) & set(model.read)


@pytest.mark.parametrize("marks", [True, False])
def test_a_loop_is_closed_before_the_budget_and_said(marks):
    done, model = outcome("loops", marks=marks, think=900)
    assert done.think_tokens == 48
    assert LAST_LINE[1] in model.read
    script, _ = SCRIPTS["loops"]
    vocabulary = FakeVocabulary(thinks=marks)
    budgets = plan_budgets(prompt=PROMPT, limit=9999, think=900, answer=5, closing=9)
    model = FakeModel(vocabulary, [*script[:48], " red", EOS])
    stream = reason(model, vocabulary, budgets, thinking=True)
    with pytest.raises(StopIteration) as end:
        while True:
            next(stream)
    assert end.value.value.finish_reason == "think_loop"


@pytest.mark.parametrize(("marks", "word"), [(True, CLOSE), (False, "\n")])
def test_the_closing_gains_weight_near_the_end(marks, word):
    """A model that yields at 5 logits closes by itself past nine tenths of its budget."""
    script = [f"w{i} " for i in range(400)]
    _, model = check(
        script, EOS, marks=marks, thinking=True, think=100, answer=9,
        limit=10_000, suppress=False, yields_at=5.0,
    )  # fmt: skip
    assert 93 <= model.read.index(word) <= 95
    assert LAST_LINE[1] not in model.read
