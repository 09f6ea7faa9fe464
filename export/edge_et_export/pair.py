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
from edge_et.store import Pulled, Store
from edge_et_export.checkpoint import source_of
from edge_et_export.extractor import ExtractorOptions, export_extractor
from edge_et_export.progress import Progress
from edge_et_export.reasoner import ReasonerOptions, export_reasoner


@dataclass(frozen=True, slots=True, kw_only=True)
class Half:
    """One half of a pair, and what is to be done for it."""

    record: ModelRecord
    out: Path
    """Where `edge_et.load(pair)` looks for it."""
    export: Callable[[Progress], Manifest] | None
    """Makes it; None when it lies there, right."""


def plan_pair(
    name: str, *, force: bool = False, check_room: bool = True, store: Store | None = None
) -> tuple[Half, Half]:
    """Say for each half of the pair what is to be exported.

    What was exported from the same weights and is whole stands, unless `force`. Raises
    UnknownModel, and MissingArtifact for a half that was not pulled.
    """
    store = store or Store()
    pair = registry().pair(name)
    pulled = [store.checkpoint(half, pair=name) for half in (pair.extractor, pair.reasoner)]
    extractor, reasoner = (
        _plan(record, here, store.artifact_path(record), force=force, check_room=check_room)
        for record, here in zip((pair.extractor, pair.reasoner), pulled, strict=True)
    )
    return extractor, reasoner


def _plan(record: ModelRecord, pulled: Pulled, out: Path, *, force: bool, check_room: bool) -> Half:
    if record.form == "artifact":
        return Half(record=record, out=pulled.path, export=None)
    if not force and _is_made(record, pulled, out):
        return Half(record=record, out=out, export=None)
    name, revision, license_name = record.name, pulled.revision or None, record.license

    # `force`: what lies there is of other weights or broken, or is to be replaced.
    def export(progress: Progress) -> Manifest:
        if record.kind == "extractor":
            extractor = ExtractorOptions(
                name=name, revision=revision, license=license_name, force=True,
                check_room=check_room,
            )  # fmt: skip
            return export_extractor(pulled.path, out, extractor, progress)
        reasoner = ReasonerOptions(
            name=name, revision=revision, license=license_name, force=True, check_room=check_room
        )
        return export_reasoner(pulled.path, out, reasoner, progress)

    return Half(record=record, out=out, export=export)


def _is_made(record: ModelRecord, pulled: Pulled, out: Path) -> bool:
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
    source = source_of(
        pulled.path, name=None, license_name=record.license, revision=pulled.revision
    )
    return manifest.source.revision == source.revision


__all__ = ["Half", "plan_pair"]
