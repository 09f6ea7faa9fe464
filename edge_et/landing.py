"""The soft landing: near the end of a thinking, what closes it gains weight."""

from __future__ import annotations

from edge_et.token_model import Nudge, Vocabulary

LANDING_FROM = 0.9
"""The part of the thinking's budget or time from which on the weight grows …"""
LANDING_LOGITS = 15.0
"""… up to this at its end. The paper multiplies the closing's logit by up to 2 instead, which
lowers it where it is negative."""


class Landing:
    """Pulls to the closing mark; without marks to a new line, then to "Answer:" token by token."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        marks = vocabulary.think_marks
        self._mark = marks[1] if marks else None
        self._opening = vocabulary.answer_opening
        self._line_break = vocabulary.line_break
        self._written = 0
        """Tokens of the opening that stand at the end of the text."""

    def pull(self, spent: float, *, at_line_start: bool) -> Nudge | None:
        """Return the pull when so much of the thinking is spent, 1.0 being all of it."""
        if spent <= LANDING_FROM:
            return None
        logits = LANDING_LOGITS * min(1.0, (spent - LANDING_FROM) / (1 - LANDING_FROM))
        return Nudge(token=self._closing(at_line_start), logits=logits)

    def add(self, token: int) -> None:
        """Note a token of the thinking."""
        goes_on = token == self._opening[self._written % len(self._opening)]
        self._written = self._written + 1 if goes_on else 0

    def _closing(self, at_line_start: bool) -> int:
        if self._mark is not None:
            return self._mark
        if at_line_start:
            return self._opening[0]
        begun = 0 < self._written < len(self._opening)
        return self._opening[self._written] if begun else self._line_break
