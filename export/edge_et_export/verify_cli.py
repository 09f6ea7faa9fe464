"""`edge-et verify DIR`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from edge_et.cli.failures import failures
from edge_et_export.parity import report_line

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="Artifact folder, with its edge_et.json.")],
    as_json: Annotated[bool, typer.Option("--json", help="One object on stdout.")] = False,
    allow_drift: Annotated[bool, typer.Option(help="Report drift, do not fail.")] = False,
) -> None:
    """Check an artifact's files against their hashes and its graphs against its checkpoint."""
    from edge_et_export.verification import verify as run

    with failures(as_json=as_json):
        found = run(folder, allow_drift=allow_drift)
        if as_json:
            typer.echo(json.dumps(asdict(found)))
            return
        typer.echo(f"{found.kind}: whole, files: {found.files}", err=True)
        when = "" if found.kind == "extractor" else " (at its export: no reference is kept)"
        for result in found.parity:
            typer.echo(report_line(result) + when, err=True)
        typer.echo(str(folder))
