"""`edge-et bench make-checkpoint` and `make-mmproj`: what a comparison at true scale runs on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def make_checkpoint(
    kind: Annotated[
        Literal["extractor", "llava", "reasoner"],
        typer.Argument(help="llava: the extractor in transformers' own format."),
    ],
    size: Annotated[Literal["0.6b", "1.7b", "4b"], typer.Argument(help="Of the Qwen3 inside.")],
    out: Annotated[Path, typer.Option(help="Checkpoint folder to write.")],
    seed: int = 0,
) -> None:
    """Write a checkpoint with random weights at a published model's true shape."""
    from edge_et_bench import random_checkpoints

    make = {
        "extractor": random_checkpoints.make_extractor,
        "llava": random_checkpoints.make_llava,
        "reasoner": random_checkpoints.make_reasoner,
    }[kind]
    typer.echo(str(make(out, size, seed=seed)))


def make_mmproj(
    checkpoint: Annotated[Path, typer.Argument(help="LLaVA checkpoint with a SigLIP tower.")],
    out: Annotated[Path, typer.Option(help="GGUF file to write.")],
    precision: Annotated[Literal["fp16", "q8_0"], typer.Option()] = "fp16",
) -> None:
    """Write tower and projector for llama.cpp, so that it sees with the same weights."""
    from edge_et_bench.mmproj import write_mmproj

    typer.echo(str(write_mmproj(checkpoint, out, precision)))
