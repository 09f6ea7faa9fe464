"""A model that has no opinion, held to a grammar by llama.cpp with the starter's vocabulary."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import edge_et
from edge_et.constrained import Held, write_held
from edge_et.gguf_header import read_header
from edge_et.llama import Model
from edge_et.llama_grammar import Grammar
from edge_et.reflexive import IntArray
from edge_et.shapes import Shape
from edge_et.texts import Text

STARTER = Path(edge_et.__file__).parent / "models" / "starter" / "reasoner" / "reasoner.gguf"


@functools.cache
def vocabulary() -> Model:
    return Model(read_header(STARTER), "cpu")


class Spelling:
    """The starter's tokens."""

    def is_stop(self, token: int) -> bool:
        return vocabulary().is_stop(token)

    def piece(self, token: int) -> bytes:
        return vocabulary().piece(token)

    def tokens(self, text: str) -> tuple[int, ...]:
        return vocabulary().tokenize(text, False)


class Guesser:
    """Draws any token that the grammar allows."""

    def __init__(self, seed: int, *, room: int = 100_000) -> None:
        self._random = np.random.default_rng(seed)
        self._grammar: Grammar | None = None
        self.room_tokens = room
        self.read: list[int] = []
        self.sampled = 0

    def constrain(self, grammar: str | None) -> None:
        if self._grammar is not None:
            self._grammar.close()
        self._grammar = None if grammar is None else Grammar(vocabulary().vocab, grammar)

    def sample(self, banned: IntArray) -> int:
        import numpy as np

        assert self._grammar is not None, "sampled without a grammar"
        self.sampled += 1
        logits = self._random.random(vocabulary().vocab_size, np.float32)
        logits[banned] = -np.inf
        self._grammar.mask(logits)
        assert np.isfinite(logits).any()
        token = int(logits.argmax())
        self._grammar.accept(token)
        return token

    def feed(self, tokens: Sequence[int]) -> None:
        assert len(tokens) <= self.room_tokens, "fed beyond the context"
        self.room_tokens -= len(tokens)
        self.read += tokens


def written(
    shape: Shape, *, seed: int, budget_tokens: int, room: int = 100_000
) -> tuple[Held, str, Guesser, int]:
    """Return what was written, the chunks' text, the model, and the tokens used."""
    model, said = Guesser(seed, room=room), Text("answer")
    stream = write_held(model, Spelling(), shape, said, budget_tokens=budget_tokens)
    chunks = []
    while True:
        try:
            chunks.append(next(stream).text)
        except StopIteration as end:
            return end.value, "".join(chunks), model, said.tokens
