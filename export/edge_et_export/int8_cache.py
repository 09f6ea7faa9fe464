"""A decoder's attention -> one that can also read its KV cache in int8.

Writing a token reads the whole cache once, and onnxruntime's attention over int8 is more than twice
as fast at it; reading a prompt with it is three times slower (docs/decisions/0008). So each
attention becomes a choice between the two, taken anew at each run; no weight lies inside it, so
there is one copy of the weights. The runtime's side is `edge_et.int8_cache`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from edge_et.errors import ExportError
from edge_et.graphs import cache_names
from edge_et.int8_cache import FLAG, int8_names, scale_names
from edge_et.manifest import DecoderSpec

_ATTENTION = "GroupQueryAttention"
_PAST, _SCALES = slice(3, 5), slice(12, 14)  # places among its inputs
_PER_CHANNEL = {"k_quant_type": "PER_CHANNEL", "v_quant_type": "PER_CHANNEL"}


def add(path: Path, spec: DecoderSpec) -> None:
    """Rewrite the graph at `path` in place; its weights beside it are not touched.

    New inputs: int8_cache [] bool, and for each layer and part past_int8.i.part int8
    [1, kv_heads, capacity, head_dim] and int8_scale.i.part [1, kv_heads, 1, head_dim] float32, the
    size of a step for each channel; new outputs: present_int8.i.part. The buffers of the kind that
    a run does not use are left as they are.
    """
    model = onnx.load(path, load_external_data=False)
    graph = model.graph
    layers = [node for node in graph.node if node.op_type == _ATTENTION]
    if len(layers) != spec.layers:
        raise ExportError(
            f"{path.name} has {len(layers)} attentions for {spec.layers} layers; "
            "an int8 cache needs one each"
        )
    names = cache_names(spec.layers)
    for layer, node in enumerate(layers):
        parts = slice(2 * layer, 2 * layer + 2)
        if [past for past, _ in names[parts]] != list(node.input[_PAST]):
            raise ExportError(f"{path.name}: {node.name} does not read the cache of layer {layer}")
        choice = _choice(node, int8_names(spec.layers)[parts], scale_names(spec.layers)[parts])
        node.CopyFrom(choice)
    cache = ["batch_size", spec.kv_heads, "int8_sequence_length", spec.head_dim]
    graph.input.append(helper.make_tensor_value_info(FLAG, TensorProto.BOOL, []))
    for past, present in int8_names(spec.layers):
        graph.input.append(helper.make_tensor_value_info(past, TensorProto.INT8, cache))
        graph.output.append(helper.make_tensor_value_info(present, TensorProto.INT8, cache))
    for scale in scale_names(spec.layers):
        shape = [1, spec.kv_heads, 1, spec.head_dim]
        graph.input.append(helper.make_tensor_value_info(scale, TensorProto.FLOAT, shape))
    onnx.save(model, path)


def _choice(node: Any, small: list[tuple[str, str]], scales: list[str]) -> Any:
    """Return an If in place of an attention: over the int8 cache or over the exact one."""
    exact = list(zip(node.input[_PAST], node.output[1:3], strict=True))
    outputs = [*node.output, *(present for _, present in small)]
    inputs = [*node.input, *[""] * (_SCALES.stop - len(node.input))]
    inputs[_PAST], inputs[_SCALES] = [past for past, _ in small], scales
    return helper.make_node(
        "If",
        [FLAG],
        outputs,
        f"{node.name}/choice",
        then_branch=_branch(node, "int8", inputs, {**_PER_CHANNEL, "kv_cache_bit_width": 8}, exact),
        else_branch=_branch(node, "exact", list(node.input), {}, small),
    )


def _branch(
    node: Any,
    kind: str,
    inputs: list[str],
    attributes: dict[str, Any],
    unused: list[tuple[str, str]],
) -> Any:
    """Return a graph of the attention with these inputs, and of nothing for the `unused` cache.

    Its outputs are those of the choice in their order: attention, exact cache, int8 cache.
    onnxruntime lets a branch write into the choice's own outputs, and an Identity whose input and
    output are one buffer does nothing: so both caches are updated in place, or not at all.
    """
    inside = {name: f"{name}/{kind}" for name in (*node.output[:1], *(out for _, out in unused))}
    own = [f"{node.name}/{kind}/key", f"{node.name}/{kind}/value"]
    attention = helper.make_node(
        _ATTENTION, inputs, [inside[node.output[0]], *own], f"{node.name}/{kind}",
        domain=node.domain,
    )  # fmt: skip
    attention.attribute.extend(node.attribute)
    attention.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())
    kept = [helper.make_node("Identity", [past], [inside[present]]) for past, present in unused]
    idle = [inside[present] for _, present in unused]
    exact, small = (idle, own) if kind == "int8" else (own, idle)
    outputs = [
        helper.make_tensor_value_info(name, dtype, None)
        for names, dtype in (
            ([inside[node.output[0]], *exact], TensorProto.FLOAT),
            (small, TensorProto.INT8),
        )
        for name in names
    ]
    return helper.make_graph([attention, *kept], f"{node.name}/{kind}", [], outputs)
