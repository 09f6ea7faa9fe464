"""Circles are seen, and what only resembles one is not."""

from __future__ import annotations

import pytest

from edge_et.loops import LoopWatch


def seen_after(tokens):
    watch = LoopWatch()
    for count, token in enumerate(tokens, 1):
        if watch.add(token):
            return count
    return None


@pytest.mark.parametrize(
    ("period", "after"), [(1, 48), (2, 48), (5, 50), (16, 48), (17, 51), (100, 300), (128, 384)]
)
def test_a_circle_is_seen_at_its_third_round_and_48_tokens(period, after):
    start = [900, 901, 902]
    assert seen_after(start + list(range(period)) * 100) == len(start) + after


def test_a_circle_longer_than_the_watch_is_not_seen():
    assert seen_after(list(range(129)) * 10) is None


def test_a_circle_late_in_a_text_is_seen():
    assert seen_after(list(range(1000)) + [7, 8] * 40) == 1048


def test_rows_that_differ_are_no_circle():
    rows = [token for row in range(60) for token in (1, 2, 1000 + row, 3)]
    assert seen_after(rows) is None


def test_counting_a_few_equal_things_is_no_circle():
    assert seen_after([5, 6] * 20 + [9] + [5, 6] * 20) is None
