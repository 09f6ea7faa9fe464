"""The Hub, through huggingface_hub, and nothing else of the runtime imports it.

Its cache, its resuming and its variables (HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE) are its
own. It does not compare what came over HTTP with the digests that the Hub publishes: that is done
here, for every file.
"""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import os
import warnings
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from edge_et.downloads import (
    Listing,
    Progress,
    RemoteFile,
    full_disk_named,
    git_digest,
    is_whole,
    reported,
    sha256_digest,
)
from edge_et.errors import (
    AccessDenied,
    ChecksumMismatch,
    DownloadFailed,
    EdgeETError,
    MissingArtifact,
    MissingDependency,
    Unreachable,
)
from edge_et.manifest import FILE_NAME
from edge_et.registry import Form
from edge_et.sources import PICKLES, HubSource

_CHECKPOINT = ("*.json", "*.jinja", "*.safetensors", "*.model", "merges.txt", "vocab.txt")
_ARTIFACT = ("*.json", "*.jinja", "*.npy", "*.onnx", "*.onnx_data*", "*.gguf")


@functools.cache
def runtime() -> Any:
    """Import huggingface_hub on first use and return it.

    Its telemetry is switched off by the one switch it has, which it reads on import.
    """
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ModuleNotFoundError as exc:
        raise MissingDependency(
            f"the Hub is reached through {exc.name}, which is not installed",
            hint="pip install huggingface_hub",
        ) from exc
    return huggingface_hub


def list_files(source: HubSource, form: Form) -> Listing:
    """Ask the Hub what there is of a model, and keep what is needed of it."""
    hub = runtime()
    with _translated(source):
        info = hub.HfApi().model_info(source.repo, revision=source.revision, files_metadata=True)
    published = tuple(_published(sibling) for sibling in info.siblings)
    files = choose(published, source, form)
    return Listing(
        revision=info.sha, files=files, entry=files[0].path if source.inside is not None else ""
    )


def _published(sibling: Any) -> RemoteFile:
    digest = None
    if sibling.lfs is not None:
        digest = sha256_digest(sibling.lfs.sha256)
    elif sibling.blob_id:
        digest = git_digest(sibling.blob_id)
    return RemoteFile(path=sibling.rfilename, size_bytes=sibling.size, digest=digest)


def choose(
    published: tuple[RemoteFile, ...], source: HubSource, form: Form
) -> tuple[RemoteFile, ...]:
    """Return the files to fetch, sorted. Raises MissingArtifact for a repo without them."""
    if source.inside is not None:
        wanted: tuple[str, ...] = (source.inside,)
    else:
        wanted = _CHECKPOINT if form == "checkpoint" else _ARTIFACT
    found = tuple(
        file
        for file in sorted(published, key=lambda file: file.path)
        if any(fnmatch.fnmatchcase(file.path, pattern) for pattern in wanted)
        # what lies deeper in a checkpoint's repo is another format's copy of it
        and (form == "artifact" or source.inside is not None or "/" not in file.path)
        and PurePosixPath(file.path).suffix not in PICKLES
    )
    if source.inside is not None:
        if not found:
            raise MissingArtifact(f"{source.repo} holds no file {source.inside}")
    elif form == "artifact":
        if all(file.path != FILE_NAME for file in found):
            raise MissingArtifact(f"{source.repo} holds no {FILE_NAME}, so it is no artifact")
    elif not any(file.path.endswith(".safetensors") for file in found):
        pickles = [f.path for f in published if PurePosixPath(f.path).suffix in PICKLES]
        why = f", and {pickles[0]} is a pickle: reading one runs code" if pickles else ""
        raise MissingArtifact(
            f"{source.repo} holds no safetensors{why}",
            hint="ask its makers for safetensors" if pickles else None,
        )
    return found


def missing(source: HubSource, listing: Listing) -> tuple[RemoteFile, ...]:
    """Return the files that the cache lacks, by their sizes."""
    return tuple(
        file
        for file in listing.files
        if (path := _cached(source, listing, file)) is None
        or not is_whole(path, file, hashes=False)
    )


def cache_folder() -> Path:
    return Path(runtime().constants.HF_HUB_CACHE)


def fetch(source: HubSource, listing: Listing, progress: Progress | None = None) -> Path:
    """Bring the files into the cache and return their common folder.

    Raises ChecksumMismatch, after which the wrong file is gone; AccessDenied, Unreachable and the
    like, after which what had come of a file is kept, and the next call goes on from there.
    """
    blobs = cache_folder() / f"models--{source.repo.replace('/', '--')}" / "blobs"
    root = None
    with _no_bars(), reported(progress, lambda: _arrived_bytes(blobs, listing)):
        for file in listing.files:
            path = _fetch_file(source, listing, file)
            root = path.parents[len(PurePosixPath(file.path).parts) - 1]
    assert root is not None, "a listing has at least one file"
    return root


def _fetch_file(source: HubSource, listing: Listing, file: RemoteFile) -> Path:
    path = _cached(source, listing, file)
    if path is not None:
        if is_whole(path, file):
            return path
        _forget(path)
    with _translated(source), full_disk_named(cache_folder()):
        path = Path(runtime().hf_hub_download(source.repo, file.path, revision=listing.revision))
    if not is_whole(path, file):
        _forget(path)
        raise ChecksumMismatch(
            f"{file.path} of {source.repo} is not the file that the Hub publishes "
            f"({file.digest}); it was deleted",
            hint="run it again; if it fails again, what lies between here and the Hub alters it",
        )
    return path


def _cached(source: HubSource, listing: Listing, file: RemoteFile) -> Path | None:
    found = runtime().try_to_load_from_cache(source.repo, file.path, revision=listing.revision)
    return Path(found) if isinstance(found, str) else None


def _forget(path: Path) -> None:
    """Delete a file of the cache: the name in the snapshot and the blob it leads to."""
    blob = path.resolve()
    path.unlink()
    blob.unlink(missing_ok=True)


def _arrived_bytes(blobs: Path, listing: Listing) -> int:
    """Blobs are named by their digests, unfinished ones with a suffix."""
    names = {file.digest.partition(":")[2] for file in listing.files if file.digest}
    total_bytes = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(blobs) as entries:
        for entry in entries:
            if entry.name.partition(".")[0] in names:
                with contextlib.suppress(FileNotFoundError):
                    total_bytes += entry.stat().st_size
    return total_bytes


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """Its own bars go to stderr even where nobody watches."""
    bars = runtime().utils
    if bars.are_progress_bars_disabled():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the user's own variable may keep them on
        bars.disable_progress_bars()
        try:
            yield
        finally:
            bars.enable_progress_bars()


@contextlib.contextmanager
def _translated(source: HubSource) -> Iterator[None]:
    try:
        yield
    except EdgeETError:
        raise
    except Exception as exc:
        raise _error(source, exc) from exc


def _error(source: HubSource, exc: BaseException) -> EdgeETError:
    errors = runtime().errors
    if isinstance(exc, errors.LocalEntryNotFoundError) and exc.__cause__ is not None:
        return _error(source, exc.__cause__)
    status = getattr(getattr(exc, "response", None), "status_code", None)
    if isinstance(exc, errors.OfflineModeIsEnabled):
        return MissingArtifact(
            f"{source.repo} is not in the cache, and HF_HUB_OFFLINE keeps the Hub away",
            hint="run it once without HF_HUB_OFFLINE, where there is a network",
        )
    if isinstance(exc, errors.GatedRepoError):
        return AccessDenied(
            f"{source.repo} is gated",
            hint="accept its terms on its page, set HF_TOKEN to a token of yours, run it again",
        )
    if isinstance(exc, errors.RevisionNotFoundError):
        return MissingArtifact(f"{source.repo} has no revision {source.revision!r}")
    if isinstance(exc, errors.RepositoryNotFoundError):
        return MissingArtifact(
            f"the Hub has no model {source.repo}, or it is private",
            hint="if it is private, set HF_TOKEN to a token that may read it",
        )
    if status in (401, 403):
        return AccessDenied(
            f"the Hub refuses {source.repo} ({status})",
            hint="set HF_TOKEN to a token that may read it",
        )
    if status is not None:
        return DownloadFailed(f"the Hub answers {status} for {source.repo}")
    return Unreachable(
        f"{source.repo} cannot be fetched: {_innermost(exc)}",
        hint="run it again: it goes on from where it stopped",
    )


def _innermost(exc: BaseException) -> str:
    """Return what happened below: the wrappings' own words are addresses of objects."""
    while exc.__context__ is not None or exc.__cause__ is not None:
        exc = exc.__cause__ or exc.__context__  # type: ignore[assignment]
    return str(exc) or type(exc).__name__


__all__ = ["cache_folder", "choose", "fetch", "list_files", "missing", "runtime"]
