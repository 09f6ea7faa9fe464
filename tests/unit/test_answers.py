"""What counts as the answer in what a reasoner wrote."""

from __future__ import annotations

import pytest

from edge_et.answers import parse_answer

CHOICE = "Which is further left? (A) a red star (B) a blue ring"
LINES = "Which one?\nA. cat\nB. dog\nC. bird"


@pytest.mark.parametrize(
    ("text", "question", "answer"),
    [
        ("Answer: B", CHOICE, "B"),
        ("**Answer:** B", CHOICE, "B"),
        ("**Answer: B**", CHOICE, "B"),
        ("The ring.\nAnswer: (b)\n\n", CHOICE, "B"),
        ("Answer:\nB", CHOICE, "B"),
        ("Answer: B\n\nThe ring is at x = 3.", CHOICE, "B"),
        (r"So it is \boxed{B}", CHOICE, "B"),
        (r"Answer: $\boxed{\text{B}}$", CHOICE, "B"),
        ("Answer: a red star", CHOICE, "A"),
        ("Answer: A red star.", CHOICE, "A"),
        ("It is the blue ring.", CHOICE, "B"),
        ("The answer is B", CHOICE, "B"),
        ("I take option b", CHOICE, "B"),
        ("Answer: B) a blue ring", CHOICE, "B"),
        ("B is right", CHOICE, "B"),
        ("Answer: A\nAnswer: B", CHOICE, "B"),
        ("Answer: B\nAnswer:", CHOICE, "B"),
        ("Answer: dog", LINES, "B"),
        ("Answer: C.", LINES, "C"),
        ("Answer: not in the description", CHOICE, "not in the description"),
        ("Answer: Yes.", "Is there a star?", "yes"),
        ("Answer: no, there is none", "Is there a star?", "no"),
        ("I count two.\nSo yes", "Are there two?", "yes"),
        ("Answer: not in the description", "Is there a star?", "not in the description"),
        ("There is no mention of it.", "Is there a star?", "There is no mention of it"),
        ("Answer: 3", "How many stars?", "3"),
        ("Answer: three", "How many stars?", "3"),
        ("Answer: There are three stars.", "How many stars?", "3"),
        ("Answer: 1 + 2 = 3.", "How many stars?", "3"),
        ("**Answer:** none", "How many stars?", "0"),
        ("Answer: 1,200", "How many pixels?", "1,200"),
        ("Answer: it does not say", "How many stars?", "it does not say"),
        ("Answer: red.", "What colour is it?", "red"),
        ("A final answer: **dark red**", "What colour is it?", "dark red"),
        ("The answer is: red", "What colour is it?", "red"),
        ("answer : `red`", "What colour is it?", "red"),
        ("red", "What colour is it?", "red"),
        ("It is 3.5 m high. Or so.", "What is it?", "It is 3.5 m high. Or so."),
        ("Answer: one\nof two lines", "What is it?", "one\nof two lines"),
        ("Let me see. The star is", "What colour is it?", "Let me see. The star is"),
        ("The answering machine", "What is it?", "The answering machine"),
    ],
)
def test_parsing(text, question, answer):
    assert parse_answer(text, question) == answer


@pytest.mark.parametrize("text", ["Answer:", "***", ".", "\\boxed{}"])
@pytest.mark.parametrize("question", [CHOICE, "Is it?", "How many?", "What?"])
def test_what_cannot_be_parsed_is_kept(text, question):
    assert parse_answer(text, question) == text
