"""The image budget of SmolVLM, whose tiles each take marks of text."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.exports import REASONER, Exported
from tests.e2e.starter import Run

ASK = ("ask", "examples/shapes.png", "How many red circles are there?", "--json")
SHORT = ("--extract-budget", "4", "--think-budget", "8", "--answer-budget", "8")


@pytest.fixture
def ask(exported: Callable[[str], Exported], edge_et: Run) -> Any:
    artifact = exported("smolvlm").folder

    def run(*limits: str) -> Any:
        return edge_et(*ASK, *SHORT, "--extractor", str(artifact), "--reasoner", REASONER, *limits)

    return run


def test_a_cpu_sees_the_default_and_says_so(ask: Any) -> None:
    image = json.loads(ask().stdout)["image"]
    assert image["tiles"] == 5
    (note,) = image["notes"]
    seen = f"2 x 2 tiles ({image['image_tokens']} image tokens)"
    assert note.startswith(f"{seen} by max_tiles 5, 3 x 3 tiles (")


def test_a_larger_budget_lifts_it(ask: Any) -> None:
    image = json.loads(ask("--max-tiles", "10").stdout)["image"]
    assert (image["tiles"], image["notes"]) == (10, [])


def test_a_budget_of_image_tokens_counts_the_marks(ask: Any) -> None:
    full = json.loads(ask("--max-tiles", "10").stdout)["image"]["image_tokens"]
    same = json.loads(ask("--max-image-tokens", str(full)).stdout)["image"]
    assert (same["image_tokens"], same["notes"]) == (full, [])
    less = json.loads(ask("--max-image-tokens", str(full - 1)).stdout)["image"]
    assert less["image_tokens"] < full and less["tiles"] == 5 and less["notes"]


def test_an_impossible_budget_names_the_smallest(ask: Any) -> None:
    done = ask("--max-image-tokens", "1")
    assert done.returncode == 3
    assert "the smallest is one tile" in done.stdout + done.stderr
