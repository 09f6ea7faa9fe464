"""What counts as the answer in what a reasoner wrote, and where it was found."""

from __future__ import annotations

import pytest

from edge_et.answers import parse_answer, read_answer
from edge_et.forms import find_options

CHOICE = "Which is further left? (A) a red star (B) a blue ring"
LINES = "Which one?\nA. cat\nB. dog\nC. bird\nAnswer with the letter."
COUNTS = "How many stars are there? (A) 2 (B) 3 (C) 13"
TEXTS = "What is it? Options: star, red star, ring"
YES_NO = "Is there a star?"
HOW_MANY = "How many stars?"
WHAT = "What colour is it?"

CHOICES = [
    ("Answer: B", CHOICE, "B", "marker"),
    ("**Answer:** B", CHOICE, "B", "marker"),
    ("**Answer: B**", CHOICE, "B", "marker"),
    ("**Answer:** (B)", CHOICE, "B", "marker"),
    ("**Answer**: B", CHOICE, "B", "marker"),
    ("answer: b", CHOICE, "B", "marker"),
    ("ANSWER: B.", CHOICE, "B", "marker"),
    ("Answer : B", CHOICE, "B", "marker"),
    ("Answer：B", CHOICE, "B", "marker"),
    ("Answer = B", CHOICE, "B", "marker"),
    ("Answer: [B]", CHOICE, "B", "marker"),
    ("Answer: `B`", CHOICE, "B", "marker"),
    ('{"answer": "B"}', CHOICE, "B", "marker"),
    ("<answer>B</answer>", CHOICE, "B", "marker"),
    ("答案：B", CHOICE, "B", "marker"),
    ("The ring.\nAnswer: (b)\n\n", CHOICE, "B", "marker"),
    ("Answer:\nB", CHOICE, "B", "marker"),
    ("Answer: B\n\nThe ring is at x = 3.", CHOICE, "B", "marker"),
    ("Answer: B\nbecause the star is right of it.", CHOICE, "B", "marker"),
    ("Final answer - b)", CHOICE, "B", "marker"),
    ("Final Answer — B", CHOICE, "B", "marker"),
    ("### Final Answer\n\nB", CHOICE, "B", "marker"),
    ("## Answer:\n**B**", CHOICE, "B", "marker"),
    ("Final answer\n(B) a blue ring", CHOICE, "B", "marker"),
    ("Answer: Option B: a blue ring", CHOICE, "B", "marker"),
    ("Answer: B) a blue ri", CHOICE, "B", "marker"),
    ("Answer: a red star", CHOICE, "A", "marker"),
    ("Answer: A red star.", CHOICE, "A", "marker"),
    ("Answer: the blue ring", CHOICE, "B", "marker"),
    ("Answer: B, a blue ring", CHOICE, "B", "marker"),
    ("Answer: A\nAnswer: B", CHOICE, "B", "marker"),
    ("Answer: B\nAnswer:", CHOICE, "B", "marker"),
    ("Answer: dog", LINES, "B", "marker"),
    ("Answer: C.", LINES, "C", "marker"),
    ("The answer is: C", LINES, "C", "marker"),
    (r"Answer: $\boxed{\text{B}}$", CHOICE, "B", "marker"),
    (r"Answer: \(\mathrm{B}\)", CHOICE, "B", "marker"),
    ("Answer: 3", COUNTS, "B", "marker"),
    ("Answer: three", COUNTS, "B", "marker"),
    ("Answer: thirteen stars", COUNTS, "C", "marker"),
    ("Answer: a red star", TEXTS, "red star", "marker"),
    ("Answer: star", TEXTS, "star", "marker"),
    ("Answer: it is a red star", TEXTS, "red star", "marker"),
    (r"So it is \boxed{B}", CHOICE, "B", "boxed"),
    (r"\[ \boxed{\text{(B) a blue ring}} \]", CHOICE, "B", "boxed"),
    (r"\boxed{A} at first, but then \boxed{B}.", CHOICE, "B", "boxed"),
    (r"It is \boxed{B", CHOICE, "B", "boxed"),
    (r"\boxed{B}" + "\nAnswer: see above", CHOICE, "B", "boxed"),
    ("The answer is B", CHOICE, "B", "phrase"),
    ("The answer is B.", CHOICE, "B", "phrase"),
    ("the correct answer is (b). The star is right of it.", CHOICE, "B", "phrase"),
    ("The correct option is B) a blue ring", CHOICE, "B", "phrase"),
    ("The answer must be **B**\n\nI am sure.", CHOICE, "B", "phrase"),
    ("The star is on the right.\nB", CHOICE, "B", "last_line"),
    ("The star is on the right.\n\n(B)\n", CHOICE, "B", "last_line"),
    ("A is a star.\nSo I choose B", CHOICE, "B", "last_line"),
    ("B\n\nThe left one has a lower x.", CHOICE, "B", "whole"),
    ("It is the blue ring.", CHOICE, "B", "whole"),
    ("I take option b", CHOICE, "B", "whole"),
    ("B is right", CHOICE, "B", "whole"),
    ("B", CHOICE, "B", "whole"),
    ("(B) a blue ring", CHOICE, "B", "whole"),
]
OTHERS = [
    ("Answer: Yes.", YES_NO, "yes", "marker"),
    ("Answer: no, there is none", YES_NO, "no", "marker"),
    ("**Answer:** _No_", YES_NO, "no", "marker"),
    ("Answer: True", YES_NO, "yes", "marker"),
    ("The answer is no.", YES_NO, "no", "phrase"),
    ("I count two.\nSo yes", "Are there two?", "yes", "last_line"),
    ("Yes, there is one.", YES_NO, "yes", "whole"),
    ("Answer: 3", HOW_MANY, "3", "marker"),
    ("Answer: three", HOW_MANY, "3", "marker"),
    ("Answer: twenty-one", HOW_MANY, "21", "marker"),
    ("Answer: one hundred and five", HOW_MANY, "105", "marker"),
    ("Answer: two dozen", HOW_MANY, "24", "marker"),
    ("Answer: There are three stars.", HOW_MANY, "3", "marker"),
    ("Answer: There are no stars.", HOW_MANY, "0", "marker"),
    ("Answer: no 3", HOW_MANY, "3", "marker"),
    ("Answer: 3 stars: 2 red, 1 blue", HOW_MANY, "3", "marker"),
    ("Answer: 1 + 2 = 3.", HOW_MANY, "3", "marker"),
    ("**Answer:** none", HOW_MANY, "0", "marker"),
    ("Answer: 1,200", "How many pixels?", "1200", "marker"),
    ("Answer: 1,234,567.5", "How much is it?", "1234567.5", "marker"),
    (r"Answer: $1{,}200$", "How many pixels?", "1200", "marker"),
    ("Answer: 1\u202f200", "How many pixels?", "1200", "marker"),
    ("Answer: −5 °C", "How much is it?", "-5°C", "marker"),
    ("Answer: 12.5cm", "How much is it?", "12.5 cm", "marker"),
    (r"Answer: $12.5\,\text{cm}$", "How much is it?", "12.5 cm", "marker"),
    (r"Answer: 40\%", "What percentage is red?", "40%", "marker"),
    ("Answer: 40 percent of it", "What percentage is red?", "40%", "marker"),
    ("Answer: $5", "How much is it?", "5", "marker"),
    ("Answer: 3/4", "How much is it?", "3/4", "marker"),
    (r"\boxed{7}", HOW_MANY, "7", "boxed"),
    ("The answer is 7 stars", HOW_MANY, "7", "phrase"),
    ("2 are red.\nSo there are 2 + 1 = 3 stars.", HOW_MANY, "3", "last_line"),
    ("2 red and 1 blue, so 3 stars", HOW_MANY, "3", "whole"),
    ("I count 3 stars: 2 red and 1 blue", HOW_MANY, "3", "whole"),
    ("Answer: red.", WHAT, "red", "marker"),
    ("A final answer: **dark red**", WHAT, "dark red", "marker"),
    ("The answer is: red", WHAT, "red", "marker"),
    ("answer : `red`", WHAT, "red", "marker"),
    ("Answer: “red”", WHAT, "red", "marker"),
    ("Answer: one\nof two lines", "What is it?", "one\nof two lines", "marker"),
    ("Answer: St. Mary's", "What does it say?", "St. Mary's", "marker"),
    ("The answer is red. It is at the top.", WHAT, "red", "phrase"),
    ("The star is at the top.\nIt is **red**.", WHAT, "It is red", "last_line"),
    (r"So \boxed{red} it is.", WHAT, "red", "boxed"),
    ("red", WHAT, "red", "whole"),
    ("It is 3.5 m high. Or so.", "What is it?", "It is 3.5 m high. Or so.", "whole"),
    ("Let me see. The star is", WHAT, "Let me see. The star is", "whole"),
    ("The answering machine", "What is it?", "The answering machine", "whole"),
    ("Answer: A star.\n\nIt is red.", "Describe it.", "A star.\n\nIt is red.", "marker"),
    ("A star.\n\nIt is red.", "Describe it.", "A star.\n\nIt is red.", "whole"),
]
NONE_OF_THE_FORM = [
    ("Answer: not in the description", CHOICE, "not in the description"),
    ("Answer: D", CHOICE, "D"),
    ("Answer: A and B", CHOICE, "A and B"),
    ("Answer: A bird is there", CHOICE, "A bird is there"),
    ("It is the blue ring.\nAnswer: unclear", CHOICE, "unclear"),
    ("Answer: not in the description", YES_NO, "not in the description"),
    ("There is no mention of it.", YES_NO, "There is no mention of it"),
    ("Answer: it does not say", HOW_MANY, "it does not say"),
]


def read(text, question):
    from edge_et.forms import answer_form

    return read_answer(text, answer_form(question), find_options(question))


def test_the_table_is_long_enough_to_mean_something():
    assert len(CHOICES + OTHERS) >= 80


@pytest.mark.parametrize(("text", "question", "answer", "found"), CHOICES + OTHERS)
def test_reading(text, question, answer, found):
    reading = read(text, question)
    assert (reading.text, reading.found, reading.holds) == (answer, found, True)
    assert parse_answer(text, question) == answer


@pytest.mark.parametrize(("text", "question", "answer"), NONE_OF_THE_FORM)
def test_what_has_another_form_is_kept_and_told(text, question, answer):
    reading = read(text, question)
    assert (reading.text, reading.holds) == (answer, False)


@pytest.mark.parametrize("text", ["Answer:", "***", ".", "\\boxed{}"])
@pytest.mark.parametrize("question", [CHOICE, "Is it?", "How many?", "What?"])
def test_what_cannot_be_parsed_is_kept(text, question):
    assert parse_answer(text, question) == text


@pytest.mark.parametrize(("text", "question", "answer", "found"), CHOICES)
def test_what_is_written_around_an_answer_changes_nothing(text, question, answer, found):
    """The authors' parser reads the last line alone: a line break after it loses the answer."""
    assert parse_answer(text + "\n\n", question) == answer
    assert parse_answer("\n  " + text, question) == answer
