"""The vision tower whose weights a checkpoint lacks: where it lies, and what it is."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from edge_et.errors import ExportError
from edge_et.store import Store
from edge_et.towers import local_tower, named_tower, remote_tower
from edge_et_export.checkpoint import source_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tower:
    folder: Path
    name: str
    revision: str | None = None
    """A commit; None for a folder of this machine."""

    def label(self) -> str:
        """How a manifest names it; reads the weights of one without a revision."""
        source = source_of(
            self.folder, name=self.name, license_name="unknown", revision=self.revision
        )
        return f"{source.name}@{source.revision}"


def tower_of(checkpoint: Path, store: Store | None = None) -> Tower | None:
    """Return the tower apart from the checkpoint, None where the checkpoint holds its own.

    One that is not here is pulled, as `edge-et pull` does. Raises ExportError, and what
    `Store.plan` and `Store.pull` raise.
    """
    name = named_tower(checkpoint)
    if name is None:
        return None
    folder = local_tower(checkpoint, name)
    if folder is not None:
        return Tower(folder=folder, name=name)
    record = remote_tower(checkpoint)
    if record is None:
        raise ExportError(
            f"{checkpoint} has no vision weights, and its tower {name!r} is neither a folder nor a "
            "repo of the Hub",
            hint="download that tower and set mm_vision_tower to its folder",
        )
    store = store or Store()
    pulled = store.find(record)
    if pulled is None:
        log.info("pulling the vision tower %s", name)
        pulled = store.pull(store.plan(record))
    return Tower(folder=pulled.folder, name=name, revision=pulled.revision)
