"""How far an export is: its parts one after the other, and the bytes that each has written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from edge_et.downloads import reported, size_below


class Progress(Protocol):
    """Told what happens. `advance` comes from another thread."""

    def part(self, name: str, total_bytes: int | None) -> None:
        """A part begins, the one before is done. `total_bytes` is an estimate of what it writes;
        None where it writes nothing to speak of."""

    def advance(self, more_bytes: int) -> None:
        """The part has written so much more, scratch files included."""


class Silent:
    """Tells nobody."""

    def part(self, name: str, total_bytes: int | None) -> None:
        pass

    def advance(self, more_bytes: int) -> None:
        pass


SILENT = Silent()


@contextlib.contextmanager
def writing(progress: Progress, name: str, folder: Path, total_bytes: int | None) -> Iterator[None]:
    """Begin a part that writes below `folder`, and tell of its bytes while it runs."""
    progress.part(name, total_bytes)
    if progress is SILENT:
        yield
        return
    told_bytes = size_below(folder)

    def tell(here_bytes: int) -> None:
        # Scratch files come and go: a bar that runs back says nothing.
        nonlocal told_bytes
        if here_bytes > told_bytes:
            progress.advance(here_bytes - told_bytes)
            told_bytes = here_bytes

    with reported(tell, lambda: size_below(folder)):
        yield


__all__ = ["SILENT", "Progress", "Silent", "writing"]
