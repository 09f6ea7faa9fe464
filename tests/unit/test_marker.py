"""The line where the answer begins, in text that comes in pieces."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_et.marker import MarkerWatch


def parted(pieces):
    """Return (thinking, answer), as it comes out of the watch."""
    watch = MarkerWatch()
    shown = ""
    for piece in pieces:
        text, answer = watch.push(piece)
        shown += text
        if answer is not None:
            return shown, answer + "".join(pieces[list(pieces).index(piece) + 1 :])
    return shown + watch.end(), None


MARKERS = [
    "Answer:", "answer: ", "ANSWER :", "**Answer:** ", "Final answer:", "**Final Answer**: ",
    "The answer is:", "the final answer is : ", "> Answer：", "  Answer:", "# Answer:",
    "my answer:",
]  # fmt: skip


@pytest.mark.parametrize("marker", MARKERS)
@pytest.mark.parametrize("before", ["", "It is red.\n", "One.\n\n", "Answering is hard\n"])
def test_a_line_that_opens_with_it_is_the_answers(before, marker):
    assert parted(list(before + marker + "red")) == (before, "".join((marker, "red")))


@pytest.mark.parametrize(
    "text",
    [
        "My guess of the Answer: red", "To answer: red", "The answer is red.", "Answering: red",
        "Answers: many", "answeris: red", "Question: what?\nNo Answer: yet", "An\nswer: red",
        "The answer, is: x", "Answer\n: red", "",
    ],
)  # fmt: skip
def test_other_lines_are_not(text):
    assert parted(list(text)) == (text, None)


def test_text_is_held_back_only_while_it_may_become_the_marker():
    watch = MarkerWatch()
    assert watch.push("The ") == ("", None)
    assert watch.push("ans") == ("", None)
    assert watch.push("wers ") == ("The answers ", None)
    assert watch.push("Answer") == ("Answer", None)  # in the middle of the line
    assert watch.push(": 3\nFinal") == (": 3\n", None)
    assert not watch.at_line_start
    assert watch.end() == "Final"


def test_line_starts():
    watch = MarkerWatch()
    states = [watch.at_line_start]
    for piece in ("\n", " **", "so", "\n", "Ans"):
        watch.push(piece)
        states.append(watch.at_line_start)
    assert states == [True, True, True, False, True, False]


@given(
    st.text(alphabet="Answer: \n*the is", max_size=60),
    st.lists(st.integers(0, 60), max_size=8),
)
def test_how_the_text_is_cut_changes_nothing(text, cuts):
    edges = sorted({0, *(c for c in cuts if c < len(text)), len(text)})
    pieces = [text[a:b] for a, b in itertools.pairwise(edges)]
    shown, answer = "", None
    watch = MarkerWatch()
    for place, piece in enumerate(pieces):
        released, answer = watch.push(piece)
        shown += released
        if answer is not None:
            answer += "".join(pieces[place + 1 :])
            break
    else:
        shown += watch.end()
    assert shown + (answer or "") == text
    assert (shown, answer) == parted([text] if text else [])
