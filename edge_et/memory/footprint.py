"""What each half takes, from its files: weights, KV cache a token, activations, libraries.

The constants were measured (docs/memory.md says on what); sizes of weights and KV caches follow
from the files.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path

from edge_et import saturation, tiling
from edge_et.errors import ImageError
from edge_et.gguf_header import GGUFHeader
from edge_et.int8_cache import FLAG, rounding_bytes
from edge_et.manifest import ExtractorManifest, ImagePolicy, Part
from edge_et.ort import runtime
from edge_et.threads import usable_threads

_MIB = 1024 * 1024
_ORT_BYTES = 16 * _MIB
"""Pages of onnxruntime's library that running touches, and its threads; beside what asking for
overflows (`edge_et.saturation`) has touched before a plan is made."""
_LLAMA_BYTES = 5 * _MIB
_TOKENIZER_PER_FILE = 4.3
"""Memory of a tokenizer, per byte of its tokenizer.json."""
_VISION_LOAD = 0.9
"""Of an inline graph's bytes: what its parsing needs beside the weights. Half of it at the first
time, all of it when the graph was released and comes back."""
_UINT8_LOAD = 0.6
"""Of a graph's bytes, where its int8 weights are turned into uint8 (`edge_et.saturation`)."""
_INT8_WEIGHTS = {"int8": "vision_encoder", "w8a8": "decoder"}
"""Precision -> the graph that has such weights in it: a decoder in int8 has them in blocks."""
_VISION_PER_FILE = 1.04
_PATCH_BYTES, _PATCH_PAIR_BYTES = 52_000, 64
"""A vision tower's activations: a patch's rows in its widest layer, and attention scores."""
_FUSED_PATCH_BYTES = 110_000
"""All of them, a patch, where attention is one node and no score is kept."""
_FUSED_ATTENTION = "MultiHeadAttention"
_NODES_BYTES = 16 * _MIB
"""A graph's nodes lie before its weights, within this."""
_ROW_WIDTHS = 50
"""A decoder's activations, in rows of its hidden size and float32."""
_HEADS_PER_KV_HEAD, _SCORE_BYTES = 2, 12
_DECODER_PER_FILE = 1.02
_KV_BYTES = {"fp16": 2, "q4f16": 2}
_GGUF_KV_BYTES = 2
_VOCABULARY_BYTES = 166
"""Of one token in llama.cpp's tables."""
_GGUF_BATCH_TOKENS = 512
_GGUF_WORK_BYTES = 4 * _MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractorFootprint:
    vision_bytes: int
    """Of the loaded session: onnxruntime keeps one copy, packed, on the heap."""
    vision_load_bytes: int
    """More than that while it is loaded."""
    vision_work_bytes: int
    """While an image is encoded."""
    decoder_bytes: int
    decoder_load_bytes: int
    """The largest matrix is there twice while it is packed, or int8 weights beside uint8 ones."""
    row_bytes: int
    """A token's features or embedding, in float32."""
    decoder_bytes_per_row: int
    """Activations of one row of a prefill run."""
    decoder_bytes_per_score: int
    """Attention scores of one row of such a run with one token."""
    kv_bytes_per_token: int
    kv_int8_bytes_per_token: int
    """Of the second cache, from which tokens are written; 0 where the graph has none."""
    rounding_bytes: int
    """While that one is made of the first."""
    context_tokens: int
    image_tokens: dict[int, int]
    """Tiles of a grid -> image tokens at most, of all grids of so many tiles."""
    default_max_tiles: int | None
    tile_px: int
    """Height x width: a small image is enlarged to its tiles."""
    engine_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonerFootprint:
    weights_bytes: int
    """Mapped from the file and read whole for each token, so they count."""
    vocabulary_bytes: int
    kv_bytes_per_token: int
    work_bytes: int
    context_tokens: int
    engine_bytes: int


def of_extractor(
    folder: Path, manifest: ExtractorManifest, parts: tuple[Part, ...]
) -> ExtractorFootprint:
    """Return the footprint of the artifact in `folder` with the graphs among `parts`."""
    spec, policy = manifest.decoder, manifest.image
    vision, decoder = (
        next(p for p in parts if p.role == role) for role in ("vision_encoder", "decoder")
    )
    vision_bytes, decoder_bytes = _graph_bytes(folder, vision), _graph_bytes(folder, decoder)
    patches = policy.patches_per_side**2
    kv_values = 2 * spec.layers * spec.kv_heads * spec.head_dim
    tokenizer_bytes = (folder / "tokenizer.json").stat().st_size
    has_int8 = has_int8_cache(folder / decoder.path)
    return ExtractorFootprint(
        vision_bytes=round(vision_bytes * _VISION_PER_FILE),
        vision_load_bytes=round(vision_bytes * _VISION_LOAD) + _uint8_bytes(vision, vision_bytes),
        vision_work_bytes=_vision_work_bytes(folder / vision.path, patches),
        decoder_bytes=round(decoder_bytes * _DECODER_PER_FILE),
        decoder_load_bytes=max(
            min(decoder_bytes, spec.vocab_size * spec.hidden_size),
            _uint8_bytes(decoder, decoder_bytes),
        ),
        row_bytes=spec.hidden_size * 4,
        decoder_bytes_per_row=spec.hidden_size * 4 * _ROW_WIDTHS,
        decoder_bytes_per_score=spec.kv_heads * _HEADS_PER_KV_HEAD * _SCORE_BYTES,
        kv_bytes_per_token=kv_values * _KV_BYTES.get(decoder.precision, 4),
        kv_int8_bytes_per_token=kv_values if has_int8 else 0,
        rounding_bytes=rounding_bytes(usable_threads()) if has_int8 else 0,
        context_tokens=spec.context_tokens,
        image_tokens=image_tokens(policy),
        default_max_tiles=policy.default_max_tiles,
        tile_px=policy.tile_size_px**2,
        engine_bytes=_ORT_BYTES + round(_TOKENIZER_PER_FILE * tokenizer_bytes),
    )


def of_reasoner(header: GGUFHeader) -> ReasonerFootprint:
    """Return the footprint of a GGUF file; what it does not say is taken as small."""
    arch = header.architecture

    def value(key: str, default: int) -> int:
        found = header.metadata.get(f"{arch}.{key}", default)
        return found if isinstance(found, int) else default

    hidden = value("embedding_length", 1024)
    heads = value("attention.head_count", 16)
    width = value("attention.key_length", hidden // heads)
    width += value("attention.value_length", hidden // heads)
    kv_heads = value("attention.head_count_kv", heads)
    ffn = value("feed_forward_length", 3 * hidden)
    vocabulary = next((t.shape[1] for t in header.tensors if t.name == "token_embd.weight"), 0)
    return ReasonerFootprint(
        weights_bytes=header.path.stat().st_size,
        vocabulary_bytes=vocabulary * _VOCABULARY_BYTES,
        kv_bytes_per_token=value("block_count", 1) * kv_heads * width * _GGUF_KV_BYTES,
        work_bytes=_GGUF_BATCH_TOKENS * 4 * (3 * ffn + 4 * hidden) + _GGUF_WORK_BYTES,
        context_tokens=header.context_tokens,
        engine_bytes=_LLAMA_BYTES,
    )


def image_tokens(policy: ImagePolicy) -> dict[int, int]:
    """Return for each number of tiles the most image tokens that a grid of so many takes."""
    found: dict[int, int] = {}
    for hw in _canvases(policy):
        try:
            grid = tiling.grid_of(hw, policy)
        except ImageError:
            continue
        tiles = 1 if grid is None else 1 + grid[0] * grid[1]
        found[tiles] = max(found.get(tiles, 0), tiling.feature_rows(grid, hw, policy))
    most = 0
    for tiles in sorted(found):
        most = found[tiles] = max(most, found[tiles])
    return found


def _canvases(policy: ImagePolicy) -> list[tuple[int, int]]:
    """List image sizes that fill each of the policy's grids."""
    if policy.name == "anyres":
        return list(policy.grid_pinpoints_px)
    side = policy.tile_size_px
    if policy.longest_edge_px is None:
        return [(side, side)]
    counts = range(1, -(-policy.longest_edge_px // side) + 1)
    return [(side * rows, side * columns) for rows in counts for columns in counts]


def _uint8_bytes(part: Part, graph_bytes: int) -> int:
    # Asked first, and so always: the answer touches pages that `_ORT_BYTES` leaves out.
    turned = saturation.saturates(runtime()) and _INT8_WEIGHTS.get(part.precision) == part.role
    return round(graph_bytes * _UINT8_LOAD) if turned else 0


def _vision_work_bytes(graph: Path, patches: int) -> int:
    if _names(graph, _FUSED_ATTENTION):
        return patches * _FUSED_PATCH_BYTES
    return patches * _PATCH_BYTES + patches**2 * _PATCH_PAIR_BYTES


def has_int8_cache(graph: Path) -> bool:
    """Tell whether a decoder writes tokens from a cache in int8."""
    return _names(graph, FLAG)


def _names(graph: Path, name: str) -> bool:
    """Tell whether a name stands among a graph's nodes: to load it would take its weights, too."""
    with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return text.find(name.encode(), 0, _NODES_BYTES) >= 0


def _graph_bytes(folder: Path, part: Part) -> int:
    """Return the bytes of a graph and the data beside it."""
    path = folder / part.path
    beside = path.with_name(path.name + "_data")
    return path.stat().st_size + (beside.stat().st_size if beside.is_file() else 0)
