"""A call with a deadline: how the time that is left is shared, and when a part must end.

What the answer needs is set aside first: reading the reasoner's prompt, and the tokens of an
answer, at this device's rates. Of what is then free, half goes to the image at most, half of the
rest to the extraction, and what is left to the thinking; what a part does not use, the next one
has. The clock decides in the loops, the rates only how much is set aside.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge_et.config import ImageLimits
from edge_et.rates import Rates

if TYPE_CHECKING:
    from edge_et.budget import ImageCost

_MARGIN, _LEAST_MARGIN_S, _MOST_MARGIN_S = 0.05, 0.01, 0.5
"""Of the deadline, kept for what nobody foresees."""
_SHORT_EXTRACTION_TOKENS = 32
_INSTRUCTION_TOKENS = 64
"""Of the extractor's prompt, beside the image."""
_CLOSING_TOKENS = 4
"""What reading the closing of the thinking costs, in tokens of decode: it is one batch."""
_LAST_TOKENS = 10
"""Decode that an answer still takes when its time is over: a marker and a few words."""


@dataclass(slots=True, kw_only=True)
class Pace:
    """One call's way to its deadline; it answers `thinking.Clock` too."""

    rates: Rates
    due_s: float
    """When the answer is due, on the clock of time.perf_counter()."""
    deadline_s: float
    thinks: bool
    answers: bool = True
    """Whether the call ends in an answer; else it is over with the extraction."""
    answer_budget_tokens: int = 64
    _kept_for_thinking_s: float | None = field(default=None, init=False)
    _thinking: tuple[float, float] | None = field(default=None, init=False)
    """When the thinking began, and the seconds it had before it."""

    def share_anew(self) -> None:
        """Share what is left between another look and the thinking over it."""
        self._kept_for_thinking_s = self._thinking = None

    @property
    def left_s(self) -> float:
        margin_s = min(max(_MARGIN * self.deadline_s, _LEAST_MARGIN_S), _MOST_MARGIN_S)
        return self.due_s - margin_s - time.perf_counter()

    def image_limits(self, costs: Sequence[ImageCost], asked: ImageLimits) -> ImageLimits:
        """Return limits that choose the fullest of `costs` (the fullest comes first) that time
        allows, and the smallest where it allows none; `asked` when nothing has to change."""
        least_s = _SHORT_EXTRACTION_TOKENS * self.rates.of("extract_decode")
        free_s = self._free_s(_SHORT_EXTRACTION_TOKENS) - least_s
        fitting = [cost for cost in costs if self._image_s(cost) <= free_s / 2]
        chosen = fitting[0] if fitting else costs[-1]
        if chosen == costs[0]:
            return asked
        return ImageLimits(
            max_tiles=chosen.tiles, max_image_tokens=chosen.tokens, for_deadline=True
        )

    def extraction_over(self, tokens: int) -> bool:
        """Return whether the extraction must end after so many tokens."""
        free_s = self._free_s(tokens) - self.rates.of("extract_decode")
        if self._kept_for_thinking_s is None:
            self._kept_for_thinking_s = max(0.0, free_s / 2) if self.thinks else 0.0
        return free_s <= self._kept_for_thinking_s

    def think_spent(self, tokens: int) -> float:
        now_s = time.perf_counter()
        if self._thinking is None:
            self._thinking = now_s, self.left_s
        started_s, had_s = self._thinking
        token_s = self.rates.of("reason_decode")
        if tokens:
            token_s = max(token_s, (now_s - started_s) / tokens)
        free_s = had_s - self._answer_s(token_s) - token_s
        return 1.0 if free_s <= 0 else (now_s - started_s) / free_s

    def answer_over(self, tokens: int) -> bool:
        return self.left_s <= _LAST_TOKENS * self.rates.of("reason_decode")

    def _free_s(self, extraction_tokens: int) -> float:
        """Return the seconds that are left when reading such an extraction and answering are set
        aside."""
        if not self.answers:
            return self.left_s
        prompt_tokens = self.rates.prompt_tokens + extraction_tokens
        reading_s = prompt_tokens * self.rates.of("reason_prefill")
        return self.left_s - reading_s - self._answer_s(self.rates.of("reason_decode"))

    def _answer_s(self, token_s: float) -> float:
        tokens = min(self.rates.answer_tokens, self.answer_budget_tokens)
        return (max(tokens, _LAST_TOKENS) + _CLOSING_TOKENS) * token_s

    def _image_s(self, cost: ImageCost) -> float:
        read_tokens = cost.tokens + _INSTRUCTION_TOKENS
        prefill_s = read_tokens * self.rates.of("extract_prefill")
        return cost.tiles * self.rates.of("vision") + prefill_s
