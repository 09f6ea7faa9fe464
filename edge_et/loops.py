"""Going round in circles: the same tokens over and over, seen as they come."""

from __future__ import annotations

import numpy as np

_LONGEST_TOKENS = 128
_ROUNDS = 3
_TOKENS = 48
"""A run of equal rounds is a loop when it has three and is 48 tokens long. Counting six red stars
repeats itself for less; a table or a list has something new in each row."""


class LoopWatch:
    """Watches one text for a period of up to 128 tokens."""

    def __init__(self) -> None:
        periods = np.arange(1, _LONGEST_TOKENS + 1)
        rounds = np.maximum(_ROUNDS, -(-_TOKENS // periods))
        self._needed = (rounds - 1) * periods
        """By period: how many tokens in a row must equal the one a period before them."""
        self._equal = np.zeros_like(periods)
        self._last = np.full(_LONGEST_TOKENS, -1)
        """The tokens before this one, the latest first."""

    def add(self, token: int) -> bool:
        """Return whether the text, ended by `token`, is in a loop."""
        self._equal = np.where(self._last == token, self._equal + 1, 0)
        self._last = np.roll(self._last, 1)
        self._last[0] = token
        return bool((self._equal >= self._needed).any())
