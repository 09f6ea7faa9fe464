"""Reasoner checkpoint folder -> one GGUF file with its manifest beside."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_et.errors import ArtifactError, ExportError
from edge_et.manifest import (
    FILE_NAME,
    ReasonerManifest,
    Source,
    check_files,
    describe_part,
    file_sha256,
    read_manifest,
    write_manifest,
)
from edge_et_export.architectures import architecture_named
from edge_et_export.checkpoint import (
    architecture_of,
    load_strictly,
    read_json,
    source_of,
    stop_ids_of,
    versions,
)
from edge_et_export.environment import quiet
from edge_et_export.full_disk import full_disk_named
from edge_et_export.progress import SILENT, Progress, writing
from edge_et_export.quantizer import PLAIN, TYPES, quantize
from edge_et_export.workplace import workplace

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from edge_et_export.gguf_writer import Card

log = logging.getLogger(__name__)

_DEFAULT_TYPE = "q4_k_m"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonerOptions:
    type: str | None = None
    """llama.cpp's name of the weights' format, one of `quantizer.TYPES`; default: q4_k_m, and for
    a GGUF file its own."""
    calibration: Path | None = None
    """A text like those that the reasoner will see; the quantizer then weighs its errors by it."""
    name: str | None = None
    """Of the source, for the manifest; default: the folder's, or what a GGUF file says."""
    revision: str | None = None
    """Of the source, as it was resolved; default: the sha256 over the weights."""
    license: str | None = None
    """Default: unknown, or what a GGUF file says."""
    allow_drift: bool = False
    force: bool = False
    check_room: bool = True
    """Refuse to begin where disk or memory would not do."""


def export_reasoner(
    checkpoint: Path, out: Path, options: ReasonerOptions, progress: Progress = SILENT
) -> ReasonerManifest:
    """Write the GGUF file `out` and `edge_et.json` beside it; return the manifest.

    What lies at `out` and is already what would be made is kept, unless forced. `checkpoint` is a
    folder with safetensors, or a GGUF file, which is checked and taken as it is. Raises
    ExportError (unknown architecture, tensors or tokenizer that do not fit, existing
    target), OutOfDisk and OutOfMemory (before it begins, or on the way), ParityError, and for a
    GGUF file MissingArtifact and LoadFailed; in each case nothing is left at `out`.
    """
    is_gguf = checkpoint.suffix == ".gguf" and not checkpoint.is_dir()
    if not is_gguf:
        _check_request(checkpoint, options)
    if not options.force and (kept := _already_there(checkpoint, out, options)) is not None:
        log.info("%s is already this export", out)
        return kept
    _check_target(out, force=options.force)
    with quiet(), workplace(out) as staged, full_disk_named(out.parent):
        if is_gguf:
            from edge_et_export.adoption import adopt

            progress.part("load", None)
            manifest = adopt(checkpoint, staged, out.name, options)
        else:
            manifest = _export(checkpoint, staged / out.name, options, progress)
        write_manifest(staged, manifest)
        # At every moment: the old pair, a whole file without a manifest, or the new pair.
        (out.parent / FILE_NAME).unlink(missing_ok=True)
        (staged / out.name).replace(out)
        (staged / FILE_NAME).replace(out.parent / FILE_NAME)
    return manifest


def _already_there(
    checkpoint: Path, out: Path, options: ReasonerOptions
) -> ReasonerManifest | None:
    """Return the manifest beside `out` if both are whole and of these weights, type, versions."""
    if not out.exists():
        return None
    try:
        found = read_manifest(out.parent, ReasonerManifest)
        check_files(out.parent, found, hashes=True)
    except ArtifactError:
        return None
    part = found.parts[0]
    if checkpoint.is_dir():
        same = (
            found.source == _source(checkpoint, options)
            and part.precision == (options.type or _DEFAULT_TYPE)
            and found.made_with == _made_with(options)
            and all(r.relative_error <= r.tolerance for r in found.parity)
        )
    else:
        same = (
            part.sha256 == file_sha256(checkpoint)
            and options.name in (None, found.source.name)
            and options.license in (None, found.source.license)
            and options.type in (None, part.precision)
            and options.calibration is None
        )
    return found if same and part.path == out.name else None


def _source(checkpoint: Path, options: ReasonerOptions) -> Source:
    return source_of(
        checkpoint,
        name=options.name,
        license_name=options.license or "unknown",
        revision=options.revision,
    )


def _made_with(options: ReasonerOptions) -> dict[str, str]:
    if options.calibration is None:
        return versions()
    return versions() | {"calibration": f"sha256:{file_sha256(options.calibration)}"}


def _check_request(checkpoint: Path, options: ReasonerOptions) -> None:
    if options.type not in (None, *TYPES):
        raise ExportError(f"type {options.type!r} is none of {', '.join(TYPES)}")
    if options.calibration is not None and options.type in PLAIN:
        raise ExportError(
            f"a calibration text has no use for {options.type}, which is not quantized"
        )
    architecture_named(architecture_of(checkpoint), checkpoint)


def _check_target(out: Path, *, force: bool) -> None:
    if out.suffix != ".gguf":
        raise ExportError(f"{out} should be named FILE.gguf")
    beside = out.parent / FILE_NAME
    if beside.exists() and read_json(beside).get("kind") != "reasoner":
        raise ExportError(
            f"{out.parent} holds another model's {FILE_NAME}",
            hint="a reasoner needs a folder of its own: choose another --out",
        )
    if not force and (out.exists() or beside.exists()):
        found = out if out.exists() else beside
        raise ExportError(f"{found} exists already", hint="choose another --out, or add --force")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    """A checkpoint in memory, with what becomes of it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    card: Card


def _export(
    checkpoint: Path, path: Path, options: ReasonerOptions, progress: Progress
) -> ReasonerManifest:
    import transformers

    from edge_et_export.gguf_writer import Card, lossless_kind, write_gguf
    from edge_et_export.importance import importance_of
    from edge_et_export.parity import gate
    from edge_et_export.reasoner_check import check
    from edge_et_export.room import reasoner_estimate, require_room

    kind = options.type or _DEFAULT_TYPE
    plain = kind if kind in PLAIN else lossless_kind(checkpoint)
    estimate = reasoner_estimate(checkpoint, kind, plain)
    if options.check_room:
        require_room(estimate, path)
    progress.part("load", None)
    row = architecture_named(architecture_of(checkpoint), checkpoint)
    source = _source(checkpoint, options)
    loaded = _Loaded(
        model=load_strictly(checkpoint, getattr(transformers, row.model_class)),
        tokenizer=transformers.AutoTokenizer.from_pretrained(checkpoint, local_files_only=True),
        card=Card(name=source.name, license=source.license, sampling=sampling_of(checkpoint)),
    )
    whole = path if plain == kind else path.with_name(f"{path.name}.whole")
    with writing(progress, "weights", path.parent, estimate.whole_bytes):
        write_gguf(loaded.model, row, checkpoint, whole, plain, loaded.card)
    if whole != path:
        importance = None
        if options.calibration is not None:
            progress.part("calibration", None)
            importance = importance_of(loaded.model, loaded.tokenizer, row, options.calibration)
        with writing(progress, "quantize", path.parent, estimate.quantized_bytes):
            quantize(whole, path, kind, importance)
        whole.unlink()
    bits = 8 * path.stat().st_size / loaded.model.num_parameters()
    log.info("%s: %.2f bits per weight, tokenizer included", kind, bits)
    progress.part("gate", None)
    parity = check(path, kind, loaded.model, loaded.tokenizer, stop_ids_of(checkpoint))
    gate([parity], allow_drift=options.allow_drift)
    return ReasonerManifest(
        family=row.gguf,
        source=source,
        parts=(describe_part(path.parent, path, role="reasoner", precision=kind),),
        context_tokens=loaded.model.config.max_position_embeddings,
        sampling=loaded.card.sampling,
        says_missing=says_missing_of(checkpoint),
        parity=(parity,),
        made_with=_made_with(options),
    )


def says_missing_of(folder: Path) -> bool:
    """Return whether generation_config.json says so (`ReasonerManifest.says_missing`)."""
    path = folder / "generation_config.json"
    return path.exists() and read_json(path).get("says_missing") is True


def sampling_of(folder: Path) -> dict[str, float]:
    """Return temperature, top_p and top_k of generation_config.json; empty when it is greedy."""
    path = folder / "generation_config.json"
    config = read_json(path) if path.exists() else {}
    if not config.get("do_sample"):
        return {}
    names = ("temperature", "top_p", "top_k")
    given = {name: float(config[name]) for name in names if config.get(name) is not None}
    return {"temperature": 1.0, **given}
