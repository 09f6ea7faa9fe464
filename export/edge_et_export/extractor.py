"""Extractor checkpoint folder -> artifact folder, gate included."""

from __future__ import annotations

import logging
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_et.budget import default_max_tiles
from edge_et.embeddings import int8_rows
from edge_et.errors import ArtifactError
from edge_et.manifest import (
    FILE_NAME,
    ExtractorManifest,
    Part,
    PartRole,
    Source,
    check_files,
    describe_part,
    read_manifest,
    write_manifest,
)
from edge_et_export.checkpoint import (
    architecture_of,
    source_of,
    stop_ids_of,
    versions,
    write_tokenizer,
)
from edge_et_export.environment import quiet, release_memory
from edge_et_export.precisions import Precisions
from edge_et_export.progress import SILENT, Progress, writing
from edge_et_export.staging import staged_folder
from edge_et_export.tower import Tower, tower_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedModel

    from edge_et_export.families import ExtractorCheckpoint
    from edge_et_export.reference import Reference
    from edge_et_export.room import Estimate

log = logging.getLogger(__name__)

_COPIED = (
    "config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json",
    "chat_template.jinja", "chat_template.json",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractorOptions:
    precisions: Precisions = field(default_factory=Precisions)
    block_size: int | None = None
    """Weights that share a scale in int8 and q4 decoders; default: the largest that fits."""
    name: str | None = None
    """Of the source, for the manifest; default: the folder's."""
    revision: str | None = None
    """Of the source, as it was resolved; default: the sha256 over the weight files."""
    license: str = "unknown"
    allow_drift: bool = False
    force: bool = False
    check_room: bool = True
    """Refuse to begin where disk or memory would not do."""


def export_extractor(
    checkpoint: Path, out: Path, options: ExtractorOptions, progress: Progress = SILENT
) -> ExtractorManifest:
    """Write the artifact of `checkpoint` to the folder `out` and return its manifest.

    An artifact at `out` that is already what would be made is kept, unless forced. Raises
    ExportError (unknown architecture or setting, tensors that do not fit, another target exists),
    OutOfDisk and OutOfMemory (before it begins, or on the way) and ParityError; in each case
    nothing is left at `out`.
    """
    architecture_of(checkpoint)
    if not options.force and (kept := _already_there(checkpoint, out, options)) is not None:
        log.info("%s is already this export", out)
        return kept
    with quiet(), staged_folder(out, force=options.force) as staged:
        manifest = _export(checkpoint, staged, options, progress)
        write_manifest(staged, manifest)
    return manifest


def _already_there(
    checkpoint: Path, out: Path, options: ExtractorOptions
) -> ExtractorManifest | None:
    """Return the manifest at `out` if it is whole and of these weights, precisions, versions."""
    if not (out / FILE_NAME).is_file():
        return None
    try:
        found = read_manifest(out, ExtractorManifest)
        check_files(out, found, hashes=True)
    except ArtifactError:
        return None
    wanted = options.precisions
    same = (
        found.source == _source(checkpoint, options)
        and found.precisions("vision_encoder") == wanted.vision
        and found.precisions("decoder") == wanted.decoder
        and found.precisions("embed_tokens") == (wanted.embeddings,)
        and options.block_size in (None, found.block_size)
        and found.made_with == versions() | _made_of(tower_of(checkpoint))
        and all(r.relative_error <= r.tolerance for r in found.parity)
    )
    return found if same else None


def _export(
    checkpoint: Path, staged: Path, options: ExtractorOptions, progress: Progress
) -> ExtractorManifest:
    from edge_et_export.decoder import export_decoder
    from edge_et_export.gate import compare_extractor
    from edge_et_export.parity import gate
    from edge_et_export.room import extractor_estimate, require_room
    from edge_et_export.vision import export_vision

    wanted = options.precisions
    estimate = extractor_estimate(checkpoint, wanted)
    if options.check_room:
        require_room(estimate, staged)
    onnx = staged / "onnx"
    onnx.mkdir()
    with tempfile.TemporaryDirectory(prefix=".decoder-", dir=staged) as scratch:
        read, vision = _read(checkpoint, staged, Path(scratch), options, progress, estimate)
        release_memory()
        with writing(progress, "vision", staged, estimate.vision_bytes):
            made = export_vision(vision, onnx, wanted.vision)
            parts = [*read.manifest.parts, *_graphs(staged, "vision_encoder", made)]
        del vision
        release_memory()
        with writing(progress, "decoder", staged, estimate.decoder_bytes):
            made = export_decoder(
                read.decoder_source,
                onnx,
                wanted.decoder,
                block=read.block_size,
                spec=read.manifest.decoder,
                prompt=read.prompt,
            )
            parts += _graphs(staged, "decoder", made)
    manifest = replace(read.manifest, parts=tuple(parts))
    progress.part("gate", None)
    parity = compare_extractor(staged, manifest, read.reference)
    gate(parity, allow_drift=options.allow_drift)
    return replace(manifest, parity=parity)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """What is still needed once the checkpoint was read: the language model lies on disk."""

    manifest: ExtractorManifest
    reference: Reference
    prompt: NDArray[np.float32]
    """The reference's, in exact embeddings."""
    decoder_source: Path
    block_size: int


def _read(
    checkpoint: Path,
    staged: Path,
    scratch: Path,
    options: ExtractorOptions,
    progress: Progress,
    estimate: Estimate,
) -> tuple[_Read, PreTrainedModel]:
    """Open the checkpoint, write all of the artifact but its graphs, and let go of the decoder.

    The vision tower is returned beside, to be let go of in its turn.
    """
    from edge_et.tokenization import PromptTokenizer
    from edge_et_export.decoder import block_size, stage_decoder
    from edge_et_export.families import open_extractor
    from edge_et_export.reference import reference_of

    progress.part("load", None)
    opened = open_extractor(checkpoint)
    parts = _text_files(checkpoint, staged)
    progress.part("reference", None)
    tokenizer = PromptTokenizer(staged / "tokenizer.json", opened.template)
    reference = reference_of(opened.vision, opened.causal, tokenizer, opened.image, opened.newline)
    parts.append(describe_part(staged, reference.save(staged), role="reference", precision="fp32"))
    with writing(progress, "embeddings", staged, estimate.table_bytes):
        parts += _tables(opened, staged, options.precisions.embeddings)
    block = options.block_size or block_size(opened.causal)
    manifest = _manifest(opened, checkpoint, options)
    with writing(progress, "weights", staged, estimate.whole_bytes):
        decoder_source = stage_decoder(opened.causal, scratch)
    read = _Read(
        manifest=replace(manifest, parts=tuple(parts), block_size=block),
        reference=reference,
        prompt=reference.prompt(tokenizer, opened.image, opened.newline),
        decoder_source=decoder_source,
        block_size=block,
    )
    return read, opened.vision


def _manifest(
    opened: ExtractorCheckpoint, checkpoint: Path, options: ExtractorOptions
) -> ExtractorManifest:
    """Return what the checkpoint alone tells of the manifest."""
    from edge_et_export.decoder import decoder_spec

    return ExtractorManifest(
        family=opened.family,
        source=_source(checkpoint, options),
        parts=(),
        image=replace(opened.image, default_max_tiles=default_max_tiles(opened.image)),
        decoder=decoder_spec(opened.causal),
        template=opened.template,
        image_token_id=opened.image_token_id,
        stop_token_ids=stop_ids_of(checkpoint),
        made_with=versions() | _made_of(opened.tower),
    )


def _source(checkpoint: Path, options: ExtractorOptions) -> Source:
    return source_of(
        checkpoint,
        name=options.name,
        license_name=options.license,
        revision=options.revision,
    )


def _made_of(tower: Tower | None) -> dict[str, str]:
    return {"vision_tower": tower.label()} if tower is not None else {}


def _text_files(checkpoint: Path, staged: Path) -> list[Part]:
    """Copy what is text, and have a tokenizer.json made where the checkpoint has none."""
    parts = []
    for name in _COPIED:
        if (checkpoint / name).exists():
            shutil.copyfile(checkpoint / name, staged / name)
            parts.append(describe_part(staged, staged / name, role="config", precision="none"))
    for path in write_tokenizer(checkpoint, staged):
        parts.append(describe_part(staged, path, role="tokenizer", precision="none"))
    return parts


def _tables(opened: ExtractorCheckpoint, staged: Path, precision: str) -> list[Part]:
    weights = opened.causal.get_input_embeddings().weight.detach().numpy()
    path = staged / f"embed_tokens_{precision}.npy"
    np.save(path, table_in(weights, precision))
    parts = [describe_part(staged, path, role="embed_tokens", precision=precision)]
    if opened.newline is not None:
        path = staged / "image_newline.npy"
        np.save(path, opened.newline)
        parts.append(describe_part(staged, path, role="image_newline", precision="fp32"))
    return parts


def table_in(weights: NDArray[np.float32], precision: str) -> NDArray[Any]:
    """Return the embedding table [V, H] in fp32, fp16, or int8 with one scale a row."""
    if precision != "int8":
        return weights.astype({"fp32": np.float32, "fp16": np.float16}[precision])
    table = np.empty(len(weights), int8_rows(weights.shape[1]))
    table["scale"] = np.abs(weights).max(axis=1) / 127
    # rounded to the scale that is stored; a row of zeros has none
    scale = np.maximum(table["scale"].astype(np.float32), np.finfo(np.float16).tiny)
    table["values"] = np.rint(weights / scale[:, None]).clip(-127, 127)
    return table


def _graphs(staged: Path, role: PartRole, made: dict[str, list[Path]]) -> list[Part]:
    return [
        describe_part(staged, path, role=role, precision=precision)
        for precision, paths in made.items()
        for path in paths
    ]
