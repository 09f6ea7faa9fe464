"""The streaming handoff: the reasoner reads the description while the extractor writes it.

The extractor stays in the calling thread; the reasoner reads on one of its own (both libraries let
go of the interpreter while they compute). What was read is compared with the finished prompt, so a
wrong guess costs time and never changes an answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from typing import TypeVar

from edge_et.config import GenerationConfig
from edge_et.errors import Cancelled
from edge_et.prompts import reasoning_opening
from edge_et.stages import Call, Cancel, ReasonerLike
from edge_et.types import Chunk

Read = Callable[[str, Cancel], int]
_T = TypeVar("_T")
_DESCRIPTION_TOKENS = 512
_AROUND_TOKENS = 256
"""Role, question, format and chat template: what a context that is opened before the prompt is
known must hold beside description, thinking and answer. Where it is too small after all, a larger
one is made and the prompt read from its beginning."""


class ReadAhead:
    """A thread that calls `read(opening, stop)` whenever more of the prompt's opening is settled.

    One that failed raises its error in the next call of a method here.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._changed = threading.Condition()
        self._description = ""
        self._over = self._stopped = False
        self._error: BaseException | None = None
        self._busy_s = 0.0
        self._since_s: float | None = None
        self._thread = threading.Thread(target=self._run, name="edge-et-read-ahead", daemon=True)
        self._thread.start()

    def write(self, piece: str) -> None:
        """Take a piece of the description."""
        self._raise()
        with self._changed:
            self._description += piece
            self._changed.notify()

    def finish(self) -> float:
        """Wait for the reading that is going on; return the seconds of all reading before that."""
        busy_s = self._busy_until_now()
        self._end()
        self._raise()
        return busy_s

    def stop(self) -> None:
        """Break the reading off between two layers of the model, and wait for that."""
        self._stopped = True
        self._end()

    def _end(self) -> None:
        with self._changed:
            self._over = True
            self._changed.notify()
        self._thread.join()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _busy_until_now(self) -> float:
        with self._changed:
            since = self._since_s
            return self._busy_s + (0.0 if since is None else time.perf_counter() - since)

    def _run(self) -> None:
        done: str | None = None
        try:
            while (opening := self._next(done)) is not None:
                self._read(opening, lambda: self._stopped)
                done = opening
        except Cancelled:
            pass  # stopped from here
        except BaseException as exc:
            self._error = exc

    def _next(self, done: str | None) -> str | None:
        """Wait for an opening other than `done`; None when there will be none."""
        with self._changed:
            if self._since_s is not None:
                self._busy_s += time.perf_counter() - self._since_s
                self._since_s = None
            while not self._over:
                opening = reasoning_opening(self._description)
                if opening != done:
                    self._since_s = time.perf_counter()
                    return opening
                self._changed.wait()
        return None


def read_along(
    chunks: Generator[Chunk, None, _T], reasoner: ReasonerLike, call: Call
) -> Generator[Chunk, None, _T]:
    """Pass the extraction's chunks on and let the reasoner read them meanwhile.

    An error of either half, or a closed stream, stops both.
    """
    think = call.config.thinks
    reserve_tokens = _reserve_tokens(call.config)

    def read(opening: str, stop: Cancel) -> int:
        return reasoner.read_ahead(
            opening, think=think, reserve_tokens=reserve_tokens, cancelled=stop
        )

    ahead = ReadAhead(read)
    try:
        while True:
            try:
                chunk = next(chunks)
            except StopIteration as end:
                written: _T = end.value
                break
            ahead.write(chunk.text)
            yield chunk
        ended_s = time.perf_counter()
        call.spent(reason_prefill_hidden_s=ahead.finish())
        call.spent(reason_prefill_s=time.perf_counter() - ended_s)
        return written
    finally:
        ahead.stop()
        chunks.close()


def _reserve_tokens(config: GenerationConfig) -> int:
    description = min(config.extraction_budget_tokens, _DESCRIPTION_TOKENS)
    thinking = config.think_tokens if config.thinks else 0
    return description + _AROUND_TOKENS + thinking + config.answer_tokens
