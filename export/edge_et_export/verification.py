"""`edge-et verify`: an artifact's files against their hashes, its graphs against its reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_et.errors import MissingArtifact
from edge_et.manifest import (
    FILE_NAME,
    ExtractorManifest,
    Parity,
    ReasonerManifest,
    check_files,
    kind_of,
    read_manifest,
)
from edge_et_export.environment import quiet


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What was found whole, and how near to its checkpoint."""

    kind: str
    files: int
    parity: tuple[Parity, ...]
    """Measured now; of a reasoner, which keeps no reference, what its export measured."""


def verify(folder: Path, *, allow_drift: bool = False) -> Verified:
    """Hash every file and compare every graph again, without the checkpoint and without torch.

    Raises MissingArtifact, BadManifest, ChecksumMismatch, LoadFailed, ParityError.
    """
    if kind_of(folder) == "reasoner":
        return _verify_reasoner(folder)
    from edge_et_export.gate import compare_extractor
    from edge_et_export.parity import gate
    from edge_et_export.reference import Reference

    manifest = read_manifest(folder, ExtractorManifest)
    check_files(folder, manifest, hashes=True)
    found = [part for part in manifest.parts if part.role == "reference"]
    if not found:
        raise MissingArtifact(
            f"{folder / FILE_NAME} lists no reference to compare with",
            hint="it is older than this command: export the extractor again",
        )
    with quiet():
        parity = compare_extractor(folder, manifest, Reference.load(folder / found[0].path))
    gate(parity, allow_drift=allow_drift)
    return Verified(kind="extractor", files=len(manifest.parts), parity=parity)


def _verify_reasoner(folder: Path) -> Verified:
    from edge_et.config import RuntimeConfig
    from edge_et.reasoner import Reasoner

    manifest = read_manifest(folder, ReasonerManifest)
    Reasoner.load(folder, RuntimeConfig(device="cpu", verify_hashes=True)).close()
    return Verified(kind="reasoner", files=len(manifest.parts), parity=manifest.parity)
