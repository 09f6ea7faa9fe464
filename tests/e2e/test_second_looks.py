"""The starter looks again: without a focus it misses the order from top to bottom, and finds it."""

from __future__ import annotations

import json

from tests.e2e.starter import PAIR, Run

IMAGE = "examples/shapes.png"
QUESTION = "What shape is the topmost object?"


def test_a_look_with_the_focus_follows_one_without(edge_et: Run) -> None:
    record = json.loads(edge_et("ask", IMAGE, QUESTION, "--focus", "none", "--json", *PAIR).stdout)
    assert record["extraction"]["focus_phrase"] == ""
    assert [look["focus_phrase"] for look in record["looks"]] == ["the shape of the topmost object"]
    assert record["looks"][0]["text"].startswith("From top to bottom")


def test_without_looks_it_does_not_guess(edge_et: Run) -> None:
    done = edge_et("ask", IMAGE, QUESTION, "--focus", "none", "--looks", "0", *PAIR)
    assert done.returncode == 7
    assert done.stdout.startswith("not seen")
    assert "--looks" in done.stderr


def test_own_words_reach_the_extraction(edge_et: Run) -> None:
    own = ("--focus", "the order from top to bottom")
    done = edge_et("ask", IMAGE, QUESTION, *own, "--json", *PAIR)
    assert json.loads(done.stdout)["extraction"]["focus_source"] == "given"
