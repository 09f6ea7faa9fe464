"""A model that reads ahead: with a token it reads a draft of the next ones in the same step.

To its caller it is a model like any other: a token at a time is sampled, under the masks, nudges
and the sampler of that very token, and a draft is kept as far as what is fed agrees with it. So no
rule of the thinking knows of drafts, and what is sampled at any temperature is the model's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from edge_et.lookup import MOST_DRAFT_TOKENS, Lookup
from edge_et.reflexive import IntArray
from edge_et.token_model import Nudge


class RowModel(Protocol):
    """A `TokenModel` that gives logits behind each of the last tokens and can go back."""

    @property
    def room_tokens(self) -> int: ...

    def sample(self, banned: IntArray, nudge: Nudge | None = None, *, back: int = 0) -> int:
        """Return the next token after all that was read but the last `back` tokens."""

    def feed(self, tokens: Sequence[int], draft: Sequence[int] = ()) -> None:
        """Read tokens and a draft; the logits are then those after the last token and after each
        of the draft."""

    def take_back(self, tokens: int) -> None:
        """Forget the last tokens read."""

    def constrain(self, grammar: str | None) -> None: ...


class Ahead:
    """See the module. Under a grammar nothing is drafted."""

    def __init__(self, model: RowModel, prompt: Sequence[int]) -> None:
        """`prompt`: what the model has read."""
        self._model, self._lookup = model, Lookup()
        self._lookup.add(prompt)
        self._ahead: Sequence[int] = ()
        """Read by the model, and not yet fed."""
        self._held = False
        self.copied_tokens = 0
        """Fed without a step of their own, because a draft had them."""

    @property
    def room_tokens(self) -> int:
        return self._model.room_tokens + len(self._ahead)

    def sample(self, banned: IntArray, nudge: Nudge | None = None) -> int:
        return self._model.sample(banned, nudge, back=len(self._ahead))

    def constrain(self, grammar: str | None) -> None:
        self._held = grammar is not None
        self._model.constrain(grammar)

    def feed(self, tokens: Sequence[int]) -> None:
        self._lookup.add(tokens)
        rest = tokens[self._take(tokens) :]
        if not rest:
            return
        if self._ahead:
            back, self._ahead = len(self._ahead), ()
            self._lookup.judge(right=False)
            self._model.take_back(back)
        draft = self._draft() if len(rest) == 1 else ()
        self._model.feed(rest, draft)
        self._ahead = draft

    def _take(self, tokens: Sequence[int]) -> int:
        """Return how many of `tokens` were read ahead; these are no longer ahead."""
        pairs = enumerate(zip(tokens, self._ahead, strict=False))
        short = min(len(tokens), len(self._ahead))
        taken = next((n for n, (token, drafted) in pairs if token != drafted), short)
        if taken and taken == len(self._ahead):
            self._lookup.judge(right=True)
        self._ahead = self._ahead[taken:]
        self.copied_tokens += taken
        return taken

    def _draft(self) -> Sequence[int]:
        room = self._model.room_tokens - 1
        return () if self._held or room < 1 else self._lookup.draft(min(room, MOST_DRAFT_TOKENS))
