"""What is exported: a path of this machine, or a source that is pulled into the store first."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_et.errors import ExportError
from edge_et.registry import Kind, ModelRecord, unlisted
from edge_et.sources import HubSource, Source, UrlSource, WheelSource
from edge_et.store import Plan, Pulled, Store
from edge_et.towers import remote_tower

Fetch = Callable[[Store, Plan], Pulled]
"""Carries a plan out; the command line shows a bar meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A checkpoint folder or GGUF file that lies here, and what is known of where it came from."""

    path: Path
    name: str | None = None
    revision: str | None = None
    """A commit, a version or a digest; None for a path of this machine."""
    license: str | None = None


def bring(text: str, kind: Kind, store: Store, fetch: Fetch) -> Origin:
    """Return the checkpoint that `text` names, here, and the vision tower that it lacks with it.

    A path that exists goes first. Raises ArtifactError for what is no source, ExportError for one
    that cannot hold a checkpoint, and what `Store.plan` and `Store.pull` raise.
    """
    if Path(text).exists() or not re.match(r"(hf|pypi|https?):", text):
        origin = Origin(path=Path(text))
    else:
        record = unlisted(text, kind)
        _refuse(record)
        pulled = fetch(store, store.plan(record))
        known = record.license if record.license != "unknown" else None
        origin = Origin(
            path=pulled.path, name=_name(record), revision=pulled.revision, license=known
        )
    if kind == "extractor" and (tower := remote_tower(origin.path)) is not None:
        fetch(store, store.plan(tower))
    return origin


def _refuse(record: ModelRecord) -> None:
    """Before anything is fetched: a single file is no checkpoint folder, but may be a GGUF."""
    inside = _file_of(record.origin)
    if inside is None:
        return
    if record.kind == "extractor":
        raise ExportError(
            f"{record.source} names one file; the checkpoint of an extractor is a folder",
            hint="give a folder, or hf:OWNER/NAME[@REVISION]",
        )
    if not inside.endswith(".gguf"):
        raise ExportError(
            f"{record.source} names one file that is no GGUF; a checkpoint is a folder",
            hint="give a folder, hf:OWNER/NAME[@REVISION], or a file .gguf",
        )


def _file_of(source: Source) -> str | None:
    if isinstance(source, HubSource | WheelSource):
        return source.inside
    return source.file_name if isinstance(source, UrlSource) else None


def _name(record: ModelRecord) -> str:
    source = record.origin
    if isinstance(source, HubSource):
        return source.repo
    if isinstance(source, WheelSource):
        return source.package
    return record.source.partition("#")[0]
