"""A cache on disk: a file an entry, checked by its hash, for its owner's eyes only.

    <folder>/<kind>-<key>.seen    the SHA-256 of the rest; a line of JSON {"about", "arrays"}; the
                                  arrays, each as `numpy.save` writes it

Files are written beside and renamed, so several processes can share a folder: a reader sees a whole
entry or none, and two writers of a key write the same. Nothing here ever fails a call: what cannot
be read is dropped, what cannot be written is let go, and the log says so.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

_log = logging.getLogger(__name__)

_ENDING, _UNFINISHED = ".seen", ".part"
_DIGEST_BYTES = hashlib.sha256().digest_size
_ABANDONED_S = 3600.0
"""Age from which an unfinished file belongs to no living writer."""

Array = npt.NDArray[Any]
ParsedT = TypeVar("ParsedT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    about: dict[str, Any]
    """Plain data."""
    arrays: tuple[Array, ...] = ()
    """As read: mapped from the file, to be copied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What one kind of entry takes."""

    kind: str
    entries: int
    size_bytes: int


class DiskCache:
    def __init__(self, folder: Path, limit_bytes: int) -> None:
        """`folder` is made when something is first written."""
        self.folder, self.limit_bytes = folder, limit_bytes

    def read(self, kind: str, key: str, parse: Callable[[Entry], ParsedT]) -> ParsedT | None:
        """Return what `parse` makes of the entry, if it lies there as it was written.

        A damaged one is removed, as is one that `parse` does not know (ValueError, LookupError).
        """
        path = self._path(kind, key)
        try:
            with path.open("rb") as file:
                parsed = parse(_read(file))
            os.utime(path)  # used now: the oldest go first
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError, EOFError) as exc:
            _log.warning("a cached entry is damaged and will be made again: %s: %s", path, exc)
            _remove(path)
            return None
        return parsed

    def write(self, kind: str, key: str, entry: Entry) -> None:
        """Keep the entry, unless it is larger than the limit by itself."""
        if sum(array.nbytes for array in entry.arrays) > self.limit_bytes:
            return
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._beside() as file:
                _write(file, entry)
                Path(file.name).replace(self._path(kind, key))
            self._shrink(self.limit_bytes)
        except OSError as exc:
            _log.warning("nothing was cached in %s: %s", self.folder, exc)

    def contents(self) -> tuple[Contents, ...]:
        """Return what lies there, by kind."""
        sizes: dict[str, list[int]] = {}
        for path, stat in self._entries():
            sizes.setdefault(path.name.partition("-")[0], []).append(stat.st_size)
        return tuple(
            Contents(kind=kind, entries=len(found), size_bytes=sum(found))
            for kind, found in sorted(sizes.items())
        )

    def clear(self) -> None:
        """Remove every entry, those that are being written included."""
        for path in self._files():
            _remove(path)

    def _path(self, kind: str, key: str) -> Path:
        return self.folder / f"{kind}-{key}{_ENDING}"

    def _files(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [path for path in self.folder.iterdir() if path.suffix in (_ENDING, _UNFINISHED)]

    def _entries(self) -> list[tuple[Path, os.stat_result]]:
        found = []
        for path in self._files():
            with contextlib.suppress(FileNotFoundError):  # another process removed it
                found.append((path, path.stat()))
        return [(path, stat) for path, stat in found if path.suffix == _ENDING]

    def _shrink(self, to_bytes: int) -> None:
        """Remove the entries that were not used for longest, and what a killed writer left."""
        for path in self._files():
            with contextlib.suppress(FileNotFoundError):
                if path.suffix == _UNFINISHED and time.time() - path.stat().st_mtime > _ABANDONED_S:
                    _remove(path)
        entries = sorted(self._entries(), key=lambda entry: entry[1].st_mtime_ns)
        held_bytes = sum(stat.st_size for _, stat in entries)
        for path, stat in entries:
            if held_bytes <= to_bytes:
                break
            _remove(path)
            held_bytes -= stat.st_size

    @contextlib.contextmanager
    def _beside(self) -> Iterator[Any]:
        """Open a file of its own in the folder, mode 0600; what is not renamed is removed."""
        with tempfile.NamedTemporaryFile(dir=self.folder, suffix=_UNFINISHED, delete=False) as file:
            try:
                yield file
            finally:
                _remove(Path(file.name))


def _write(file: Any, entry: Entry) -> None:
    file.write(bytes(_DIGEST_BYTES))
    head = {"about": entry.about, "arrays": len(entry.arrays)}
    file.write(json.dumps(head).encode() + b"\n")
    for array in entry.arrays:
        np.save(file, array, allow_pickle=False)
    file.seek(_DIGEST_BYTES)
    digest = hashlib.file_digest(file, "sha256").digest()
    file.seek(0)
    file.write(digest)
    file.flush()


def _read(file: BufferedReader) -> Entry:
    digest = file.read(_DIGEST_BYTES)
    if hashlib.file_digest(file, "sha256").digest() != digest:
        raise ValueError("its bytes are not those that were written")
    file.seek(_DIGEST_BYTES)
    head = json.loads(file.readline())
    arrays = tuple(_map(file) for _ in range(head["arrays"]))
    return Entry(about=head["about"], arrays=arrays)


def _map(file: BufferedReader) -> Array:
    """Map the array that the file stands at, and go on to its end: nothing is copied yet."""
    if (version := np.lib.format.read_magic(file)) != (1, 0):
        raise ValueError(f"an array of the format {version}")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    start = file.tell()
    array: Array = np.memmap(file, dtype, "r", start, shape, "F" if fortran else "C")
    file.seek(start + array.nbytes)
    return array


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # gone already, or open elsewhere on Windows
        path.unlink()


def default_folder() -> Path:
    """Return the folder in the user's cache; it need not exist."""
    import platformdirs

    return platformdirs.user_cache_path("edge-et", appauthor=False) / "seen"


__all__ = ["Contents", "DiskCache", "Entry", "default_folder"]
