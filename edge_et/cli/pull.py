"""`edge-et pull NAME`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_et.cli import options as o
from edge_et.cli.failures import failures
from edge_et.cli.output import print_json

if TYPE_CHECKING:
    from edge_et.downloads import Progress
    from edge_et.store import Plan, Pulled


def pull(
    name: Annotated[str, typer.Argument(help="A pair, an extractor or a reasoner.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show files and bytes, fetch nothing.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Ask the source for a newer revision.")
    ] = False,
    as_json: o.JSON = False,
    quiet: o.QUIET = False,
    debug: o.DEBUG = False,
) -> None:
    """Fetch NAME of the registry; what is here and right is not fetched again.

    Prints where it lies: a line for an extractor or a reasoner, two for a pair.
    """
    with failures(as_json=as_json, debug=debug):
        from edge_et.registry import registry
        from edge_et.store import Store

        store = Store()
        plans = [store.plan(record, update=update) for record in registry().models(name)]
        if dry_run:
            _show(plans, as_json=as_json)
            return
        quiet = quiet or as_json
        if not quiet:
            for plan in plans:
                typer.echo(_summary(plan), err=True)
        store.require_space(plans)
        records = []
        for plan in plans:
            with _bar(plan, quiet=quiet) as progress:
                pulled = store.pull(plan, progress)
            records.append(_record(plan, pulled))
            if not as_json:
                typer.echo(str(pulled.path))
        if as_json:
            print_json({"pulled": records})
        if not quiet and any(store.state(plan.record) == "pulled" for plan in plans):
            typer.echo(f"a checkpoint, to be exported: edge-et export pair {name}", err=True)


def _show(plans: list[Plan], *, as_json: bool) -> None:
    if as_json:
        print_json({"plan": [_record(plan, plan.pulled) for plan in plans]})
        return
    for plan in plans:
        typer.echo(_summary(plan))
        for file in plan.listing.files:
            size = "size unknown" if file.size_bytes is None else f"{file.size_bytes:,}"
            typer.echo(f"{size:>15}  {file.path}")


def _summary(plan: Plan) -> str:
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


def _record(plan: Plan, pulled: Pulled | None) -> dict[str, Any]:
    record = plan.record
    return {
        "name": record.name,
        "kind": record.kind,
        "form": record.form,
        "source": record.source,
        "revision": plan.listing.revision,
        "size_bytes": plan.size_bytes,
        "missing_bytes": 0 if pulled else plan.missing_bytes,
        "files": [
            {"path": file.path, "size_bytes": file.size_bytes, "digest": file.digest}
            for file in (pulled.files if pulled else plan.listing.files)
        ],
        "path": str(pulled.path) if pulled else None,
    }


@contextlib.contextmanager
def _bar(plan: Plan, *, quiet: bool) -> Iterator[Progress | None]:
    """Yield what moves a bar on stderr, where a person watches; else None."""
    if quiet or plan.pulled is not None or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(plan.record.name, total=plan.size_bytes)
        yield lambda here_bytes: bars.update(task, completed=here_bytes)
