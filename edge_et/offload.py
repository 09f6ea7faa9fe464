"""How many layers of a reasoner go to the GPU: all that fit into its free memory, or as asked.

llama.cpp offloads layers from the last one down, and the output product as one more.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from math import prod

from edge_et.config import GpuLayers
from edge_et.gguf_header import BLOCKS, GGUFHeader, TensorInfo
from edge_et.llama_library import gpu_memory

PLANNED_CONTEXT_TOKENS = 8192
"""Context whose KV cache must fit beside the layers; a larger one than most calls make."""
_WORK_BYTES = 512 * 2**20
"""Left free: buffers of a batch of 512 tokens, and CUDA's own. Not measured on a GPU."""
_KV_BYTES = 2
_EMBEDDINGS, _OUTPUT = "token_embd.weight", "output.weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offload:
    """What `llama.cpp` is asked for."""

    layers: int
    """On the GPU, the output product counted as one."""
    of: int
    """That there are, the output product counted as one."""

    def __str__(self) -> str:
        return f"{self.layers} of {self.of} layers on the GPU"


def choose(header: GGUFHeader, wanted: GpuLayers) -> Offload:
    """Return the layers for the GPU, on a machine that has one."""
    total = _layer_count(header) + 1
    if wanted == "all":
        return Offload(layers=total, of=total)
    if wanted == "auto":
        free_bytes = sum(memory.free_bytes for memory in gpu_memory())
        return Offload(layers=fitting(header, free_bytes), of=total)
    return Offload(layers=min(wanted, total), of=total)


def fitting(header: GGUFHeader, free_bytes: int) -> int:
    """Return how many layers fit into that much memory with their share of the KV cache."""
    context = min(header.context_tokens or PLANNED_CONTEXT_TOKENS, PLANNED_CONTEXT_TOKENS)
    kv_bytes = context * _kv_bytes_per_token_and_layer(header)
    sizes = _layer_bytes(header)
    count = _layer_count(header)
    left = free_bytes - _WORK_BYTES
    for taken, layer in enumerate(reversed(range(count))):
        left -= sizes.get(layer, 0) + kv_bytes
        if left < 0:
            return taken
    return count + (left >= _output_bytes(header))


def _layer_bytes(header: GGUFHeader) -> dict[int, int]:
    sizes: dict[int, int] = defaultdict(int)
    for tensor in header.tensors:
        if found := re.match(r"blk\.(\d+)\.", tensor.name):
            sizes[int(found[1])] += _bytes(tensor)
    return sizes


def _output_bytes(header: GGUFHeader) -> int:
    """Return the bytes of the output product: the embeddings' where it has no own weights."""
    sizes = {tensor.name: _bytes(tensor) for tensor in header.tensors}
    return sizes.get(_OUTPUT, sizes.get(_EMBEDDINGS, 0))


def _bytes(tensor: TensorInfo) -> int:
    """Return a tensor's bytes; of a type that is not known, as if it were in 8 bits."""
    weights, size_bytes = BLOCKS.get(tensor.type, (1, 1))
    return prod(tensor.shape) * size_bytes // weights


def _layer_count(header: GGUFHeader) -> int:
    found = header.metadata.get(f"{header.architecture}.block_count")
    return found if isinstance(found, int) else len(_layer_bytes(header))


def _kv_bytes_per_token_and_layer(header: GGUFHeader) -> int:
    def value(key: str, default: int) -> int:
        found = header.metadata.get(f"{header.architecture}.attention.{key}", default)
        return found if isinstance(found, int) else default

    heads = value("head_count", 1)
    width = int(header.metadata.get(f"{header.architecture}.embedding_length", 0)) // heads
    widths = value("key_length", width) + value("value_length", width)
    return value("head_count_kv", heads) * widths * _KV_BYTES
