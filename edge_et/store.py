"""The store: what was pulled, and where it lies. With hub, web and wheels the only network code.

    <cache>/extractors|reasoners/NAME/pulled.json    written last: without it nothing was pulled
                                      files/…         what came from an index or an address
                                      artifact/       what `edge-et export pair` made of it
Files of the Hub stay in its own cache, which other programs share; pulled.json says where.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from edge_et import hub, web, wheels
from edge_et.downloads import Listing, Progress, RemoteFile, is_whole, require_space, size_below
from edge_et.errors import DownloadFailed, MissingArtifact, Unreachable
from edge_et.manifest import FILE_NAME
from edge_et.registry import ModelRecord
from edge_et.sources import (
    FolderSource,
    HubSource,
    LocalSource,
    PackageSource,
    RemoteSource,
    WheelSource,
)

State = Literal["ready", "pulled", "absent"]
"""`pulled`: a checkpoint that lies here and was not exported."""

_SCHEMA = 1
_ATTEMPTS = 3
_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """A model that lies here."""

    source: str
    revision: str
    """A commit of the Hub, a version, or a digest; empty for what was never fetched."""
    folder: Path
    files: tuple[RemoteFile, ...] = ()
    entry: str = ""

    @property
    def path(self) -> Path:
        """What to load: a folder, or a GGUF file."""
        return self.folder / self.entry

    @property
    def size_bytes(self) -> int:
        if self.files:
            return sum(file.size_bytes or 0 for file in self.files)
        return size_below(self.path) if self.path.is_dir() else self.path.stat().st_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What pulling a model would fetch."""

    record: ModelRecord
    listing: Listing
    missing_bytes: int | None
    """None where the source does not say before it is asked for the file."""
    pulled: Pulled | None = None
    """It lies here already, every byte of it right."""

    @property
    def size_bytes(self) -> int | None:
        known = self.listing.size_bytes
        return self.record.size_bytes if known is None else known


class Store:
    """`folder` is the user's cache unless it is given."""

    def __init__(self, folder: Path | None = None) -> None:
        if folder is None:
            import platformdirs

            folder = platformdirs.user_cache_path("edge-et", appauthor=False)
        self.folder = folder

    def find(self, record: ModelRecord, *, hashes: bool = False) -> Pulled | None:
        """Return the model if it lies here whole; `hashes` reads all of it. Asks no network."""
        origin = record.origin
        if isinstance(origin, LocalSource):
            path = _local_path(origin)
            return Pulled(source=record.source, revision="", folder=path) if path.exists() else None
        pulled = _read(self._home(record) / "pulled.json")
        if pulled is None or pulled.source != record.source:
            return None
        whole = all(is_whole(pulled.folder / f.path, f, hashes=hashes) for f in pulled.files)
        return pulled if whole else None

    def plan(self, record: ModelRecord, *, update: bool = False) -> Plan:
        """Say what is to be fetched; `update` asks the source even if the model lies here.

        Raises MissingArtifact (nothing there; or offline and not here), AccessDenied, Unreachable,
        DownloadFailed, MissingDependency.
        """
        origin = record.origin
        if isinstance(origin, LocalSource) or not update:
            pulled = self.find(record, hashes=True)
            if pulled is not None:
                listing = Listing(revision=pulled.revision, files=pulled.files, entry=pulled.entry)
                return Plan(record=record, listing=listing, missing_bytes=0, pulled=pulled)
        if isinstance(origin, LocalSource):
            raise MissingArtifact(
                f"the {record.kind} {record.name} does not lie at {_local_path(origin)}"
            )
        if isinstance(origin, HubSource):
            listing = hub.list_files(origin, record.form)
            sizes = [file.size_bytes or 0 for file in hub.missing(origin, listing)]
            return Plan(record=record, listing=listing, missing_bytes=sum(sizes))
        if isinstance(origin, WheelSource):
            listing = wheels.list_files(origin)
        else:
            listing = web.list_files(origin)
        size_bytes = listing.size_bytes
        missing_bytes = record.size_bytes if size_bytes is None else size_bytes
        return Plan(record=record, listing=listing, missing_bytes=missing_bytes)

    def require_space(self, plans: Iterable[Plan]) -> None:
        """Raise InsufficientDisk unless all of it has room, before any of it is fetched."""
        needs: dict[Path, int] = {}
        for plan in plans:
            if plan.pulled is None:
                at_hub = isinstance(plan.record.origin, HubSource)
                folder = hub.cache_folder() if at_hub else self.folder
                needs[folder] = needs.get(folder, 0) + (plan.missing_bytes or 0)
        require_space(needs)

    def pull(self, plan: Plan, progress: Progress | None = None) -> Pulled:
        """Fetch what the plan lacks, compare it with the published digests and remember it.

        What had come when a connection broke is gone on from, here and by the next call. Raises
        ChecksumMismatch, InsufficientDisk, AccessDenied, Unreachable, DownloadFailed.
        """
        if plan.pulled is not None:
            return plan.pulled
        self.require_space([plan])
        record, home = plan.record, self._home(plan.record)
        with _locked(home, record.name):
            pulled = self._fetch_patiently(plan, progress)
            _write(home / "pulled.json", pulled)
            _drop_other_revisions(home / "files", pulled.folder)
        return pulled

    def locate(self, record: ModelRecord, *, pair: str | None = None) -> Path:
        """Return what to load: a folder with a manifest, or a GGUF file.

        Raises MissingArtifact with the command that pulls or exports it.
        """
        if record.form == "checkpoint":
            return self._locate_export(record, pair)
        pulled = self.find(record)
        if pulled is None:
            raise _not_pulled(record, pair)
        return pulled.path

    def state(self, record: ModelRecord) -> State:
        """Say how far the model is from running, by what lies here."""
        with contextlib.suppress(MissingArtifact):
            self.locate(record)
            return "ready"
        return "absent" if self.find(record) is None else "pulled"

    def checkpoint(self, record: ModelRecord, *, pair: str | None = None) -> Pulled:
        """Return what to export. Raises MissingArtifact with the command that pulls it."""
        pulled = self.find(record)
        if pulled is None:
            raise _not_pulled(record, pair)
        return pulled

    def artifact_path(self, record: ModelRecord) -> Path:
        """Return where an export of the model goes: a folder, or the GGUF file in it."""
        folder = self._home(record) / "artifact"
        return folder if record.kind == "extractor" else folder / "reasoner.gguf"

    def _locate_export(self, record: ModelRecord, pair: str | None) -> Path:
        out = self.artifact_path(record)
        folder = out if record.kind == "extractor" else out.parent
        if (folder / FILE_NAME).is_file():
            return folder
        pulled = self.checkpoint(record, pair=pair)
        alone = f"edge-et export {record.kind} {pulled.folder} --out {out}"
        raise MissingArtifact(
            f"the {record.kind} {record.name} is a checkpoint that was pulled, not exported",
            hint=f"edge-et export pair {pair}" if pair else alone,
        )

    def _home(self, record: ModelRecord) -> Path:
        return self.folder / f"{record.kind}s" / record.name

    def _fetch_patiently(self, plan: Plan, progress: Progress | None) -> Pulled:
        """pip tries again itself."""
        attempts = 1 if isinstance(plan.record.origin, WheelSource) else _ATTEMPTS
        for _ in range(attempts - 1):
            with contextlib.suppress(Unreachable):
                return self._fetch(plan, progress)
            time.sleep(_PAUSE_S)
        return self._fetch(plan, progress)

    def _fetch(self, plan: Plan, progress: Progress | None) -> Pulled:
        origin, listing = plan.record.origin, plan.listing
        assert isinstance(origin, RemoteSource), "what lies here has a plan without a fetch"
        found = listing.files
        if isinstance(origin, HubSource):
            folder = hub.fetch(origin, listing, progress)
        else:
            name = re.sub(r"[^\w.-]+", "-", listing.revision)
            folder = self._home(plan.record) / "files" / name
            folder.mkdir(parents=True, exist_ok=True)
            if isinstance(origin, WheelSource):
                found = (wheels.fetch(origin, folder, progress),)
            else:
                web.fetch(origin, listing, folder, progress)
        found = tuple(_measured(folder, file) for file in found)
        return Pulled(
            source=plan.record.source,
            revision=listing.revision,
            folder=folder,
            files=found,
            entry=listing.entry,
        )


def _local_path(origin: PackageSource | FolderSource) -> Path:
    if isinstance(origin, PackageSource):
        return Path(str(files("edge_et"))) / origin.path
    return Path(origin.path).expanduser()


def _not_pulled(record: ModelRecord, pair: str | None) -> MissingArtifact:
    return MissingArtifact(
        f"the {record.kind} {record.name} was not pulled, or not all of it is there any more",
        hint=f"edge-et pull {pair or record.name}",
    )


def _measured(folder: Path, file: RemoteFile) -> RemoteFile:
    size_bytes = (folder / file.path).stat().st_size
    return RemoteFile(path=file.path, size_bytes=size_bytes, digest=file.digest)


@contextlib.contextmanager
def _locked(home: Path, name: str) -> Iterator[None]:
    """One process at a time; a lock of the system's, so a killed one holds it no longer."""
    from filelock import FileLock, Timeout

    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as exc:
        raise DownloadFailed(
            f"another process is pulling {name}", hint="run it again when that one is done"
        ) from exc
    try:
        yield
    finally:
        lock.release()


def _write(path: Path, pulled: Pulled) -> None:
    record = {"schema": _SCHEMA, **asdict(pulled), "folder": str(pulled.folder)}
    beside = path.with_suffix(".json.part")
    beside.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    beside.replace(path)


def _read(path: Path) -> Pulled | None:
    """Return what was remembered; what cannot be read counts as not pulled."""
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if record.pop("schema") != _SCHEMA:
            return None
        record["folder"] = Path(record["folder"])
        record["files"] = tuple(RemoteFile(**file) for file in record["files"])
        return Pulled(**record)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _drop_other_revisions(folder: Path, kept: Path) -> None:
    for other in folder.glob("*"):
        if other != kept:
            shutil.rmtree(other, ignore_errors=True)


__all__ = ["Plan", "Pulled", "State", "Store"]
