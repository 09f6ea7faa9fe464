"""Prompt lookup: what comes next is guessed to be what came next the last time.

A text that repeats itself, as thinking repeats the description, can be copied ahead: the tokens
behind an earlier place that ends alike are a draft, which a model then checks in one step.
"""

from __future__ import annotations

from collections.abc import Sequence

LONGEST_MATCH_TOKENS = 3
MOST_DRAFT_TOKENS = 3
"""A step of four rows costs one and a half of one row, a fifth row as much as two
(docs/decisions/0009)."""


class Lookup:
    """One growing text and where its short runs of tokens were last followed by something."""

    def __init__(self) -> None:
        self._text: list[int] = []
        self._next: dict[tuple[int, ...], int] = {}
        """From a run of tokens: the place behind the last one that something followed."""
        self._draft_tokens = 1

    def add(self, tokens: Sequence[int]) -> None:
        """Take over what the text goes on with."""
        for token in tokens:
            for run in self._endings():
                self._next[run] = len(self._text)
            self._text.append(token)

    def draft(self, most: int) -> list[int]:
        """Return up to `most` tokens that may come next: none where nothing like it came before.

        The longest match counts, of three tokens down to one. One that reaches the end of the text
        is repeated: "a b a b" goes on with "a b a b".
        """
        for run in self._endings():
            place = self._next.get(run)
            if place is not None:
                round_tokens = len(self._text) - place
                wanted = min(most, self._draft_tokens)
                return [self._text[place + n % round_tokens] for n in range(wanted)]
        return []

    def judge(self, *, right: bool) -> None:
        """Hear whether the last draft came true as a whole: then the next is longer, else short."""
        self._draft_tokens = min(MOST_DRAFT_TOKENS, self._draft_tokens + 2) if right else 1

    def _endings(self) -> list[tuple[int, ...]]:
        """Return the runs that the text ends with, the longest first."""
        longest = min(LONGEST_MATCH_TOKENS, len(self._text))
        return [tuple(self._text[-n:]) for n in range(longest, 0, -1)]
