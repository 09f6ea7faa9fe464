"""Block-quantized products -> products of whole rows and columns, for processors with int8 tiles.

A MatMulNBits scales its int8 sums block by block, which keeps AMX, VNNI and i8mm kernels idle. With
one scale a weight column and one an activation row (a token) the sums run through, and a prompt is
read about twice as fast (docs/decisions/0005). A row with outliers loses by it what a block would
have kept to itself, so the products whose inputs have such rows stay as they are; they are found by
running the graph on the export's reference prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from edge_et import ort
from edge_et.graphs import cache_names
from edge_et.manifest import DecoderSpec
from edge_et.threads import usable_threads
from edge_et_export.graph_files import (
    GraphFile,
    TensorWriter,
    attributes,
    data_file,
    quantized_products,
    written,
)

F32 = npt.NDArray[np.float32]

MAX_ROUNDING_ERROR = 0.02
"""Relative, of the activations, in the mean over the tokens: normally distributed ones have 0.008,
and at 0.02 a row's largest value is 9 times its root mean square."""
_LEVELS = 127
_ROWS = 512
"""Tokens of the reference prompt that are looked at."""
_AXIS, _TINY, _STEP, _MIDDLE = "w8a8.axis", "w8a8.tiny", "w8a8.step", "w8a8.middle"
_CONTRIB = "com.microsoft"


def rewrite(blocks: Path, target: Path, prompt: F32, spec: DecoderSpec) -> list[Path]:
    """Write the int8 decoder at `blocks` anew to `target` and `<target>_data`; return both.

    `prompt` [tokens, H]: what its activations are judged by. The head keeps its blocks: it has one
    row only.
    """
    graph = GraphFile.read(blocks)
    errors = rounding_errors(graph, prompt, spec)
    chosen = [node for node in products(graph) if errors[node.input[0]] <= MAX_ROUNDING_ERROR]
    with written(graph, target) as writer:
        _rewrite(graph, {node.name for node in chosen}, writer)
    return [target, data_file(target)]


def rounding_errors(graph: GraphFile, prompt: F32, spec: DecoderSpec) -> dict[str, float]:
    """Return, for the input of each product, the error of rounding it with one scale a token.

    Relative to its root mean square; the quadratic mean over the first tokens of `prompt`.
    """
    inputs = list(dict.fromkeys(node.input[0] for node in products(graph)))
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    # One number a token leaves the graph: the activations themselves would take gigabytes.
    for name in inputs:
        model.graph.node.extend(_crest(name))
        model.graph.output.append(helper.make_empty_tensor_value_info(f"{name}.crest"))
    model.graph.initializer.extend(_constants()[:2])
    probe = graph.path.with_name("probe.onnx")
    onnx.save(model, probe)
    try:
        session = ort.Session(probe, "cpu", usable_threads())
        rows = prompt[None, :_ROWS].astype(np.float32)
        empty = np.zeros((1, spec.kv_heads, 0, spec.head_dim), np.float32)
        feeds = {past: empty for past, _ in cache_names(spec.layers)}
        feeds |= {"inputs_embeds": rows, "attention_mask": np.ones(rows.shape[:2], np.int64)}
        crests = session.run_all(feeds, [f"{name}.crest" for name in inputs])
    finally:
        probe.unlink()
    steps = [np.sqrt(np.mean(np.square(c, dtype=np.float64))) / _LEVELS for c in crests]
    return {name: float(step) / 12**0.5 for name, step in zip(inputs, steps, strict=True)}


def products(graph: GraphFile) -> Iterator[Any]:
    """Yield the block-quantized products of 8 bits without zero points, but for the head."""
    ends = {output.name for output in graph.model.graph.output}
    for node in quantized_products(graph):
        plain = attributes(node)["bits"] == 8 and len(node.input) == 3
        if plain and node.output[0] not in ends:
            yield node


def _rewrite(graph: GraphFile, chosen: set[str], writer: TensorWriter) -> None:
    nodes: list[Any] = []
    gone: set[str] = set()
    rounded: set[str] = set()
    for node in graph.model.graph.node:
        if node.name not in chosen:
            nodes.append(node)
            continue
        rows = node.input[0]
        if rows not in rounded:  # gate and up read the same one
            rounded.add(rows)
            nodes += _rounded(rows)
        weights, scales = _columns(graph, node)
        gone |= set(node.input[1:3])
        writer.add(f"{node.name}.weight", weights)
        writer.add(f"{node.name}.scale", scales)
        writer.add(f"{node.name}.zero", np.zeros(len(scales), np.int8))
        nodes += _product(node, rows)
    for name in graph.tensors.keys() - gone:
        writer.add(name, graph.array(name))
    if chosen:
        writer.tensors += _constants()
    del graph.model.graph.node[:]
    graph.model.graph.node.extend(nodes)


def _columns(graph: GraphFile, node: Any) -> tuple[npt.NDArray[np.int8], F32]:
    """Return the weights of a product as int8 [K, N] and a scale for each column [N]."""
    sizes = attributes(node)
    blocks = graph.array(node.input[1]).reshape(sizes["N"], -1, sizes["block_size"])
    scales = graph.array(node.input[2]).reshape(sizes["N"], -1, 1)
    exact = ((blocks.astype(np.float32) - 128) * scales).reshape(sizes["N"], -1)[:, : sizes["K"]]
    step = np.maximum(np.abs(exact).max(axis=1), np.finfo(np.float32).tiny) / _LEVELS
    rounded = np.rint(exact / step[:, None]).clip(-_LEVELS, _LEVELS)
    return rounded.astype(np.int8).T, step.astype(np.float32)


def _rounded(rows: str) -> list[Any]:
    """Round the rows of a tensor to uint8 around 128, each by its own largest value."""
    return [
        *_largest(rows),
        helper.make_node("Div", [rows, f"{rows}.largest"], [f"{rows}.unit"], f"{rows}.unit"),
        helper.make_node(
            "QuantizeLinear", [f"{rows}.unit", _STEP, _MIDDLE], [f"{rows}.u8"], f"{rows}.u8"
        ),
    ]


def _product(node: Any, rows: str) -> list[Any]:
    of = f"{node.name}."
    inputs = [f"{rows}.u8", f"{of}weight", _STEP, f"{of}scale", _MIDDLE, f"{of}zero"]
    return [
        helper.make_node("MatMulIntegerToFloat", inputs, [f"{of}unit"], node.name, domain=_CONTRIB),
        helper.make_node("Mul", [f"{of}unit", f"{rows}.largest"], node.output, f"{of}scaled"),
    ]


def _crest(rows: str) -> list[Any]:
    """Return nodes for largest / root mean square of each row."""
    make: Callable[..., Any] = helper.make_node
    return [
        *_largest(rows),
        make("Mul", [rows, rows], [f"{rows}.square"]),
        make("ReduceMean", [f"{rows}.square", _AXIS], [f"{rows}.mean"], keepdims=1),
        make("Sqrt", [f"{rows}.mean"], [f"{rows}.rms"]),
        make("Max", [f"{rows}.rms", _TINY], [f"{rows}.rms1"]),
        make("Div", [f"{rows}.largest", f"{rows}.rms1"], [f"{rows}.crest"]),
    ]


def _largest(rows: str) -> list[Any]:
    make: Callable[..., Any] = helper.make_node
    return [
        make("Abs", [rows], [f"{rows}.abs"], f"{rows}.abs"),
        make("ReduceMax", [f"{rows}.abs", _AXIS], [f"{rows}.max"], f"{rows}.max", keepdims=1),
        make("Max", [f"{rows}.max", _TINY], [f"{rows}.largest"], f"{rows}.largest"),
    ]


def _constants() -> list[Any]:
    tiny, step = np.float32(1e-30), np.float32(1 / _LEVELS)
    return [
        numpy_helper.from_array(np.array([-1], np.int64), _AXIS),
        numpy_helper.from_array(np.array(tiny), _TINY),
        numpy_helper.from_array(np.array(step), _STEP),
        numpy_helper.from_array(np.array(128, np.uint8), _MIDDLE),
    ]
