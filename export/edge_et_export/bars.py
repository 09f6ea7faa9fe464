"""An export's progress on stderr: a bar where a person watches, else a line for each part."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from edge_et_export.progress import Progress

if TYPE_CHECKING:
    import rich.progress


@contextlib.contextmanager
def shown() -> Iterator[Progress]:
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from edge_et.cli.bars import byte_bars

    bars = byte_bars()
    try:
        yield _Bars(bars)
    finally:
        bars.stop()


class _Lines:
    def part(self, name: str, total_bytes: int | None) -> None:
        size = "" if total_bytes is None else f", writes about {total_bytes / 1e6:,.1f} MB"
        typer.echo(f"part: {name}{size}", err=True)

    def advance(self, more_bytes: int) -> None:
        pass


class _Bars:
    """One bar a part; those that are done stay full."""

    def __init__(self, bars: rich.progress.Progress) -> None:
        self._bars = bars
        self._task: rich.progress.TaskID | None = None

    def part(self, name: str, total_bytes: int | None) -> None:
        self._bars.start()  # not before: what is pulled first has a bar of its own
        if self._task is not None:
            # The total was an estimate from above, or there was none.
            done = self._bars.tasks[-1].completed or 1
            self._bars.update(self._task, total=done, completed=done)
        self._task = self._bars.add_task(name, total=total_bytes)

    def advance(self, more_bytes: int) -> None:
        if self._task is not None:
            self._bars.advance(self._task, more_bytes)
