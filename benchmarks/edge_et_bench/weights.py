"""What a stage asks of the hardware, counted in the model's files: bytes a pass, multiply-adds.

Multiply-adds are those with weights; attention scores are left out. The vision encoder's are
counted at the rows of its tower, a projector that packs patches together included.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

from edge_et import llama_library
from edge_et.errors import MissingDependency
from edge_et.extractor import Extractor
from edge_et.gguf_header import BLOCKS, GGUFHeader, TensorInfo, read_header
from edge_et.manifest import ExtractorManifest, Part, PartRole
from edge_et.memory.footprint import has_int8_cache
from edge_et.parts import FP16_ACTIVATIONS
from edge_et_bench.records import Compute, Demand, Outcome, Stage, StageName

_LLAMA_KV_BYTES = 2
"""A number of llama.cpp's cache, which is fp16."""
_EMBEDDINGS, _OUTPUT = "token_embd.weight", "output.weight"
_FLOAT_FTYPES = (0, 1, 32)
"""llama.cpp's numbers of files whose weights are all fp32, fp16 or bf16."""
_PLAIN_PRODUCTS = ("MatMul", "MatMulInteger", "MatMulIntegerToFloat", "Gemm")
_CONVOLUTIONS = ("Conv", "ConvInteger")
_FLOAT_PRECISIONS = ("fp32", "fp16")


def extractor_demands(folder: Path, extractor: Extractor, outcome: Outcome) -> tuple[Demand, ...]:
    """Count for vision, prefill and decode of an extractor that lies in `folder`."""
    eyes, manifest = _chosen(extractor, "vision_encoder"), extractor.manifest
    vision = Demand(
        stage="vision",
        threads=extractor.threads,
        bytes_per_step=_size_bytes(manifest, eyes),
        macs_per_step=manifest.image.patches_per_side**2
        * sum(_weights(folder / eyes.path, besides=None)),
        compute=_compute(eyes.precision),
    )
    decoder = _chosen(extractor, "decoder")
    return vision, *decoder_demands(folder, manifest, decoder, outcome, threads=extractor.threads)


def decoder_demands(
    folder: Path, manifest: ExtractorManifest, decoder: Part, outcome: Outcome, *, threads: int
) -> tuple[Demand, ...]:
    """Count for prefill and decode with the graph `decoder`."""
    spec, stages = manifest.decoder, {stage.name: stage for stage in outcome.stages}
    kv_bytes = 2 if decoder.precision in FP16_ACTIVATIONS else 4
    if has_int8_cache(folder / decoder.path):
        kv_bytes = 1  # but for the first tokens: the share of the ceiling comes out low, not high
    per_position = 2 * spec.layers * spec.kv_heads * spec.head_dim * kv_bytes
    cache_bytes = per_position * _context(stages, "extract_prefill", "extract_decode")
    return (
        Demand(
            stage="extract_prefill",
            threads=threads,
            macs_per_token=sum(_weights(folder / decoder.path, besides=spec.vocab_size)),
            compute=_compute(decoder.precision),
        ),
        Demand(
            stage="extract_decode",
            threads=threads,
            bytes_per_step=_size_bytes(manifest, decoder) + cache_bytes,
            macs_per_token=sum(_weights(folder / decoder.path, besides=None)),
            compute=_compute(decoder.precision),
        ),
    )


def gguf_demands(
    gguf: Path, outcome: Outcome, *, prefill: StageName, decode: Sequence[StageName], threads: int
) -> tuple[Demand, ...]:
    """Count for the stages in which llama.cpp reads and writes with a model in one GGUF file."""
    header = read_header(gguf)
    stages = {stage.name: stage for stage in outcome.stages}
    body = [t for t in header.tensors if t.name not in (_EMBEDDINGS, _OUTPUT)]
    head = _output_weights(header)
    compute: Compute = (
        "fp32" if header.metadata.get("general.file_type") in _FLOAT_FTYPES else "int8"
    )
    context = _context(stages, prefill, *decode)
    read = sum(map(_tensor_bytes, [*body, head])) + context * _kv_bytes_per_position(header)
    layers = sum(prod(t.shape) for t in body if len(t.shape) > 1)
    return (
        Demand(stage=prefill, threads=threads, macs_per_token=layers, compute=compute),
        *(
            Demand(
                stage=name,
                threads=threads,
                bytes_per_step=read,
                macs_per_token=layers + prod(head.shape),
                compute=compute,
            )
            for name in decode
            if name in stages
        ),
    )


def gguf_precision(path: Path) -> str:
    """Return llama.cpp's name of the file's quantization, in lower case."""
    number = read_header(path).metadata.get("general.file_type")
    api = llama_library.runtime()
    names = [n for n in dir(api) if n.startswith("LLAMA_FTYPE_") and getattr(api, n) == number]
    name = names[0] if names else "unknown"
    return name.removeprefix("LLAMA_FTYPE_").removeprefix("MOSTLY_").removeprefix("ALL_").lower()


def _chosen(extractor: Extractor, role: PartRole) -> Part:
    return next(part for part in extractor.parts if part.role == role)


def _size_bytes(manifest: ExtractorManifest, chosen: Part) -> int:
    """Return the bytes of a graph with its external weights."""
    return sum(
        part.size_bytes
        for part in manifest.parts
        if (part.role, part.precision) == (chosen.role, chosen.precision)
    )


def _compute(precision: str) -> Compute:
    return "fp32" if precision in _FLOAT_PRECISIONS else "int8"


def _context(stages: dict[StageName, Stage], prefill: StageName, *decode: StageName) -> int:
    """Return the positions that lie in the cache half-way through the decode stages."""
    made = sum(stages[name].tokens or 0 for name in decode if name in stages)
    return (stages[prefill].tokens or 0) + made // 2


@functools.cache
def _weights(graph: Path, *, besides: int | None) -> tuple[int, ...]:
    """List the number of weights of each product in an ONNX graph.

    A product with `besides` output columns is left out: the head over the vocabulary, which
    prefill runs for its last row only.
    """
    try:
        import onnx
    except ImportError as exc:
        raise MissingDependency(
            "counting multiply-adds needs onnx, which is not installed",
            hint='pip install "edge-et[bench]"',
        ) from exc
    model = onnx.load(graph, load_external_data=False)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    counted = [_product(node, shapes) for node in model.graph.node]
    return tuple(rows * columns for rows, columns in counted if rows and columns != besides)


def _product(node: Any, shapes: dict[str, tuple[int, ...]]) -> tuple[int, int]:
    """Return (inputs, outputs) of a node that multiplies with weights; (0, 0) for others."""
    if node.op_type == "MatMulNBits":
        sizes = {a.name: a.i for a in node.attribute}
        return sizes["K"], sizes["N"]
    weights = shapes.get(node.input[1], ()) if len(node.input) > 1 else ()
    if node.op_type in _PLAIN_PRODUCTS and len(weights) == 2:
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        return (weights[1], weights[0]) if transposed else (weights[0], weights[1])
    if node.op_type in _CONVOLUTIONS and weights:
        return prod(weights[1:]), weights[0]
    return 0, 0


def _output_weights(header: GGUFHeader) -> TensorInfo:
    """Return the head over the vocabulary: the embeddings themselves where they are tied."""
    tensors = {tensor.name: tensor for tensor in header.tensors}
    return tensors.get(_OUTPUT, tensors[_EMBEDDINGS])


def _tensor_bytes(tensor: TensorInfo) -> int:
    weights, block_bytes = BLOCKS[tensor.type]
    return prod(tensor.shape) // weights * block_bytes


def _kv_bytes_per_position(header: GGUFHeader) -> int:
    def number(key: str) -> int:
        return int(header.metadata[f"{header.architecture}.{key}"])

    heads = number("attention.head_count")
    kv_heads = int(header.metadata.get(f"{header.architecture}.attention.head_count_kv", heads))
    per_head = number("embedding_length") // heads
    keys, values = (
        int(header.metadata.get(f"{header.architecture}.attention.{part}_length", per_head))
        for part in ("key", "value")
    )
    return number("block_count") * kv_heads * (keys + values) * _LLAMA_KV_BYTES
