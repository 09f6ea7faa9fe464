"""How far a benchmark is, on stderr, where a person watches."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from edge_et_bench.runner import Progress


class Shown:
    """A bar on stderr; nothing where nobody watches."""

    def __init__(self, bar: Bar | None) -> None:
        self._bar = bar
        self._task = bar.add_task("start", total=None) if bar is not None else None

    def __call__(self, progress: Progress) -> None:
        job = progress.job
        where = f"{progress.number}/{progress.of} {job.configuration.label} · {job.workload.name}"
        self.show(f"{where}: {progress.doing}", progress.done, progress.todo)

    def show(self, text: str, done: int, of: int) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=text, completed=done, total=of)


def bar() -> AbstractContextManager[Bar | None]:
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console
    from rich.progress import Progress

    return Progress(console=Console(stderr=True), transient=True)
