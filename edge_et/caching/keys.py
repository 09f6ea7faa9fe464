"""Keys of the caches: a hash of everything that decides a result, and of nothing else.

An image is its upright pixels: the path it came from, and the kind of file, do not matter.
"""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from edge_et import __version__

if TYPE_CHECKING:
    from PIL import Image

    from edge_et.config import SamplingConfig
    from edge_et.layout import Layout
    from edge_et.manifest import ExtractorManifest, ImagePolicy, Part

_STRIP_ROWS = 256
"""Rows of an image that are copied out at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Of one prompt about one image, each resting on the one before it."""

    features: str
    prefix: str
    extraction: str

    def cut_at(self, room_tokens: int) -> str:
        """Return the key of an extraction that used up its room: it is the same under that one."""
        return _digest(self.extraction, room_tokens)


def keys_of(
    artifact: str,
    rgb: Image.Image,
    policy: ImagePolicy,
    layout: Layout,
    sampling: SamplingConfig,
) -> Keys:
    """Return the keys of a prompt. `artifact` is what `artifact_key` gives.

    The budget is no part of them: an extraction that ended by itself is the same under any that
    is large enough.
    """
    features = _digest(artifact, _image_digest(rgb), asdict(policy))
    prefix = _digest(features, layout.before, layout.marks)
    # greedy decoding reads no other field
    sampled = asdict(sampling) if sampling.temperature else "greedy"
    return Keys(features=features, prefix=prefix, extraction=_digest(prefix, layout.after, sampled))


def artifact_key(
    manifest: ExtractorManifest, parts: tuple[Part, ...], *, device: str, threads: int, engine: str
) -> str:
    """Return the key of a loaded extractor: its files by their hashes, and what runs them, since
    another device, number of threads or version of the engine may round otherwise."""
    used = [part.path for part in parts]
    host = [device, threads, engine, platform.machine(), __version__]
    return _digest(asdict(manifest), used, host)


def _image_digest(rgb: Image.Image) -> str:
    found = hashlib.sha256(f"{rgb.mode} {rgb.height} x {rgb.width}".encode())
    for top in range(0, rgb.height, _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, rgb.height)
        found.update(rgb.crop((0, top, rgb.width, bottom)).tobytes())
    return found.hexdigest()


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
