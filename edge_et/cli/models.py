"""`edge-et models`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from edge_et.cli import options as o
from edge_et.cli.failures import failures
from edge_et.cli.output import print_json

if TYPE_CHECKING:
    from edge_et.registry import Kind, ModelRecord, PairRecord
    from edge_et.store import Store

_FURTHEST_FIRST = ("absent", "pulled", "ready")


def models(as_json: o.JSON = False, debug: o.DEBUG = False) -> None:
    """List the registry: ready to run, pulled (a checkpoint to export), or absent."""
    with failures(as_json=as_json, debug=debug):
        from edge_et.registry import registry
        from edge_et.store import Store

        store, known = Store(), registry()
        halves = [*known.extractors.values(), *known.reasoners.values()]
        rows = {(model.kind, model.name): _model(model, store) for model in halves}
        pairs = [_pair(pair, rows) for pair in known.pairs.values()]
        listed = [*pairs, *rows.values()]
        if as_json:
            print_json({"models": listed})
            return
        for row in listed:
            size = "" if row["size_bytes"] is None else f"{row['size_bytes'] / 1e6:,.1f} MB"
            typer.echo(
                f"{row['kind']:<10} {row['name']:<32} {row['state']:<7} {size:>11}  {row['source']}"
            )


def _model(record: ModelRecord, store: Store) -> dict[str, Any]:
    pulled = store.find(record)
    return {
        "kind": record.kind,
        "name": record.name,
        "state": store.state(record),
        "size_bytes": pulled.size_bytes if pulled else record.size_bytes,
        "source": record.source,
        "form": record.form,
        "revision": pulled.revision if pulled else None,
        "license": record.license,
        "summary": record.summary,
    }


def _pair(record: PairRecord, rows: dict[tuple[Kind, str], dict[str, Any]]) -> dict[str, Any]:
    halves = rows["extractor", record.extractor.name], rows["reasoner", record.reasoner.name]
    sizes = [half["size_bytes"] for half in halves]
    return {
        "kind": "pair",
        "name": record.name,
        "state": min((half["state"] for half in halves), key=_FURTHEST_FIRST.index),
        "size_bytes": None if None in sizes else sum(sizes),
        "source": f"{record.extractor.name} + {record.reasoner.name}",
        "extractor": record.extractor.name,
        "reasoner": record.reasoner.name,
        "summary": record.summary,
    }
