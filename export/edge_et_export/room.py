"""What an export needs of disk and memory, known before it begins from the shapes of the tensors.

Bytes a weight and the constants are rounded up from measurements (docs/export.md); a test compares
the estimates with real exports.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from edge_et.errors import OutOfDisk, OutOfMemory
from edge_et_export.checkpoint import weight_files
from edge_et_export.precisions import Precisions
from edge_et_export.tower import tower_of

_VISION_BYTES = {"fp32": 4.0, "fp16": 2.0, "int8": 1.1}
# Scales included, the head of q4 in 8 bits.
_DECODER_BYTES = {
    "fp32": 4.0,
    "fp16": 2.0,
    "int8": 1.2,
    "w8a8": 1.2,
    "q4": 1.0,
    "q4_pure": 1.0,
    "q4f16": 1.0,
}
_TABLE_BYTES = {"fp32": 4.0, "fp16": 2.0, "int8": 1.1}
_GGUF_BYTES = {
    "f32": 4.0, "bf16": 2.0, "f16": 2.0, "q8_0": 1.1, "q5_k_m": 0.8, "q4_k_m": 0.7, "q4_0": 0.7,
}  # fmt: skip
_WIDEN = 4.0
"""Everything is loaded and staged in float32."""
_GRAPH_BYTES = 200_000
"""Of a graph beside its weights, and of the text files."""
_LIBRARIES_BYTES = 1_000_000_000
"""torch, transformers and onnxruntime, in the export and once more in the decoder's builder."""
_LLAMA_LIBRARIES_BYTES = 550_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """An upper bound that is not far off."""

    disk_bytes: int
    """At the fullest moment, scratch files included."""
    memory_bytes: int
    """At the fullest moment, child processes included, mapped files not."""
    vision_bytes: int = 0
    """Written by that part, scratch files included, like the next four."""
    decoder_bytes: int = 0
    table_bytes: int = 0
    whole_bytes: int = 0
    quantized_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Numbers of weights in a checkpoint."""

    vision: int
    text: int
    """Without the embeddings and the head."""
    table: int
    """The embeddings; the head is as large, be it tied or not."""

    @property
    def loaded(self) -> int:
        return self.vision + self.text + 2 * self.table


def extractor_estimate(checkpoint: Path, precisions: Precisions) -> Estimate:
    weights = _weights(checkpoint)
    graphs = (len(precisions.vision) + len(precisions.decoder) + 1) * _GRAPH_BYTES
    decoder = weights.text + weights.table
    table = weights.table * _TABLE_BYTES[precisions.embeddings]
    vision = weights.vision * sum(_VISION_BYTES[p] for p in precisions.vision)
    decoders = decoder * sum(_DECODER_BYTES[p] for p in precisions.decoder)
    # The traced graph and the quantizer's copy of it; all the while the model for the builder.
    traced, staged = 2 * _WIDEN * weights.vision, _WIDEN * decoder
    disk = graphs + table + vision + staged + max(traced, decoders)
    # One after the other: the checkpoint in float32; the vision tower and copies of it for its
    # graph; the builder's graph and the head by itself. What is mapped from files, as the builder's
    # model is, the system can take back.
    whole = _WIDEN * weights.loaded
    tower = 5 * _WIDEN * weights.vision
    building = 1.5 * _WIDEN * (decoder + weights.table)
    memory = _LIBRARIES_BYTES + max(whole, tower, building)
    return Estimate(
        disk_bytes=int(disk),
        memory_bytes=int(memory),
        vision_bytes=int(traced + vision),
        decoder_bytes=int(decoders),
        table_bytes=int(table),
        whole_bytes=int(staged),
    )


def reasoner_estimate(checkpoint: Path, kind: str, lossless: str) -> Estimate:
    """`lossless`: the type that is written first, and quantized unless it is `kind` itself."""
    weights = _weights(checkpoint)
    count = weights.text + 2 * weights.table
    whole = count * _GGUF_BYTES[lossless]
    quantized = 0.0 if lossless == kind else count * _GGUF_BYTES[kind]
    # The checkpoint all the while; llama.cpp maps what it quantizes, and then what it runs.
    memory = _LLAMA_LIBRARIES_BYTES + _WIDEN * count + whole
    return Estimate(
        disk_bytes=int(whole + quantized + _GRAPH_BYTES),
        memory_bytes=int(memory),
        whole_bytes=int(whole),
        quantized_bytes=int(quantized),
    )


def require_room(estimate: Estimate, out: Path) -> None:
    """Raise OutOfDisk or OutOfMemory, with the numbers, unless the export fits.

    `out` need not exist.
    """
    import psutil

    there = next(p for p in (out, *out.absolute().parents) if p.exists())
    free_bytes = shutil.disk_usage(there).free
    if estimate.disk_bytes > free_bytes:
        raise OutOfDisk(
            f"the export needs {_mb(estimate.disk_bytes)} while it runs, and the disk of {there} "
            f"has {_mb(free_bytes)} free",
            hint="free some space, choose an --out on another disk, or --skip-room-check",
        )
    available_bytes = psutil.virtual_memory().available
    if estimate.memory_bytes > available_bytes:
        raise OutOfMemory(
            f"the export needs {_mb(estimate.memory_bytes)} of memory, and "
            f"{_mb(available_bytes)} are available",
            hint="end other programs, take a larger machine, or --skip-room-check",
        )


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.0f} MB"


def _weights(checkpoint: Path) -> Weights:
    sizes = _sizes(checkpoint)
    tower = tower_of(checkpoint)
    if tower is not None:
        sizes |= {n: s for n, s in _sizes(tower.folder).items() if n.startswith("vision_model.")}
    table = max((s for n, s in sizes.items() if n.endswith("embed_tokens.weight")), default=0)
    vision = sum(s for n, s in sizes.items() if any(mark in n for mark in _VISION_MARKS))
    heads = sum(s for n, s in sizes.items() if n.endswith("lm_head.weight"))
    text = sum(sizes.values()) - vision - table - heads
    return Weights(vision=vision, text=text, table=table)


_VISION_MARKS = ("vision", "projector", "connector")


def _sizes(checkpoint: Path) -> dict[str, int]:
    from safetensors import safe_open

    sizes: dict[str, int] = {}
    for path in weight_files(checkpoint):
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118 (safe_open is no mapping)
                size = 1
                for side in file.get_slice(name).get_shape():
                    size *= side
                sizes[name] = size
    return sizes
