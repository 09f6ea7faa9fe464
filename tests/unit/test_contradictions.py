"""Where two descriptions of one image say different things of the same object."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_et.contradictions import contradictions


def found(first: str, second: str) -> list[tuple[str, str, str, str]]:
    return [(c.about, c.kind, c.first, c.second) for c in contradictions(first, second)]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("A red bus waits.", "There is a blue bus.", ("bus", "colour", "red", "blue")),
        ("A red bus waits.", "The bus is blue.", ("bus", "colour", "red", "blue")),
        ("The grey cats sleep.", "A black cat.", ("cat", "colour", "gray", "black")),
        ("A tiny dog.", "A huge dog", ("dog", "size", "small", "large")),
        ("A round table.", "The table is square.", ("table", "shape", "round", "square")),
        ("A striped shirt.", "A dotted shirt.", ("shirt", "pattern", "striped", "dotted")),
        ("The left door.", "The right door.", ("door", "place", "left", "right")),
        ("Two boats.", "There are 3 boats.", ("boat", "count", "2", "3")),
        ("There is no boat.", "I count 3 boats.", ("boat", "count", "0", "3")),
        ("3 red boats, 2 boats.", "4 red boats", ("boat", "count", "3", "4")),
    ],
)
def test_the_same_object_described_differently(first, second, expected):
    assert found(first, second) == [expected]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("", ""),
        ("A red bus waits.", ""),
        ("A red bus waits.", "A bus waits by a blue wall."),  # only one says it
        ("A red bus and a blue car.", "A blue car and a red bus."),
        ("A little dog.", "A small dog."),
        ("A red star, a blue star.", "A blue star."),  # one of several
        ("2 red boats.", "3 blue boats are at sea; 2 red boats are not."),
        ("The red object is here.", "The blue object is here."),  # need not be the same thing
        ("First a red star is seen.", "First a blue ring is seen."),  # of which list?
        ("From left to right: first a red star.", "From top to bottom: first a blue ring."),
        ("A woman in a red hat.", "A woman in a coat, blue like the sky."),
    ],
)
def test_what_is_no_contradiction(first, second):
    assert found(first, second) == []


def test_places_of_a_list_are_compared():
    first = "From left to right: first a red star, second a small blue ring at 3 4."
    second = "From left to right: first a red star, second a small green ring, third a box."
    assert found(first, second) == [("ring", "colour", "blue", "green")]
    third = "From left to right: first a red star, second a small blue cross."
    assert found(first, third) == [("second from left to right", "shape", "ring", "cross")]


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_two_texts_can_be_compared_and_none_contradicts_itself(first, second):
    found(first, second)
    assert found(first, first) == []
