"""`edge-et export`: checkpoints to artifacts."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from edge_et.errors import EdgeETError
from edge_et.manifest import Manifest
from edge_et_export.parity import report_line

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

Checkpoint = Annotated[Path, typer.Argument(help="Checkpoint folder with safetensors.")]
Name = Annotated[str | None, typer.Option(help="Name of the source, for the manifest.")]
License = Annotated[str, typer.Option(help="Licence of the weights, for the manifest.")]
Drift = Annotated[bool, typer.Option(help="Record a part over its tolerance, do not fail.")]
Force = Annotated[bool, typer.Option(help="Replace an existing target, once the new one is whole.")]


@app.command()
def extractor(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Option(help="Artifact folder to write.")],
    preset: Annotated[
        Literal["cpu", "cuda", "reference"], typer.Option(help="Precisions that suit a device.")
    ] = "cpu",
    vision: Annotated[
        str | None, typer.Option(help="fp32, fp16, int8; several with commas, preferred first.")
    ] = None,
    decoder: Annotated[
        str | None, typer.Option(help="fp32, fp16, int8, q4, q4f16; several with commas.")
    ] = None,
    embeddings: Annotated[str | None, typer.Option(help="fp32, fp16 or int8.")] = None,
    block_size: Annotated[
        int | None, typer.Option(help="Weights that share a scale in int8 and q4: 32, 64, 128.")
    ] = None,
    name: Name = None,
    license: License = "unknown",
    allow_drift: Drift = False,
    force: Force = False,
) -> None:
    """Export an extractor to ONNX and compare it with its checkpoint."""
    from edge_et_export.extractor import ExtractorOptions, export_extractor
    from edge_et_export.precisions import PRESETS, Precisions, listed

    def export() -> Manifest:
        given = PRESETS[preset]
        precisions = Precisions(
            vision=listed(vision) if vision is not None else given.vision,
            decoder=listed(decoder) if decoder is not None else given.decoder,
            embeddings=embeddings or given.embeddings,
        )
        options = ExtractorOptions(
            precisions=precisions,
            block_size=block_size,
            name=name,
            license=license,
            allow_drift=allow_drift,
            force=force,
        )
        return export_extractor(checkpoint, out, options)

    _run(export, out)


@app.command()
def reasoner(
    checkpoint: Annotated[
        Path, typer.Argument(help="Checkpoint folder with safetensors, or a GGUF file.")
    ],
    out: Annotated[Path, typer.Option(help="GGUF file to write.")],
    type: Annotated[
        str | None,
        typer.Option(help="f16, bf16, q8_0, q5_k_m, q4_k_m (default) or q4_0."),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Text by which the quantizer weighs its errors (importance matrix)."),
    ] = None,
    name: Name = None,
    license: Annotated[
        str | None, typer.Option(help="Licence of the weights, for the manifest.")
    ] = None,
    allow_drift: Drift = False,
    force: Force = False,
) -> None:
    """Export a Qwen3, Qwen2, Llama, SmolLM3 or Gemma 3 reasoner to GGUF and compare it with its
    checkpoint; or check a GGUF file and take it as it is."""
    from edge_et_export.reasoner import ReasonerOptions, export_reasoner

    options = ReasonerOptions(
        type=type,
        calibration=calibration,
        name=name,
        license=license,
        allow_drift=allow_drift,
        force=force,
    )
    _run(lambda: export_reasoner(checkpoint, out, options), out)


@app.command()
def pair(
    name: Annotated[str, typer.Argument(help="A pair of the registry, pulled before.")],
    force: Annotated[bool, typer.Option(help="Export again what is right already.")] = False,
) -> None:
    """Export both halves of a pulled pair to where `--pair NAME` finds them."""
    from edge_et_export.pair import plan_pair

    for half in plan_pair(name, force=force):
        if half.export is not None:
            _run(half.export, half.out)
        else:
            typer.echo(f"{half.record.kind} {half.record.name} is right already", err=True)
            typer.echo(str(half.out))


def _run(export: Callable[[], Manifest], out: Path) -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    logging.getLogger("edge_et_export").setLevel(logging.INFO)
    try:
        manifest = export()
    except EdgeETError as error:
        typer.echo(f"error[{error.code}]: {error}", err=True)
        raise typer.Exit(error.exit_code) from error
    for part in manifest.parts:
        typer.echo(f"{part.size_bytes:>13,}  {part.precision:<7} {part.path}", err=True)
    for result in manifest.parity:
        typer.echo(report_line(result), err=True)
    typer.echo(str(out))
