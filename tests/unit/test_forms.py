"""Which form a question asks for, and the options it gives."""

from __future__ import annotations

import pytest

from edge_et.forms import answer_form, find_options, given_options, with_options

RING_STAR = [("A", "ring"), ("B", "star")]


@pytest.mark.parametrize(
    ("question", "options"),
    [
        ("Which? (A) ring (B) star", RING_STAR),
        ("Which? (a) ring (b) star", RING_STAR),
        ("Which? A: ring, B: star", RING_STAR),
        ("Which? A. ring B. star", RING_STAR),
        ("Which? A) ring B) star", RING_STAR),
        ("Which?\nA. ring\nB. star", RING_STAR),
        ("Which?\nA. ring\nB. star\nAnswer with the letter only.", RING_STAR),
        ("Options: A: ring, B: star", RING_STAR),
        ("Who? (A) Mr B. Ring (B) star", [("A", "Mr B. Ring"), ("B", "star")]),
        ("Which? (1) ring (2) star", [("1", "ring"), ("2", "star")]),
        ("Which? Options: ring, star", [("", "ring"), ("", "star")]),
        ("Choices: ring; star", [("", "ring"), ("", "star")]),
        ("Which? Choose from: ring, star, or disc.", [("", "ring"), ("", "star"), ("", "disc")]),
        ("Which?\nOptions:\n- ring\n- red star", [("", "ring"), ("", "red star")]),
        ("Which is it, plan A or plan B?", []),
        ("Is vitamin A. good?", []),
        ("(A) ring", []),
        ("What are the options: none", []),
        ("What is it?", []),
    ],
)
def test_options(question, options):
    assert [(o.label, o.text) for o in find_options(question)] == options


@pytest.mark.parametrize(
    ("question", "form"),
    [
        ("Which? (A) ring (B) star", "choice"),
        ("How many are there? Options: 1, 2", "choice"),
        ("How many are there?", "number"),
        ("Question: How many are there?", "number"),
        ("How much does it weigh?", "number"),
        ("What is the total number of stars?", "number"),
        ("Is there a star?", "yes_no"),
        ("Isn't it red?", "yes_no"),
        ("Is it a star or a ring?", "short"),
        ("What colour is it?", "short"),
        ("Describe the image.", "free"),
        ("Can you explain what happens?", "free"),
        ("Can you see a star?", "yes_no"),
    ],
)
def test_forms(question, form):
    assert answer_form(question) == form


def test_given_options_are_found_again_in_the_question_they_are_put_into():
    texts = ("red ring", "blue star", "disc")
    options = given_options(texts)
    assert [option.answer for option in options] == list(texts)
    again = find_options(with_options("What is it?", options))
    assert [(o.label, o.text) for o in again] == [(o.label, o.text) for o in options]
