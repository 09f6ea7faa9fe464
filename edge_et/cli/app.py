"""`edge-et`: the commands put together."""

from __future__ import annotations

from typing import Annotated

import typer

from edge_et import __version__
from edge_et.cli import ask, cache, doctor, extract, models, pull, think
from edge_et.cli.lazy import mount

app = typer.Typer(
    name="edge-et",
    help="Answer questions about images on this device, offline.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("ask")(ask.ask)
app.command("extract")(extract.extract)
app.command("think")(think.think)
app.command("pull")(pull.pull)
app.command("models")(models.models)
app.command("doctor")(doctor.doctor)
app.add_typer(cache.app, name="cache")
mount(
    app,
    "export",
    target="edge_et_export.cli:app",
    extra="export",
    summary="Turn a trained checkpoint into the files this runtime reads.",
)
mount(
    app,
    "verify",
    target="edge_et_export.verify_cli:app",
    extra="export",
    summary="Check a model's files against their hashes, and its graphs against its checkpoint.",
)
mount(
    app,
    "bench",
    target="edge_et_bench.cli:app",
    extra="bench",
    summary="Measure latency, memory and quality of pairs on this device.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edge-et {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    app()
