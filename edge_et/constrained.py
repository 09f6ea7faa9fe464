"""Writing under a grammar: the model chooses, the shape holds, and the budget is kept.

While there is budget enough the model writes freely within the grammar. When only what the shape
still needs is left of it, the text is closed: what must stand there is written, and the model
chooses the values, each within a grammar of its own. When nothing is left, the shortest values go
in unasked.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

from edge_et.closing import Part, fresh, least, rest
from edge_et.errors import InferenceFailed
from edge_et.grammar import gbnf
from edge_et.reflexive import NO_IDS, IntArray
from edge_et.shapes import Either, Items, Record, Row, Shape, Words
from edge_et.types import Chunk

_VALUE_TOKENS = 12
"""The most that the model gets for a string or a number while the text is being closed."""


class GrammarModel(Protocol):
    """A language model that can be held to a grammar."""

    @property
    def room_tokens(self) -> int: ...

    def constrain(self, grammar: str | None) -> None:
        """Hold the tokens sampled from here on to a grammar in GBNF; None sets them free."""

    def sample(self, banned: IntArray) -> int: ...

    def feed(self, tokens: Sequence[int]) -> None: ...


class SpellingVocabulary(Protocol):
    """What writing under a grammar must know of the model's tokens."""

    def is_stop(self, token: int) -> bool: ...

    def piece(self, token: int) -> bytes: ...

    def tokens(self, text: str) -> tuple[int, ...]: ...


class Written(Protocol):
    """The part of the output that is written to."""

    whole: str
    tokens: int

    def add(self, piece: bytes) -> Generator[Chunk, None, None]: ...

    def write(self, text: str) -> Generator[Chunk, None, None]: ...

    def takes(self, piece: bytes) -> bool: ...

    def drop_cut_character(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A text that has its shape."""

    text: str
    by_itself: bool
    """The model ended it; else the budget did."""


def write_held(
    model: GrammarModel,
    vocabulary: SpellingVocabulary,
    shape: Shape,
    said: Written,
    *,
    budget_tokens: int,
    banned: IntArray = NO_IDS,
    over: Callable[[], bool] = lambda: False,
) -> Generator[Chunk, None, Held]:
    """Write a text of `shape` behind what `said` holds.

    `over` is asked before each token and may raise; once it says True the text is closed without
    the model.
    """
    writer = _Writer(model, vocabulary, shape, said, budget_tokens, banned, over)
    try:
        by_itself = yield from writer.freely()
        yield from writer.close()
    finally:
        model.constrain(None)
    return Held(text=writer.text, by_itself=by_itself)


class _Writer:
    def __init__(
        self,
        model: GrammarModel,
        vocabulary: SpellingVocabulary,
        shape: Shape,
        said: Written,
        budget: int,
        banned: IntArray,
        over: Callable[[], bool],
    ) -> None:
        self._model, self._vocabulary, self._shape, self._said = model, vocabulary, shape, said
        self._banned, self._over = banned, over
        self._start = len(said.whole)
        self._last = said.tokens + budget
        self._reserve = _growth(shape, self._cost)

    @property
    def text(self) -> str:
        return self._said.whole[self._start :].lstrip()

    def freely(self) -> Generator[Chunk, None, bool]:
        """Let the model write; return whether it ended the text itself."""
        self._model.constrain(gbnf(self._shape, indented=True))
        while not self._over():
            needed = self._cost(self._missing()) + self._reserve
            if self._left <= needed:
                return False
            ended = yield from self._token()
            if ended is not None:
                return ended and not self._missing()
        return False

    def close(self) -> Generator[Chunk, None, None]:
        """Write what is missing."""
        self._said.drop_cut_character()
        while missing := self._missing():
            part = missing[0]
            if isinstance(part, str):
                yield from self._write(part)
            elif not (yield from self._fill(part)):
                yield from self._write(least(part))

    def _missing(self) -> list[Part]:
        text = self.text
        missing = rest(self._shape, text) if text else fresh(self._shape)
        if missing is None:
            raise InferenceFailed(f"the grammar let through what its shape forbids: {text!r}")
        return missing

    def _fill(self, shape: Shape) -> Generator[Chunk, None, bool]:
        """Let the model write a value; return whether anything came."""
        before = len(self._said.whole)
        self._model.constrain(gbnf(shape, indented=not self.text))
        for _ in range(self._cost([shape])):
            if self._left < 1 or self._over() or (yield from self._token()) is not None:
                break
        self._said.drop_cut_character()
        return len(self._said.whole) > before

    def _token(self) -> Generator[Chunk, None, bool | None]:
        """Take one token of the model; return True at its end of text, None to go on.

        llama.cpp lets bytes through that are no UTF-8: there the model has to stop, which is False.
        """
        token = self._model.sample(self._banned)
        if self._vocabulary.is_stop(token):
            return True
        piece = self._vocabulary.piece(token)
        if not self._said.takes(piece):
            return False
        self._model.feed((token,))
        yield from self._said.add(piece)
        return None

    def _write(self, text: str) -> Generator[Chunk, None, None]:
        """Write a text that must stand there; the model reads it while the budget lasts."""
        tokens = self._vocabulary.tokens(text)
        if len(tokens) <= self._left and not self._over():
            self._model.feed(tokens)
            self._said.tokens += len(tokens)
        else:
            self._last = self._said.tokens
        yield from self._said.write(text)

    @property
    def _left(self) -> int:
        return min(self._last - self._said.tokens, self._model.room_tokens)

    def _cost(self, parts: Sequence[Part]) -> int:
        """Return the most tokens that closing with `parts` takes."""
        return sum(
            len(self._vocabulary.tokens(part)) if isinstance(part, str) else self._share(part)
            for part in parts
        )

    def _share(self, value: Shape) -> int:
        """Return what the model gets for a value while the text is being closed."""
        if isinstance(value, Words):
            return max(len(self._vocabulary.tokens(word)) for word in value.spellings)
        return _VALUE_TOKENS


def _growth(shape: Shape, cost: Callable[[Sequence[Part]], int]) -> int:
    """Return by how many tokens one more token may lengthen what is needed: it may begin an item,
    or a member that could have been left out."""
    match shape:
        case Items():
            return max(cost(fresh(shape.item)) + 1, _growth(shape.item, cost))
        case Row():
            return max(_growth(item, cost) for item in shape.items)
        case Record():
            optional = (cost([m.key, *fresh(m.shape)]) for m in shape.members if not m.required)
            inner = (_growth(member.shape, cost) for member in shape.members)
            return max(*optional, *inner, 0, 0)
        case Either():
            longest = max(cost(fresh(option)) for option in shape.options)
            return max(longest, *(_growth(option, cost) for option in shape.options))
        case _:
            return 0
