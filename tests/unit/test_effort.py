"""Efforts, and the budgets that speak louder."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_et.config import GenerationConfig
from edge_et.errors import InputError


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (GenerationConfig(), (True, 1024, 512)),
        (GenerationConfig(effort="none"), (False, 0, 512)),
        (GenerationConfig(effort="low"), (True, 256, 256)),
        (GenerationConfig(effort="high"), (True, 4096, 1024)),
        (GenerationConfig(effort="high", think_budget_tokens=9), (True, 9, 1024)),
        (GenerationConfig(effort="low", answer_budget_tokens=7), (True, 256, 7)),
        (GenerationConfig(effort="none", think_budget_tokens=9), (True, 9, 512)),
        (GenerationConfig(effort="high", think=False), (False, 4096, 1024)),
        (replace(GenerationConfig(answer_budget_tokens=7), effort="high"), (True, 4096, 7)),
    ],
)
def test_what_is_in_force(config, expected):
    assert (config.thinks, config.think_tokens, config.answer_tokens) == expected


@pytest.mark.parametrize(
    "given",
    [
        {"effort": "extreme"}, {"think_budget_tokens": -1}, {"answer_budget_tokens": 0},
        {"extraction_budget_tokens": 0},
    ],
)  # fmt: skip
def test_what_is_refused(given):
    with pytest.raises(InputError):
        GenerationConfig(**given)
