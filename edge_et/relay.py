"""A generator passed on, piece by piece, with its result."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")
_Result = TypeVar("_Result")


def relay(
    source: Generator[_In, None, _Result], each: Callable[[_In], Iterable[_Out]]
) -> Generator[_Out, None, _Result]:
    """Yield what `each` makes of every piece, and return what `source` returns.

    `source` is closed when this is closed, or when anything raises.
    """
    try:
        while True:
            try:
                piece = next(source)
            except StopIteration as end:
                result: _Result = end.value
                return result
            yield from each(piece)
    finally:
        source.close()
