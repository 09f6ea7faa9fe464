"""Both halves of a pair of the registry: pulled checkpoints -> artifacts in the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_et.errors import ArtifactError
from edge_et.manifest import (
    FILE_NAME,
    ExtractorManifest,
    Manifest,
    ReasonerManifest,
    check_files,
    read_manifest,
)
from edge_et.registry import ModelRecord, registry
from edge_et.store import Store
from edge_et_export.checkpoint import source_of
from edge_et_export.extractor import ExtractorOptions, export_extractor
from edge_et_export.reasoner import ReasonerOptions, export_reasoner


@dataclass(frozen=True, slots=True, kw_only=True)
class Half:
    """One half of a pair, and what is to be done for it."""

    record: ModelRecord
    out: Path
    """Where `edge_et.load(pair)` looks for it."""
    export: Callable[[], Manifest] | None
    """Makes it; None when it lies there, right."""


def plan_pair(name: str, *, force: bool = False, store: Store | None = None) -> tuple[Half, Half]:
    """Say for each half of the pair what is to be exported.

    What was exported from the same weights and is whole stands, unless `force`. Raises
    UnknownModel, and MissingArtifact for a half that was not pulled.
    """
    store = store or Store()
    pair = registry().pair(name)
    pulled = [store.checkpoint(half, pair=name).path for half in (pair.extractor, pair.reasoner)]
    return (
        _plan(pair.extractor, pulled[0], store, force=force),
        _plan(pair.reasoner, pulled[1], store, force=force),
    )


def _plan(record: ModelRecord, pulled: Path, store: Store, *, force: bool) -> Half:
    if record.form == "artifact":
        return Half(record=record, out=pulled, export=None)
    out = store.artifact_path(record)
    if not force and _is_made(record, pulled, out):
        return Half(record=record, out=out, export=None)
    return Half(record=record, out=out, export=lambda: _export(record, pulled, out))


def _is_made(record: ModelRecord, checkpoint: Path, out: Path) -> bool:
    """Whether a whole export of these very weights lies at `out`."""
    folder = out if record.kind == "extractor" else out.parent
    if not (folder / FILE_NAME).is_file():
        return False
    try:
        manifest: Manifest
        if record.kind == "extractor":
            manifest = read_manifest(folder, ExtractorManifest)
        else:
            manifest = read_manifest(folder, ReasonerManifest)
        check_files(folder, manifest, hashes=True)
    except ArtifactError:
        return False
    weights = source_of(checkpoint, name=None, license_name=record.license)
    return manifest.source.revision == weights.revision


def _export(record: ModelRecord, checkpoint: Path, out: Path) -> Manifest:
    """`force`: what lies there is of other weights or broken, or is to be replaced."""
    name, license_name = record.name, record.license
    if record.kind == "extractor":
        extractor = ExtractorOptions(name=name, license=license_name, force=True)
        return export_extractor(checkpoint, out, extractor)
    reasoner = ReasonerOptions(name=name, license=license_name, force=True)
    return export_reasoner(checkpoint, out, reasoner)


__all__ = ["Half", "plan_pair"]
