"""A vision tower's attention as one node of the graph, through transformers' own hook for it.

Traced as it is written, attention is two products, a softmax over all scores, and five transposed
copies. onnxruntime's MultiHeadAttention works on tiles of the scores that stay in a core's cache.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

_NAME = "edge_et_one_node"
_NODE = "com.microsoft::MultiHeadAttention"
_OPERATOR = "edge_et::attention"
_SCHEMA = "(Tensor query, Tensor key, Tensor value, int heads, float scaling) -> Tensor"


@contextlib.contextmanager
def one_node(tower: PreTrainedModel) -> Iterator[None]:
    """Within, attention without a mask is traced as one node. The tower computes the same."""
    from transformers import AttentionInterface

    AttentionInterface.register(_NAME, _attention)
    configs = {id(m.config): m.config for m in tower.modules() if hasattr(m, "config")}
    before = {key: config._attn_implementation for key, config in configs.items()}
    try:
        for config in configs.values():
            config._attn_implementation = _NAME
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation = before[key]


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    **others: Any,
) -> tuple[Tensor, None]:
    """What transformers calls: all [batch, heads, patches, head_dim] -> [batch, patches, heads,
    head_dim]."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if attention_mask is not None:
        mixed, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **others
        )
        return mixed, None
    heads: int = module.num_heads  # the shape would be a traced number
    rows = [part.transpose(1, 2).flatten(2) for part in (query, key, value)]
    mixed = _operator()(*rows, heads, scaling)
    return mixed.unflatten(2, (heads, -1)), None


@functools.cache
def _operator() -> Callable[..., Tensor]:
    """Return attention of rows [batch, patches, heads x head_dim] as an operator of torch's, once
    it is known which node it becomes."""
    import torch
    from torch.onnx.symbolic_helper import parse_args

    operator: Callable[..., Tensor] = torch.library.custom_op(
        _OPERATOR, _mixed, mutates_args=(), schema=_SCHEMA
    )
    symbolic = parse_args("v", "v", "v", "i", "f")(_node)
    torch.onnx.register_custom_op_symbolic(_OPERATOR, symbolic, 1)
    return operator


def _mixed(query: Tensor, key: Tensor, value: Tensor, heads: int, scaling: float) -> Tensor:
    from torch.nn.functional import scaled_dot_product_attention

    q, k, v = (rows.unflatten(2, (heads, -1)).transpose(1, 2) for rows in (query, key, value))
    mixed: Tensor = scaled_dot_product_attention(q, k, v, scale=scaling)
    return mixed.transpose(1, 2).flatten(2)


def _node(graph: Any, query: Any, key: Any, value: Any, heads: int, scaling: float) -> Any:
    node = graph.op(_NODE, query, key, value, num_heads_i=heads, scale_f=scaling)
    return node.setType(query.type())
