"""`python -m edge_et_bench`: make the checkpoints that speed is measured on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


@app.callback()
def _root() -> None:
    """Keeps the command's name: more of them are to come."""


@app.command("make-checkpoint")
def make_checkpoint(
    half: Annotated[Literal["extractor", "reasoner"], typer.Argument()],
    size: Annotated[Literal["0.6b", "1.7b", "4b"], typer.Argument(help="Of the Qwen3 inside.")],
    out: Annotated[Path, typer.Option(help="Checkpoint folder to write.")],
    seed: int = 0,
) -> None:
    """Write a checkpoint with random weights at a published model's true shape."""
    from edge_et_bench import random_checkpoints

    make = {
        "extractor": random_checkpoints.make_extractor,
        "reasoner": random_checkpoints.make_reasoner,
    }[half]
    typer.echo(str(make(out, size, seed=seed)))


if __name__ == "__main__":
    app()
