"""What every source has in common: files with their digests, progress, room on the disk."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_et.errors import InsufficientDisk
from edge_et.manifest import file_sha256

Progress = Callable[[int], None]
"""Called with the bytes of the model that lie here so far; from another thread, too."""

_SHA256, _GIT_SHA1 = "sha256", "git-sha1"
_POLL_S = 0.2
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a write fails with when the disk, a quota or the largest size of a file is reached."""
_SPARE_BYTES = 64 * 1024 * 1024
"""Left free on the disk: other programs write, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file as its source publishes it. `path` has `/` and is relative to the model's folder."""

    path: str
    size_bytes: int | None = None
    digest: str | None = None
    """`sha256:HEX`, or `git-sha1:HEX` for a file that git keeps itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a source has of a model, at one revision."""

    revision: str
    files: tuple[RemoteFile, ...]
    entry: str = ""
    """The file to load; empty when it is the folder."""

    @property
    def size_bytes(self) -> int | None:
        sizes = [file.size_bytes for file in self.files]
        return None if None in sizes else sum(size for size in sizes if size is not None)


def sha256_digest(hexadecimal: str) -> str:
    return f"{_SHA256}:{hexadecimal}"


def git_digest(hexadecimal: str) -> str:
    return f"{_GIT_SHA1}:{hexadecimal}"


def is_whole(path: Path, file: RemoteFile, *, hashes: bool = True) -> bool:
    """Whether `path` is that file; `hashes` reads it."""
    if not path.is_file() or file.size_bytes not in (None, path.stat().st_size):
        return False
    return not hashes or file.digest is None or file.digest == _digest_of(path, file.digest)


def _digest_of(path: Path, like: str) -> str:
    kind = like.partition(":")[0]
    if kind == _SHA256:
        return sha256_digest(file_sha256(path))
    sha1 = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        return git_digest(hashlib.file_digest(file, lambda: sha1).hexdigest())


@contextlib.contextmanager
def reported(progress: Progress | None, arrived_bytes: Callable[[], int]) -> Iterator[None]:
    """Tell `progress` what `arrived_bytes` counts, while others do the work."""
    if progress is None:
        yield
        return
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_POLL_S):
            progress(arrived_bytes())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        progress(arrived_bytes())


def size_below(folder: Path) -> int:
    """Return the bytes in `folder`, of which files and folders may come and go at this moment."""
    total_bytes = 0
    for inside, _, names in os.walk(folder):  # unlike rglob, it passes over a folder that is gone
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total_bytes += (Path(inside) / name).stat().st_size
    return total_bytes


def require_space(needs: dict[Path, int]) -> None:
    """Raise InsufficientDisk unless each folder's disk has room for the bytes, all together."""
    disks: dict[int, tuple[Path, int]] = {}
    for folder, need_bytes in needs.items():
        there = next(p for p in (folder, *folder.parents) if p.exists())
        device = there.stat().st_dev
        disks[device] = there, disks.get(device, (there, 0))[1] + need_bytes
    for there, need_bytes in disks.values():
        free_bytes = shutil.disk_usage(there).free
        if need_bytes and need_bytes + _SPARE_BYTES > free_bytes:
            raise InsufficientDisk(
                f"{need_bytes / 1e6:,.1f} MB are to come, and the disk of {there} has "
                f"{free_bytes / 1e6:,.1f} MB free",
                hint="free some space, or move the cache: docs/models.md",
            )


@contextlib.contextmanager
def full_disk_named(folder: Path) -> Iterator[None]:
    """A disk that fills up on the way is our error, too."""
    try:
        yield
    except OSError as exc:
        if exc.errno not in NO_ROOM:
            raise
        raise InsufficientDisk(
            f"the disk of {folder} is full", hint="free some space, and run it again"
        ) from exc


__all__ = [
    "NO_ROOM", "Listing", "Progress", "RemoteFile", "full_disk_named", "git_digest", "is_whole",
    "reported", "require_space", "sha256_digest", "size_below",
]  # fmt: skip
