"""The header of a GGUF file: read and checked before llama.cpp sees the file.

llama.cpp says little of a bad file, and of some it says it by ending the process. Nothing of the
size that a header merely claims is ever allocated: the file is mapped, counts are compared with
what lies there.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NoReturn

from edge_et.errors import LoadFailed, MissingArtifact

MAGIC = b"GGUF"
VERSIONS = (2, 3)
TEMPLATE_KEY = "tokenizer.chat_template"

_LFS_POINTER = b"version https://git-lfs"
_DEFAULT_ALIGNMENT = 32
_MAX_DIMENSIONS = 4
_MAX_TEXT_BYTES = 1 << 24
_MAX_STRINGS = 1 << 24
"""In one array. The largest vocabularies have a million merges."""

_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?",
    10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
# ggml's type -> weights and bytes of a block. A type that is not here (llama.cpp may be newer) is
# checked by where it begins.
BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 40), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
    21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8),
    28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
    40: (64, 36), 41: (128, 18),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    name: str
    shape: tuple[int, ...]
    """As stored: the row's length first."""
    type: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GGUFHeader:
    path: Path
    version: int
    metadata: Mapping[str, Any]
    """Numbers and texts; arrays (the vocabulary) are walked over and left out."""
    tensors: tuple[TensorInfo, ...]

    @property
    def architecture(self) -> str:
        return str(self.metadata["general.architecture"])

    @property
    def context_tokens(self) -> int:
        return int(self.metadata.get(f"{self.architecture}.context_length", 0))

    @property
    def sampling(self) -> dict[str, float]:
        """The model's own temperature, top_p and top_k, as far as the file names them."""
        keys = {"temperature": "temp", "top_p": "top_p", "top_k": "top_k"}
        found = {n: self.metadata.get(f"general.sampling.{key}") for n, key in keys.items()}
        return {name: float(value) for name, value in found.items() if value is not None}


def read_header(path: Path) -> GGUFHeader:
    """Read the header; check magic, version, architecture, and that the tensors lie in the file.

    Raises MissingArtifact or LoadFailed.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(_LFS_POINTER))
            _check_start(path, start)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _read(path, data)
    except FileNotFoundError as exc:
        raise MissingArtifact(
            f"there is no file {path}",
            hint=f"make one: edge-et export reasoner CHECKPOINT_DIR --out {path}",
        ) from exc
    except OSError as exc:
        raise LoadFailed(f"{path} cannot be read: {exc}") from exc


def require_chat(header: GGUFHeader) -> None:
    """Raise LoadFailed unless the file is a language model with a chat template."""
    kind = header.metadata.get("general.type", "model")
    if kind != "model" or header.architecture == "clip":
        raise LoadFailed(
            f"{header.path} is no language model, but its {kind} ({header.architecture})",
            hint="take the model's own GGUF file",
        )
    if not header.metadata.get(TEMPLATE_KEY):
        raise LoadFailed(
            f"{header.path} carries no chat template",
            hint="take an instruction-tuned model, or export it with its chat template",
        )


def _check_start(path: Path, start: bytes) -> None:
    if start == _LFS_POINTER:
        raise LoadFailed(
            f"{path} is a Git LFS pointer, not the file it points to",
            hint="fetch it: git lfs pull",
        )
    if not start.startswith(MAGIC):
        raise LoadFailed(
            f"{path} is no GGUF file (it begins with {start[: len(MAGIC)]!r})",
            hint=f"make one: edge-et export reasoner CHECKPOINT_DIR --out {path.stem}.gguf",
        )


def _read(path: Path, data: mmap.mmap) -> GGUFHeader:
    cursor = _Cursor(path, data)
    version = cursor.number("<I")
    if version not in VERSIONS:
        # A file of the other byte order has its version in the upper half.
        order = " (its byte order is not this machine's)" if not version & 0xFFFF else ""
        raise LoadFailed(
            f"{path} is GGUF version {version}{order}; known are 2 and 3",
            hint="take a newer file of the model, or export it again",
        )
    tensor_count, key_count = cursor.number("<Q"), cursor.number("<Q")
    metadata: dict[str, Any] = {}
    for _ in range(key_count):
        key = cursor.text()
        if not key or key in metadata:
            cursor.fail(f"the metadata key {key!r} is empty or there twice")
        metadata[key] = cursor.value(cursor.number("<I"))
    if not isinstance(metadata.get("general.architecture"), str):
        raise LoadFailed(f"{path} names no general.architecture")
    tensors = []
    for _ in range(tensor_count):
        tensors.append(cursor.tensor())
    header = GGUFHeader(
        path=path,
        version=version,
        metadata={key: value for key, value in metadata.items() if value is not None},
        tensors=tuple(tensors),
    )
    _check_size(header, cursor)
    return header


def _check_size(header: GGUFHeader, cursor: _Cursor) -> None:
    alignment = header.metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        cursor.fail(f"general.alignment is {alignment!r}, not a power of two")
    start = -(-cursor.offset // alignment) * alignment
    need = start + max((t.offset + _size_bytes(t, cursor) for t in header.tensors), default=0)
    if need > cursor.end:
        raise LoadFailed(
            f"{header.path} is truncated: its tensors need {need:,} bytes, it has {cursor.end:,}",
            hint="copy or download it again",
        )


def _size_bytes(tensor: TensorInfo, cursor: _Cursor) -> int:
    weights, size_bytes = BLOCKS.get(tensor.type, (1, 0))
    if tensor.shape and tensor.shape[0] % weights:
        cursor.fail(f"rows of {tensor.name} are no multiple of {weights} weights")
    return prod(tensor.shape) // weights * size_bytes


class _Cursor:
    """A place in the mapped file. Every step is checked against the file's end."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path, self.data = path, data
        self.offset, self.end = len(MAGIC), len(data)

    def fail(self, why: str) -> NoReturn:
        raise LoadFailed(
            f"{self.path} is damaged at byte {self.offset:,}: {why}",
            hint="copy or download it again",
        )

    def advance(self, size_bytes: int) -> int:
        """Step over `size_bytes`; return where they begin."""
        start = self.offset
        if size_bytes > self.end - start:
            self.fail(f"its header goes on for {size_bytes:,} bytes, the file has {self.end:,}")
        self.offset = start + size_bytes
        return start

    def number(self, layout: str) -> Any:
        start = self.advance(struct.calcsize(layout))
        return struct.unpack_from(layout, self.data, start)[0]

    def text(self) -> str:
        size_bytes = self.number("<Q")
        if size_bytes > _MAX_TEXT_BYTES:
            self.fail(f"it claims a text of {size_bytes:,} bytes")
        start = self.advance(size_bytes)
        return self.data[start : self.offset].decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        """Read a metadata value; None for an array."""
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            return self._skip_array()
        if kind not in _SCALARS:
            self.fail(f"the type of a metadata value is {kind}")
        return self.number(_SCALARS[kind])

    def _skip_array(self) -> None:
        kind, count = self.number("<I"), self.number("<Q")
        if kind in _SCALARS:
            self.advance(count * struct.calcsize(_SCALARS[kind]))
        elif kind == _STRING and count <= _MAX_STRINGS:
            self._skip_strings(count)
        else:
            self.fail(f"it claims an array of {count:,} values of type {kind}")

    def _skip_strings(self, count: int) -> None:
        # A vocabulary and its merges are up to a million of these, on every load.
        unpack, data, offset = struct.Struct("<Q").unpack_from, self.data, self.offset
        try:
            for _ in range(count):
                offset += 8 + unpack(data, offset)[0]
        except (struct.error, OverflowError):  # past the end; past any index
            self.fail("an array of texts goes on past the end of the file")
        self.advance(offset - self.offset)

    def tensor(self) -> TensorInfo:
        name, dimensions = self.text(), self.number("<I")
        if dimensions > _MAX_DIMENSIONS:
            self.fail(f"the tensor {name!r} has {dimensions} dimensions")
        shape = tuple(self.number("<Q") for _ in range(dimensions))
        return TensorInfo(name=name, shape=shape, type=self.number("<I"), offset=self.number("<Q"))
