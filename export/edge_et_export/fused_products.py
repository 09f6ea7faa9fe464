"""Block-quantized products of the same rows -> one product, split afterwards.

The builder joins queries, keys and values; gate and up it leaves apart. Each product of a token's
one row is short, and starting the threads for it is not: joined, a token of the 0.6B extractor in 4
bits is written 5 % sooner (docs/decisions/0008). The numbers stay the same, weight for weight.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper

from edge_et_export.graph_files import (
    GraphFile,
    TensorWriter,
    attributes,
    data_file,
    quantized_products,
    written,
)


def rewrite(built: Path, target: Path) -> list[Path]:
    """Write the decoder at `built` anew to `target` and `<target>_data`; return both."""
    graph = GraphFile.read(built)
    groups = list(_groups(graph))
    with written(graph, target) as writer:
        gone = {name for group in groups for node in group for name in node.input[1:]}
        for name in graph.tensors.keys() - gone:
            writer.add(name, graph.array(name))
        made = {group[0].name: _joined(graph, group, writer) for group in groups}
        joined = {node.name for group in groups for node in group}
        nodes = [
            new
            for node in graph.model.graph.node
            for new in (made.get(node.name, []) if node.name in joined else [node])
        ]
        del graph.model.graph.node[:]
        graph.model.graph.node.extend(nodes)
    return [target, data_file(target)]


def _groups(graph: GraphFile) -> Iterator[list[Any]]:
    """Yield products of the same rows, in blocks and bits alike, two or more at a time.

    The nodes between them do not matter: where the first stands its input is there, and all that
    read their outputs come later.
    """
    same: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for node in quantized_products(graph):
        sizes = attributes(node)
        kind = sorted((name, size) for name, size in sizes.items() if name != "N")
        same[(node.input[0], len(node.input), *kind)].append(node)
    yield from (group for group in same.values() if len(group) > 1)


def _joined(graph: GraphFile, group: list[Any], writer: TensorWriter) -> list[Any]:
    """Return the nodes in place of a group, and write their tensors."""
    first = group[0]
    name = f"{first.name}.joined"
    sizes = [attributes(node)["N"] for node in group]
    tensors = [f"{name}.{what}" for what in ("weight", "scales", "zeros")][: len(first.input) - 1]
    for place, tensor in enumerate(tensors, start=1):
        parts = [graph.array(node.input[place]) for node in group]
        rows = [part.reshape(size, -1) for part, size in zip(parts, sizes, strict=True)]
        whole = np.concatenate(rows)
        writer.add(tensor, whole.reshape(-1, *parts[0].shape[1:]))
    writer.add(f"{name}.sizes", np.array(sizes, np.int64))
    product = helper.make_node(
        "MatMulNBits", [first.input[0], *tensors], [name], name,
        domain=first.domain, **(attributes(first) | {"N": sum(sizes)}),
    )  # fmt: skip
    outputs = [node.output[0] for node in group]
    split = helper.make_node("Split", [name, f"{name}.sizes"], outputs, f"{name}.split", axis=-1)
    return [product, split]
