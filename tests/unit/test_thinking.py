"""THINK -> CLOSE -> ANSWER around a model that says what it is told."""

from __future__ import annotations

import pytest

from edge_et.errors import Cancelled, ContextOverflow
from edge_et.thinking import INSIST_TOKENS, NO_ANSWER, Budgets, Reasoned, plan_budgets, reason
from edge_et.types import Chunk
from tests.fakes import CLOSE, EOS, LAST_LINE, OPEN, FakeModel, FakeVocabulary


def run(
    script,
    *,
    rest=EOS,
    think=50,
    answer=20,
    thinking=True,
    room=10_000,
    ignore_stop=False,
    cancelled=None,
):
    vocabulary = FakeVocabulary()
    model = FakeModel(vocabulary, script, rest, room)
    budgets = Budgets(
        think_tokens=think, answer_tokens=answer, answer_cut="length", context_tokens=room
    )
    stream = reason(
        model,
        vocabulary,
        budgets,
        thinking=thinking,
        ignore_stop=ignore_stop,
        cancelled=cancelled or (lambda: False),
    )
    chunks: list[Chunk] = []
    while True:
        try:
            chunks.append(next(stream))
        except StopIteration as end:
            return end.value, chunks, model


def joined(chunks: list[Chunk], kind: str) -> str:
    return "".join(chunk.text for chunk in chunks if chunk.kind == kind)


def test_natural_closing():
    done, chunks, model = run(["It is ", "red", ".", CLOSE, "\n\n", "Answer", ":", " red"])
    assert (done.thinking, done.answer, done.finish_reason) == ("It is red.", "Answer: red", "stop")
    assert (done.think_tokens, done.answer_tokens) == (3, 4)
    assert joined(chunks, "thinking") == "It is red."
    assert joined(chunks, "answer") == "Answer: red"
    assert model.read.count(CLOSE) == 1


def test_the_budget_closes_the_thinking():
    script = ["so ", "so ", "so ", "Answer", ":", " 3"]
    done, _, model = run(script, think=3)
    assert (done.thinking, done.answer) == ("so so so", "Answer: 3")
    assert done.finish_reason == "think_budget"
    assert model.read[3:8] == [*LAST_LINE, "\n", CLOSE, "\n\n"]


def test_no_budget_thinks_nothing():
    done, chunks, model = run(["Answer", ":", " 3"], think=0)
    assert (done.think_tokens, done.answer) == (0, "Answer: 3")
    assert {chunk.kind for chunk in chunks} == {"answer"}
    assert model.read[:3] == ["\n", CLOSE, "\n\n"]


def test_the_end_of_text_inside_thinking_closes_it():
    done, _, model = run(["It is 3", EOS, "Answer", ":", " 3"])
    assert (done.thinking, done.answer, done.finish_reason) == ("It is 3", "Answer: 3", "stop")
    assert CLOSE in model.read


def test_without_thinking_the_answer_comes_at_once():
    done, chunks, _ = run(["Answer", ":", " yes"], thinking=False)
    assert (done.thinking, done.answer) == ("", "Answer: yes")
    assert {chunk.kind for chunk in chunks} == {"answer"}


def test_a_loop_in_thinking_ends_at_its_budget_and_still_answers():
    done, _, _ = run([], rest="again ", think=40, answer=5)
    assert done.think_tokens == 40
    assert done.answer.split() == ["again"] * 5
    assert done.finish_reason == "length"


def test_the_end_of_text_instead_of_an_answer_is_masked():
    done, _, model = run([CLOSE, EOS, EOS, EOS, " red"], answer=5)
    assert done.answer == "Answer: red"
    assert done.finish_reason == "stop"
    assert model.read[-3:] == ["Answer", ":", " red"]


def test_a_marker_and_nothing_behind_it_is_no_answer():
    done, _, model = run([CLOSE, "Answer", ":", EOS, " 4"], answer=5)
    assert done.answer == "Answer: 4"
    assert model.read.count("Answer") == 1


def test_a_budget_too_small_for_any_answer_gets_one_sign():
    done, _, _ = run([CLOSE, "Answer", ":", " red", " and", " blue"], answer=1)
    assert (done.answer, done.finish_reason) == ("Answer: red", "length")


def test_a_model_that_never_says_a_thing_answers_with_its_last_thought():
    done, chunks, _ = run(["I see\n", "two stars", CLOSE], rest="\n", answer=5)
    assert done.answer.endswith("two stars")
    assert done.answer == joined(chunks, "answer").strip()
    assert done.finish_reason == "length"


def test_no_thought_and_no_answer():
    done, _, _ = run([], rest=EOS, answer=5, thinking=False)
    assert done.answer.startswith("Answer:")
    assert done.answer.strip(" :.") != ""
    assert NO_ANSWER in done.answer


def test_thinking_marks_cannot_come_back_in_the_answer():
    done, chunks, _ = run([CLOSE, OPEN, "Answer", ":", CLOSE, " 1"])
    assert done.answer == "Answer: 1"
    assert OPEN not in joined(chunks, "answer")


def test_a_second_opening_mark_is_not_shown():
    done, _, _ = run([OPEN, "a", CLOSE, "Answer", ":", " 1"])
    assert done.thinking == "a"


def test_characters_over_several_tokens_come_whole():
    class Bytes(FakeVocabulary):
        def piece(self, token: int) -> bytes:
            word = self.word(token)
            return bytes.fromhex(word) if word in ("c3", "a9") else super().piece(token)

    vocabulary = Bytes()
    model = FakeModel(vocabulary, ["caf", "c3", "a9", "c3"])
    budgets = Budgets(think_tokens=0, answer_tokens=9, answer_cut="length", context_tokens=99)
    texts = [c.text for c in reason(model, vocabulary, budgets, thinking=False)]
    assert "".join(texts) == "café\ufffd"
    assert "\ufffd" not in "".join(texts[:2])


def test_cancel_stops_within_one_token():
    told = iter([False, False, False])
    vocabulary = FakeVocabulary()
    model = FakeModel(vocabulary, [], "again ")
    budgets = Budgets(think_tokens=99, answer_tokens=9, answer_cut="length", context_tokens=999)
    stream = reason(model, vocabulary, budgets, thinking=True, cancelled=lambda: next(told, True))
    with pytest.raises(Cancelled):
        list(stream)
    assert model.sampled == 3


def test_a_cut_by_the_context_is_told_apart():
    vocabulary = FakeVocabulary()
    model = FakeModel(vocabulary, [], "again ")
    budgets = Budgets(think_tokens=0, answer_tokens=9, answer_cut="context", context_tokens=99)
    stream = reason(model, vocabulary, budgets, thinking=False)
    with pytest.raises(StopIteration) as end:
        while True:
            next(stream)
    done: Reasoned = end.value.value
    assert done.finish_reason == "context"


def plan(**changes):
    return plan_budgets(
        **{"prompt": 100, "limit": 2000, "think": 500, "answer": 200, "closing": 3} | changes
    )


def test_budgets_that_fit_stay():
    budgets = plan()
    assert (budgets.think_tokens, budgets.answer_tokens) == (500, 200)
    assert budgets.answer_cut == "length"
    assert budgets.context_tokens == 100 + 3 + INSIST_TOKENS + 700


def test_thinking_shrinks_before_the_answer():
    budgets = plan(limit=700)
    room = 700 - 100 - 3 - INSIST_TOKENS
    assert budgets.think_tokens + budgets.answer_tokens == room
    assert budgets.answer_tokens >= room // 4
    assert budgets.context_tokens == 700


def test_a_context_that_cuts_the_answer_is_named():
    assert plan(limit=300, think=0).answer_cut == "context"


def test_a_prompt_that_leaves_no_room_is_refused():
    with pytest.raises(ContextOverflow, match="100 tokens"):
        plan(limit=130)


def test_ignoring_the_end_takes_both_budgets_whole():
    script = ["hm ", CLOSE, EOS, "so ", "it ", "is ", EOS, "a ", CLOSE, "star ", "b "]
    done, _, model = run(script, rest="x ", think=4, answer=5, ignore_stop=True)
    assert (done.think_tokens, done.answer_tokens) == (4, 5)
    assert (done.thinking, done.answer) == ("hm so it is", "a star b x x")
    assert model.read.count(CLOSE) == 1  # the one that is written
    assert (done.finish_reason, model.sampled) == ("length", 9)


def test_ignoring_the_end_insists_on_nothing():
    done, _, model = run(["hm "], rest="\n", think=2, answer=3, ignore_stop=True)
    assert (done.answer_tokens, model.sampled) == (3, 5)
    assert done.answer == "hm"


def test_what_is_written_to_close_can_be_cancelled():
    """The last question before the closing is read is the caller's."""
    asked = []
    vocabulary = FakeVocabulary()
    model = FakeModel(vocabulary, ["so "] * 9)
    budgets = Budgets(think_tokens=3, answer_tokens=9, answer_cut="length", context_tokens=999)

    def cancelled():
        asked.append(len(model.read))
        return len(asked) == 4  # three tokens, then the closing

    with pytest.raises(Cancelled):
        list(reason(model, vocabulary, budgets, thinking=True, cancelled=cancelled))
    assert model.read == ["so "] * 3


def test_insisting_can_be_cancelled():
    vocabulary = FakeVocabulary()
    model = FakeModel(vocabulary, [])
    budgets = Budgets(think_tokens=0, answer_tokens=9, answer_cut="length", context_tokens=999)
    told = iter([False])
    with pytest.raises(Cancelled):
        list(reason(model, vocabulary, budgets, thinking=False, cancelled=lambda: next(told, True)))
    assert (model.read, model.sampled) == ([], 1)


def test_thinking_closed_for_the_deadline_goes_straight_to_the_answer():
    class Clock:
        def think_spent(self, tokens: int) -> float:
            return tokens / 3

        def answer_over(self, tokens: int) -> bool:
            return False

    vocabulary = FakeVocabulary()
    model = FakeModel(vocabulary, ["a ", "b ", "c ", " red"])
    budgets = Budgets(think_tokens=99, answer_tokens=9, answer_cut="length", context_tokens=999)
    stream = reason(model, vocabulary, budgets, thinking=True, clock=Clock())
    with pytest.raises(StopIteration) as end:
        while True:
            next(stream)
    done: Reasoned = end.value.value
    assert (done.answer, done.finish_reason) == ("Answer: red", "think_deadline")
    closing = [*LAST_LINE, "\n", CLOSE, "\n\n", "Answer", ":", " red"]
    assert model.read == ["a ", "b ", "c ", *closing]


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        (["Missing", ":", " the ", "light"], "Missing: the"),
        (["It ", "is ", "so ", " red"], "It is so\nAnswer: red"),
    ],
)
def test_when_time_is_up_an_answer_is_asked_for_unless_it_is_missing(script, answer):
    class Clock:
        def think_spent(self, tokens: int) -> float:
            return 0.0

        def answer_over(self, tokens: int) -> bool:
            return tokens >= 3

    vocabulary = FakeVocabulary()
    model = FakeModel(vocabulary, script)
    budgets = Budgets(think_tokens=0, answer_tokens=9, answer_cut="length", context_tokens=999)
    stream = reason(model, vocabulary, budgets, thinking=False, clock=Clock())
    with pytest.raises(StopIteration) as end:
        while True:
            next(stream)
    done: Reasoned = end.value.value
    assert done.answer.replace("so \n", "so\n") == answer


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (["tri", "but", "e"], "tribute"),
        (["so ", "but", "on"], "so on"),
        (["so", " but", "ter"], "soter"),
        (["1", "now", "\n", "now", "so"], "1now\nso"),
    ],
)
def test_a_reflexive_word_inside_another_may_be_thought(script, said):
    vocabulary = FakeVocabulary()
    for word in script:
        vocabulary.id(word)
    model = FakeModel(vocabulary, [*script, CLOSE, "Answer", ":", " 1"])
    budgets = Budgets(think_tokens=99, answer_tokens=9, answer_cut="length", context_tokens=999)
    chunks = list(reason(model, vocabulary, budgets, thinking=True, suppress_reflexive=True))
    assert joined(chunks, "thinking") == said
