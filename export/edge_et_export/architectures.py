"""The architectures that become GGUF: one row each. What the rows have in common is code once.

llama.cpp has one hand-written graph per architecture. A row says what that graph must be told,
what it takes for granted, and how it wants the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_et.errors import ExportError

# (method of gguf.GGUFWriter, field of config.json) of every architecture.
_COMMON_NUMBERS = (
    ("add_block_count", "num_hidden_layers"),
    ("add_context_length", "max_position_embeddings"),
    ("add_embedding_length", "hidden_size"),
    ("add_feed_forward_length", "intermediate_size"),
    ("add_head_count", "num_attention_heads"),
    ("add_head_count_kv", "num_key_value_heads"),
    ("add_layer_norm_rms_eps", "rms_norm_eps"),
    ("add_rope_freq_base", "rope_theta"),
    # Absent where a head is hidden / heads wide.
    ("add_key_length", "head_dim"),
    ("add_value_length", "head_dim"),
)
_LLAMA_NUMBERS = (("add_vocab_size", "vocab_size"), ("add_rope_dimension_count", "head_dim"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """One row. `fixed`, `layers` and `equal` are what llama.cpp cannot be told otherwise."""

    model_class: str
    """Of transformers, as `architectures` of config.json names it."""
    gguf: str
    """llama.cpp's name, and the family of the manifest."""
    paired_rope: bool = False
    """llama.cpp rotates neighbouring rows of q and k, transformers the halves of a head."""
    norm_offset: float = 0.0
    """What the model adds to the weights of its norms before it multiplies."""
    space_prefix_key: bool = False
    """Say of tokenizer_config.json's `add_prefix_space`, as llama.cpp's own converter does."""
    rope_scalings: tuple[str, ...] = ("linear", "yarn")
    numbers: tuple[tuple[str, str], ...] = ()
    """(method, field) beyond the common ones; a field that is absent or null is left out."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    layers: Mapping[str, Callable[[int], Any]] = field(default_factory=dict)
    """Fields that list a value per layer."""
    equal: tuple[tuple[str, str], ...] = ()
    """Fields that llama.cpp takes to be one."""


_SILU = {"hidden_act": "silu", "use_sliding_window": False}
_NO_BIASES = {"attention_bias": False, "mlp_bias": False}

ARCHITECTURES = (
    Architecture(
        model_class="Qwen3ForCausalLM",
        gguf="qwen3",
        fixed={**_SILU, "attention_bias": False},
    ),
    Architecture(model_class="Qwen2ForCausalLM", gguf="qwen2", fixed=_SILU),
    Architecture(
        model_class="LlamaForCausalLM",
        gguf="llama",
        paired_rope=True,
        space_prefix_key=True,
        rope_scalings=("linear", "yarn", "llama3"),
        numbers=_LLAMA_NUMBERS,
        fixed={**_SILU, **_NO_BIASES},
    ),
    Architecture(
        model_class="SmolLM3ForCausalLM",
        gguf="smollm3",
        paired_rope=True,
        space_prefix_key=True,
        numbers=_LLAMA_NUMBERS,
        fixed={**_SILU, **_NO_BIASES},
        # 1 is a layer with rotary positions.
        layers={"no_rope_layers": lambda layer: int((layer + 1) % 4 != 0)},
    ),
    Architecture(
        model_class="Gemma3ForCausalLM",
        gguf="gemma3",
        norm_offset=1.0,
        rope_scalings=("linear",),
        numbers=(
            ("add_sliding_window", "sliding_window"),
            ("add_rope_freq_base_swa", "rope_local_base_freq"),
            ("add_final_logit_softcapping", "final_logit_softcapping"),
        ),
        fixed={
            "hidden_activation": "gelu_pytorch_tanh",
            "attention_bias": False,
            "attn_logit_softcapping": None,
            "use_bidirectional_attention": False,
        },
        layers={
            "layer_types": lambda layer: (
                "sliding_attention" if (layer + 1) % 6 else "full_attention"
            )
        },
        equal=(("query_pre_attn_scalar", "head_dim"),),
    ),
)


def architecture_named(model_class: str, where: object) -> Architecture:
    """Return the row of a transformers class; raise ExportError listing the known ones."""
    for row in ARCHITECTURES:
        if row.model_class == model_class:
            return row
    known = ", ".join(row.model_class for row in ARCHITECTURES)
    raise ExportError(f"{where} is a {model_class}; reasoners are {known} checkpoints")


def head_dim_of(config: Any) -> int:
    size = getattr(config, "head_dim", None)
    return int(size or config.hidden_size // config.num_attention_heads)


def refuse_unknown(row: Architecture, config: Any) -> None:
    """Raise ExportError for the first field whose value llama.cpp would compute otherwise."""
    for name, known in row.fixed.items():
        found = getattr(config, name, known)
        if found != known:
            raise ExportError(f"{name} is {found!r}; known is {known!r}")
    for name, rule in row.layers.items():
        wanted = [rule(layer) for layer in range(config.num_hidden_layers)]
        found = list(getattr(config, name))
        if found != wanted:
            raise ExportError(f"{name} is {found}; llama.cpp's {row.gguf} has {wanted}")
    for one, other in row.equal:
        a, b = getattr(config, one), getattr(config, other)
        if a != b:
            raise ExportError(f"{one} is {a} and {other} is {b}; llama.cpp takes them to be equal")


def add_numbers(writer: Any, row: Architecture, config: Any) -> None:
    for method, name in _COMMON_NUMBERS + row.numbers:
        value = getattr(config, name, None)
        if value is None and method == "add_rope_dimension_count":
            value = head_dim_of(config)
        if value is not None:
            getattr(writer, method)(value)


def stored(row: Architecture, config: Any, name: str, tensor: Any) -> Any:
    """Return `tensor` (transformers' name) as llama.cpp wants it."""
    if row.paired_rope and name.endswith("q_proj.weight"):
        return _to_pairs(tensor, config.num_attention_heads)
    if row.paired_rope and name.endswith("k_proj.weight"):
        return _to_pairs(tensor, config.num_key_value_heads)
    if row.norm_offset and name.endswith("norm.weight"):
        return tensor + row.norm_offset
    return tensor


def _to_pairs(tensor: Any, heads: int) -> Any:
    """Reorder the rows of each head: its two halves become neighbours."""
    rows, columns = tensor.shape
    halves = tensor.reshape(heads, 2, rows // heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)
