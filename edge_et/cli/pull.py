"""`edge-et pull NAME`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_et.cli import options as o
from edge_et.cli.failures import failures
from edge_et.cli.fetching import carry_out, fetch, summary
from edge_et.cli.output import print_json

if TYPE_CHECKING:
    from edge_et.registry import ModelRecord
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

    Prints where it lies: a line for an extractor or a reasoner, two for a pair. The vision tower
    that a checkpoint names and does not hold comes along.
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
                typer.echo(summary(plan), err=True)
        store.require_space(plans)
        records, towers = [], []
        for plan in plans:
            pulled = carry_out(store, plan, quiet=quiet)
            records.append(_record(plan, pulled))
            if (tower := _tower(plan, pulled)) is not None:
                towers.append(tower)
            if not as_json:
                typer.echo(str(pulled.path))
        for record in towers:
            plan = store.plan(record, update=update)
            records.append(_record(plan, fetch(store, plan, quiet=quiet)))
        if as_json:
            print_json({"pulled": records})
        if not quiet and any(store.state(plan.record) == "pulled" for plan in plans):
            typer.echo(f"a checkpoint, to be exported: edge-et export pair {name}", err=True)


def _tower(plan: Plan, pulled: Pulled) -> ModelRecord | None:
    """Known only once its configuration is here: the vision tower that a checkpoint lacks."""
    from edge_et.towers import remote_tower

    checkpoint = (plan.record.kind, plan.record.form) == ("extractor", "checkpoint")
    return remote_tower(pulled.path) if checkpoint else None


def _show(plans: list[Plan], *, as_json: bool) -> None:
    if as_json:
        print_json({"plan": [_record(plan, plan.pulled) for plan in plans]})
        return
    for plan in plans:
        typer.echo(summary(plan))
        for file in plan.listing.files:
            size = "size unknown" if file.size_bytes is None else f"{file.size_bytes:,}"
            typer.echo(f"{size:>15}  {file.path}")


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
