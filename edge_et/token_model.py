"""What the thinking needs of a language model and of its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edge_et.reflexive import IntArray, ReflexiveIds


@dataclass(frozen=True, slots=True, kw_only=True)
class Nudge:
    """Weight added to one token before the next one is sampled."""

    token: int
    logits: float


class TokenModel(Protocol):
    """A language model whose prompt has been read."""

    @property
    def room_tokens(self) -> int:
        """How many more tokens fit into the context."""

    def sample(self, banned: IntArray, nudge: Nudge | None = None) -> int:
        """Return the next token, none of `banned`; it is not read until it is fed."""

    def feed(self, tokens: Sequence[int]) -> None: ...

    def constrain(self, grammar: str | None) -> None:
        """Hold the tokens sampled from here on to a grammar in GBNF; None sets them free."""


class Vocabulary(Protocol):
    """What the state machine must know of the model's tokens."""

    @property
    def think_marks(self) -> tuple[int, int] | None:
        """The opening and the closing mark; None for a model that does not think apart."""

    @property
    def closing(self) -> tuple[int, ...]:
        r"""The tokens of "\n</think>\n\n"; of "\nAnswer:" without marks."""

    @property
    def landing(self) -> tuple[int, ...]:
        """The same behind a line that ends a thinking cut short."""

    @property
    def answer_opening(self) -> tuple[int, ...]:
        """The tokens of "Answer:"."""

    @property
    def line_break(self) -> int: ...

    @property
    def stop_ids(self) -> frozenset[int]:
        """All tokens that end a text, to be masked."""

    @property
    def reflexive(self) -> ReflexiveIds: ...

    def is_stop(self, token: int) -> bool: ...

    def piece(self, token: int) -> bytes: ...

    def tokens(self, text: str) -> tuple[int, ...]:
        """Return the tokens of a text in which nothing is special."""
