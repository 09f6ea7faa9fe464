"""What is known of one prompt about one image, in memory and on disk.

Three things are kept, each made from the one before it: the image's features, the KV cache up to
the end of the image (its prefix), and the text of the extraction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from edge_et.caching.disk import DiskCache, Entry
from edge_et.caching.keys import Keys, keys_of
from edge_et.caching.memory import MemoryCache
from edge_et.plain import build

if TYPE_CHECKING:
    from PIL import Image

    from edge_et.config import RuntimeConfig, SamplingConfig
    from edge_et.graphs import Decoder, DecoderStep
    from edge_et.layout import Layout
    from edge_et.manifest import ImagePolicy

Place = Literal["memory", "disk"]
_T = TypeVar("_T")

_SMALL_SHARE = 8
"""One part in so many of the memory is for features and extractions, the rest for prefixes: those
are a hundred times as large, and would push the others out."""
_TEXT_BYTES = 1024
"""What a kept extraction takes beside its characters, about."""
_SLACK_TOKENS = 128
"""Room in a kept KV cache for a longer question; on a CPU it takes no memory until it is used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the vision tower was shown of an image; see `ImageReport`."""

    used_height_px: int
    used_width_px: int
    tiles: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    rows: npt.NDArray[np.float32]
    """[feature_rows, hidden]"""
    shown: Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """A KV cache whose first `tokens` are the prompt up to the image's end."""

    step: DecoderStep
    tokens: int
    shown: Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """An extraction that its model ended, or one that was cut where its room ended."""

    pieces: tuple[str, ...]
    generated_tokens: int
    shown: Shown
    cut: bool = False


class Caches:
    """Of one loaded extractor. `artifact` is what `keys.artifact_key` gives."""

    def __init__(self, artifact: str, *, memory_bytes: int, disk: DiskCache | None = None) -> None:
        self._artifact, self.disk = artifact, disk
        small_bytes = memory_bytes // _SMALL_SHARE
        self.small: MemoryCache[Features | Written] = MemoryCache(small_bytes)
        self.prefixes: MemoryCache[Prefix] = MemoryCache(memory_bytes - small_bytes)

    @classmethod
    def load(cls, artifact: str, runtime: RuntimeConfig) -> Caches:
        disk = None
        if runtime.disk_cache is not None:
            disk = DiskCache(runtime.disk_cache, runtime.disk_cache_bytes)
        return cls(artifact, memory_bytes=runtime.cache_bytes, disk=disk)

    @property
    def held_bytes(self) -> int:
        """What lies in memory between two calls."""
        return self.small.held_bytes + self.prefixes.held_bytes

    @property
    def off(self) -> bool:
        return self.disk is None and self.prefixes.limit_bytes == 0

    def of(
        self, rgb: Image.Image, policy: ImagePolicy, layout: Layout, sampling: SamplingConfig
    ) -> Seen:
        """Return what is known of a prompt."""
        if self.off:
            return Seen(self, Keys(features="", prefix="", extraction=""))
        return Seen(self, keys_of(self._artifact, rgb, policy, layout, sampling))

    def clear(self) -> None:
        """Empty the memory; what lies on disk stays."""
        self.small.clear()
        self.prefixes.clear()


class Seen:
    """What `Caches` hold for the three keys of one prompt, during one call.

    A prefix is taken out and returned, never copied: its buffers are those that the call runs in.
    """

    def __init__(self, caches: Caches, keys: Keys) -> None:
        self._caches, self._keys = caches, keys
        self._unsaved: list[Callable[[], None]] = []

    def features(self) -> tuple[Features, Place] | None:
        kept = self._caches.small.get(self._keys.features)
        if isinstance(kept, Features):
            return kept, "memory"
        features = self._read("features", self._keys.features, _as_features)
        if features is None:
            return None
        self._put(self._keys.features, features, features.rows.nbytes)
        return features, "disk"

    def keep_features(self, features: Features) -> None:
        self._put(self._keys.features, features, features.rows.nbytes)
        entry = Entry(about={"shown": asdict(features.shown)}, arrays=(features.rows,))
        self._save_later(partial(self._write, "features", self._keys.features, entry))

    def start(self, decoder: Decoder, prompt_tokens: int, capacity_tokens: int) -> DecoderStep:
        """Return a step with an empty KV cache, after making room for what it will hold."""
        if self._caches.off:
            return decoder.start(capacity_tokens)
        self._caches.prefixes.make_room(prompt_tokens * decoder.bytes_per_token)
        return decoder.start(capacity_tokens + _SLACK_TOKENS)

    def take_prefix(
        self, decoder: Decoder, prompt_tokens: int, capacity_tokens: int
    ) -> tuple[Prefix, Place] | None:
        """Return the prefix in a step of at least that capacity; the call owns it."""
        kept = self._caches.prefixes.take(self._keys.prefix)
        if kept is not None:
            roomy = _with_room(kept, decoder, capacity_tokens)
            return None if roomy is None else (roomy, "memory")
        read = self._read("prefix", self._keys.prefix, lambda entry: (entry.arrays, _shown(entry)))
        if read is None:
            return None
        rows, shown = read
        step = self.start(decoder, prompt_tokens, capacity_tokens)
        step.write_rows(rows)
        return Prefix(step=step, tokens=rows[0].shape[2], shown=shown), "disk"

    def keep_prefix(self, prefix: Prefix) -> None:
        """Note a prefix that was computed; `return_prefix` puts it back."""
        self._save_later(partial(self._write_prefix, prefix))

    def return_prefix(self, prefix: Prefix) -> None:
        if not self._caches.off:
            self._caches.prefixes.put(self._keys.prefix, prefix, prefix.step.held_bytes)

    def written(self, room_tokens: int) -> tuple[Written, Place] | None:
        """Return the extraction, if it ended within `room_tokens` or was cut at just as many."""
        found = self._written(self._keys.extraction)
        # the stop token is sampled within the room, too
        if found is not None and found[0].generated_tokens < room_tokens:
            return found
        return self._written(self._keys.cut_at(room_tokens))

    def _written(self, key: str) -> tuple[Written, Place] | None:
        kept = self._caches.small.get(key)
        if isinstance(kept, Written):
            return kept, "memory"
        read = self._read("extraction", key, _as_written)
        if read is None:
            return None
        self._put(key, read, _size_bytes(read))
        return read, "disk"

    def keep_written(self, written: Written) -> None:
        """Keep an extraction; a cut one beside that which the model ends in a larger room."""
        keys = self._keys
        key = keys.cut_at(written.generated_tokens) if written.cut else keys.extraction
        self._put(key, written, _size_bytes(written))
        entry = Entry(about=asdict(written))
        self._save_later(partial(self._write, "extraction", key, entry))

    def save(self) -> None:
        """Write to disk what this call made. After the call's last piece: nobody waits for it."""
        for write in self._unsaved:
            write()
        self._unsaved.clear()

    def _put(self, key: str, value: Features | Written, size_bytes: int) -> None:
        self._caches.small.put(key, value, size_bytes)

    def _save_later(self, write: Callable[[], None]) -> None:
        if self._caches.disk is not None:
            self._unsaved.append(write)

    def _read(self, kind: str, key: str, parse: Callable[[Entry], _T]) -> _T | None:
        return None if self._caches.disk is None else self._caches.disk.read(kind, key, parse)

    def _write(self, kind: str, key: str, entry: Entry) -> None:
        if self._caches.disk is not None:
            self._caches.disk.write(kind, key, entry)

    def _write_prefix(self, prefix: Prefix) -> None:
        rows = prefix.step.read_rows(prefix.tokens)
        if rows is not None:
            about = {"shown": asdict(prefix.shown)}
            self._write("prefix", self._keys.prefix, Entry(about=about, arrays=tuple(rows)))


def _with_room(prefix: Prefix, decoder: Decoder, capacity_tokens: int) -> Prefix | None:
    """Return the prefix in a step of at least that capacity; None where it cannot be copied."""
    if prefix.step.capacity_tokens >= capacity_tokens:
        return prefix
    rows = prefix.step.read_rows(prefix.tokens)
    if rows is None:
        return None
    step = decoder.start(capacity_tokens + _SLACK_TOKENS)
    step.write_rows(rows)
    return replace(prefix, step=step)


def _as_features(entry: Entry) -> Features:
    return Features(rows=np.array(entry.arrays[0]), shown=_shown(entry))


def _as_written(entry: Entry) -> Written:
    return build(Written, entry.about, "a cached extraction")


def _shown(entry: Entry) -> Shown:
    return build(Shown, entry.about["shown"], "a cached entry")


def _size_bytes(written: Written) -> int:
    return _TEXT_BYTES + sum(len(piece.encode()) for piece in written.pieces)


NO_CACHES = Caches("", memory_bytes=0)
"""Knows nothing and keeps nothing."""
