"""How hard to think: names for budgets, in one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Effort = Literal["none", "low", "medium", "high"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EffortBudgets:
    think_tokens: int
    answer_tokens: int


DEFAULT_EFFORT: Effort = "medium"
EFFORTS: Mapping[Effort, EffortBudgets] = {
    "none": EffortBudgets(think_tokens=0, answer_tokens=512),
    "low": EffortBudgets(think_tokens=256, answer_tokens=256),
    "medium": EffortBudgets(think_tokens=1024, answer_tokens=512),
    "high": EffortBudgets(think_tokens=4096, answer_tokens=1024),  # the paper's
}
