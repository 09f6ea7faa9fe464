"""The parts of a reasoner's output: bytes of tokens -> chunks of whole characters."""

from __future__ import annotations

import codecs
from collections.abc import Generator
from typing import Literal

from edge_et.marker import MarkerWatch
from edge_et.types import Chunk


class Text:
    """One part. `whole` is all that was emitted, `tokens` how many tokens the model wrote."""

    def __init__(self, kind: Literal["thinking", "answer"]) -> None:
        self._kind = kind
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.whole = ""
        self.tokens = 0

    def add(self, piece: bytes) -> Generator[Chunk, None, None]:
        self.tokens += 1
        yield from self._emit(self._decoder.decode(piece))

    def write(self, text: str) -> Generator[Chunk, None, None]:
        """Add text that no token of this part stands for."""
        yield from self._emit(self._decoder.decode(b"", True) + text)

    def takes(self, piece: bytes) -> bool:
        """Return whether the bytes go on in UTF-8."""
        begun, _ = self._decoder.getstate()
        try:
            codecs.getincrementaldecoder("utf-8")().decode(begun + piece)
        except UnicodeDecodeError:
            return False
        return True

    def drop_cut_character(self) -> None:
        """Forget the bytes of a character that is not whole yet."""
        self._decoder.reset()

    def end(self) -> Generator[Chunk, None, None]:
        """Emit what is left of a character cut in its middle."""
        yield from self.write("")

    def _emit(self, text: str) -> Generator[Chunk, None, None]:
        if not self.whole:
            text = text.lstrip()
        if text:
            self.whole += text
            yield Chunk(kind=self._kind, text=text)


class Thought(Text):
    """The thinking. Without marks around it, it ends where the answer's line begins."""

    def __init__(self, watch: MarkerWatch | None) -> None:
        super().__init__("thinking")
        self._watch = watch
        self._last = ""
        self.answer: str | None = None
        """The first text of the answer, marker included, once it has begun."""

    @property
    def in_word(self) -> bool:
        return self._last.isalnum()

    @property
    def at_line_start(self) -> bool:
        return self._watch is not None and self._watch.at_line_start

    def add(self, piece: bytes) -> Generator[Chunk, None, None]:
        self.tokens += 1
        text = self._decoder.decode(piece)
        self._last = text[-1:] or self._last
        if self._watch is not None:
            text, self.answer = self._watch.push(text)
        yield from self._emit(text)

    def end(self) -> Generator[Chunk, None, None]:
        if self._watch is not None and self.answer is None:
            yield from self._emit(self._watch.end())
        yield from super().end()
