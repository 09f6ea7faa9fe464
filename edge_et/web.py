"""One file from an address whose sha256 is known. Nothing else of the runtime imports requests.

A loop of our own because the libraries for this (pooch) start over after a broken connection.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge_et.downloads import (
    Listing,
    Progress,
    RemoteFile,
    full_disk_named,
    is_whole,
    reported,
    sha256_digest,
)
from edge_et.errors import (
    AccessDenied,
    ChecksumMismatch,
    DownloadFailed,
    MissingDependency,
    Unreachable,
)
from edge_et.sources import UrlSource

_TIMEOUT_S = (10, 60)
_CHUNK_BYTES = 1024 * 1024
# A packed body would make the byte counts and the ranges mean something else.
_HEADERS = {"Accept-Encoding": "identity"}


def list_files(source: UrlSource) -> Listing:
    """Ask for the size."""
    requests = _requests()
    with _translated(source):
        answer = requests.head(
            source.url, headers=_HEADERS, allow_redirects=True, timeout=_TIMEOUT_S
        )
    # Not every server answers HEAD; what is wrong shows when the file is asked for.
    length = answer.headers.get("Content-Length") if answer.ok else None
    digest = sha256_digest(source.sha256)
    size_bytes = int(length) if length and length.isdecimal() else None
    file = RemoteFile(path=source.file_name, size_bytes=size_bytes, digest=digest)
    return Listing(revision=digest, files=(file,), entry=file.path)


def fetch(
    source: UrlSource, listing: Listing, folder: Path, progress: Progress | None = None
) -> None:
    """Write the file to `folder`, going on from what an earlier call left there.

    Raises ChecksumMismatch, AccessDenied, DownloadFailed, Unreachable, InsufficientDisk.
    """
    (file,) = listing.files
    target = folder / file.path
    part = folder / f"{file.path}.part"
    if is_whole(target, file):
        return
    with (
        _translated(source),
        full_disk_named(folder),
        reported(progress, lambda: part.stat().st_size if part.exists() else 0),
    ):
        _append(source, part)
    if not is_whole(part, file):
        part.unlink()
        raise ChecksumMismatch(
            f"{source.url} is not the file with {file.digest}; it was deleted",
            hint="run it again; if it fails again, the file there has changed",
        )
    part.replace(target)


def _append(source: UrlSource, part: Path) -> None:
    have_bytes = part.stat().st_size if part.exists() else 0
    headers = _HEADERS | ({"Range": f"bytes={have_bytes}-"} if have_bytes else {})
    with _requests().get(source.url, headers=headers, stream=True, timeout=_TIMEOUT_S) as answer:
        if answer.status_code == 416:  # nothing lies past what is here
            return
        _check(source, answer)
        with part.open("ab" if answer.status_code == 206 else "wb") as file:
            for chunk in answer.iter_content(_CHUNK_BYTES):
                file.write(chunk)
                file.flush()


def _check(source: UrlSource, answer: Any) -> None:
    if answer.status_code in (401, 403):
        raise AccessDenied(f"{source.url} is refused ({answer.status_code})")
    if not answer.ok:
        raise DownloadFailed(f"{source.url} answers {answer.status_code}")


def _requests() -> Any:
    try:
        import requests
    except ModuleNotFoundError as exc:
        raise MissingDependency(
            f"fetching over https needs {exc.name}, which is not installed",
            hint="pip install requests",
        ) from exc
    return requests


@contextlib.contextmanager
def _translated(source: UrlSource) -> Iterator[None]:
    requests = _requests()
    try:
        yield
    except requests.RequestException as exc:
        raise Unreachable(
            f"{source.url} cannot be fetched: {exc}",
            hint="run it again: it goes on from where it stopped",
        ) from exc


__all__ = ["fetch", "list_files"]
