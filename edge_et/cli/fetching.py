"""A plan of the store, carried out before a person's eyes: sizes first, then a bar."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from edge_et.downloads import Progress
    from edge_et.store import Plan, Pulled, Store


def fetch(store: Store, plan: Plan, *, quiet: bool = False) -> Pulled:
    """Say what comes, see that it has room, and bring it here."""
    if not quiet:
        typer.echo(summary(plan), err=True)
    return carry_out(store, plan, quiet=quiet)


def carry_out(store: Store, plan: Plan, *, quiet: bool) -> Pulled:
    with _bar(plan, quiet=quiet) as progress:
        return store.pull(plan, progress)


def summary(plan: Plan) -> str:
    record, revision = plan.record, plan.listing.revision
    at = f" at {revision[:19]}" if revision else ""
    count = len(plan.listing.files)
    what = f"{count} file{'s' if count != 1 else ''}, {_megabytes(plan.size_bytes)}"
    if plan.pulled is not None:
        state = "is here" if not count else f"{what}, all here"
    else:
        state = f"{what}, of which {_megabytes(plan.missing_bytes)} to fetch"
    return f"{record.kind} {record.name}: {state}, {record.source}{at}"


def _megabytes(size_bytes: int | None) -> str:
    return "unknown size" if size_bytes is None else f"{size_bytes / 1e6:,.1f} MB"


@contextlib.contextmanager
def _bar(plan: Plan, *, quiet: bool) -> Iterator[Progress | None]:
    """Yield what moves a bar on stderr, where a person watches; else None."""
    if quiet or plan.pulled is not None or not sys.stderr.isatty():
        yield None
        return
    from edge_et.cli.bars import byte_bars

    with byte_bars() as bars:
        task = bars.add_task(plan.record.name, total=plan.size_bytes)
        yield lambda here_bytes: bars.update(task, completed=here_bytes)
