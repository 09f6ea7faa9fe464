"""A stream of chunks that ends in a record, and its twin off the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Generic, NoReturn, Self, TypeVar

from edge_et.errors import InputError
from edge_et.types import Chunk

RecordT = TypeVar("RecordT")
_T = TypeVar("_T")


class Stream(Iterator[Chunk], Generic[RecordT]):
    """Iterate over the chunks; `result()` reads what is left and returns the finished record.

    Nothing runs before the first chunk is asked for. Closing the stream stops the models within
    one token and lets the next call in.
    """

    def __init__(self, source: Generator[Chunk, None, RecordT]) -> None:
        self._source = source
        self._done: Callable[[], RecordT] | None = None

    def __next__(self) -> Chunk:
        if self._done is not None:
            raise StopIteration
        try:
            return next(self._source)
        except StopIteration as end:
            record: RecordT = end.value
            self._done = lambda: record
            raise
        except BaseException as exc:
            error = exc
            self._done = lambda: _raise(error)
            raise

    def result(self) -> RecordT:
        """Return the record; raises again what the stream raised, InputError when it was closed."""
        for _ in self:
            pass
        assert self._done is not None
        return self._done()

    def close(self) -> None:
        self._source.close()
        if self._done is None:
            error = InputError("the stream was closed before its end, so it has no result")
            self._done = lambda: _raise(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


class AsyncStream(AsyncIterator[Chunk], Generic[RecordT]):
    """The same stream on a thread of its own: one chunk a step, so a slow reader holds it back.

    A thread a stream, because streams that wait for their turn would otherwise fill a shared pool
    and keep the one whose turn it is from going on. Cancelling the task stops the models.
    """

    def __init__(self, start: Callable[[Callable[[], bool]], Stream[RecordT]]) -> None:
        """`start(cancelled)` makes the stream to run."""
        self._stop = threading.Event()
        self._stream = start(self._stop.is_set)
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="edge-et")

    async def __anext__(self) -> Chunk:
        chunk: Chunk | None = await self._run(lambda: next(self._stream, None))
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def result(self) -> RecordT:
        """Return the record, reading what is left of the stream."""
        return await self._run(self._stream.result)

    async def aclose(self) -> None:
        self._abandon()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._abandon()

    async def _run(self, work: Callable[[], _T]) -> _T:
        if self._stop.is_set():
            raise InputError("the stream was closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        except asyncio.CancelledError:
            self._abandon()
            raise

    def _abandon(self) -> None:
        """Stop within one token and close the stream on its own thread, waiting for neither."""
        if not self._stop.is_set():
            self._stop.set()
            self._pool.submit(self._stream.close)
            self._pool.shutdown(wait=False)


def _raise(error: BaseException) -> NoReturn:
    raise error
