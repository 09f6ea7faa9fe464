"""What the thinking asks of time."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """The time that a deadline leaves; asked before each token."""

    def think_spent(self, tokens: int) -> float:
        """Return which part of the thinking's time is spent, after so many tokens of it."""

    def answer_over(self, tokens: int) -> bool:
        """Return whether only a few more tokens can come in time."""


class NoClock:
    """No deadline."""

    def think_spent(self, tokens: int) -> float:
        return 0.0

    def answer_over(self, tokens: int) -> bool:
        return False
