"""The rows of the architectures, and the rules on stretched positions."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from edge_et.errors import ExportError
from edge_et_export.architectures import (
    ARCHITECTURES,
    add_numbers,
    architecture_named,
    refuse_unknown,
    stored,
)
from edge_et_export.quantizer import TYPES
from edge_et_export.rope import add_scaling, scaling_of

ROWS = {row.gguf: row for row in ARCHITECTURES}


class Recorder:
    """A writer that notes what it is told."""

    def __init__(self):
        self.told = {}

    def __getattr__(self, name):
        return lambda value: self.told.__setitem__(name, value)


def gemma(**changes):
    layers = ["sliding_attention"] * 5 + ["full_attention", "sliding_attention"]
    fields = {
        "num_hidden_layers": 7, "layer_types": layers, "head_dim": 16,
        "query_pre_attn_scalar": 16, "hidden_activation": "gelu_pytorch_tanh",
        "attn_logit_softcapping": None,
    }  # fmt: skip
    return SimpleNamespace(**{**fields, **changes})


def test_one_row_each():
    assert len({row.model_class for row in ARCHITECTURES}) == len(ARCHITECTURES) == len(ROWS)
    assert architecture_named("LlamaForCausalLM", "x") is ROWS["llama"]
    with pytest.raises(ExportError, match=r"here is a GPT2LMHeadModel.*Qwen3ForCausalLM.*Gemma3"):
        architecture_named("GPT2LMHeadModel", "here")


def test_the_rows_name_what_gguf_and_llama_cpp_have():
    gguf = pytest.importorskip("gguf")
    for row in ARCHITECTURES:
        assert gguf.MODEL_ARCH[row.gguf.upper()] in gguf.MODEL_ARCH_NAMES
        assert all(hasattr(gguf.GGUFWriter, method) for method, _ in row.numbers)
    names = {"f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q4_0": "MOSTLY_Q4_0"}
    for name, number in TYPES.items():
        assert gguf.LlamaFileType(number).name == names.get(name, f"MOSTLY_{name.upper()}")


def test_fields_with_one_known_value():
    refuse_unknown(ROWS["gemma3"], gemma())
    for field, value in (
        ("hidden_activation", "gelu"),
        ("attn_logit_softcapping", 50.0),
        ("use_bidirectional_attention", True),
        ("attention_bias", True),
        ("layer_types", ["full_attention"] * 7),
        ("query_pre_attn_scalar", 24),
    ):
        with pytest.raises(ExportError, match=field):
            refuse_unknown(ROWS["gemma3"], gemma(**{field: value}))


def test_layers_without_positions():
    config = SimpleNamespace(num_hidden_layers=5, no_rope_layers=[1, 1, 1, 0, 1])
    refuse_unknown(ROWS["smollm3"], config)
    config.no_rope_layers = [1, 1, 0, 1, 1]
    with pytest.raises(ExportError, match=r"no_rope_layers is \[1, 1, 0, 1, 1\]"):
        refuse_unknown(ROWS["smollm3"], config)


def test_a_field_that_is_absent_is_left_out_and_a_head_size_computed():
    writer = Recorder()
    config = SimpleNamespace(hidden_size=64, num_attention_heads=4, vocab_size=9)
    add_numbers(writer, ROWS["llama"], config)
    assert writer.told == {
        "add_embedding_length": 64,
        "add_head_count": 4,
        "add_vocab_size": 9,
        "add_rope_dimension_count": 16,
    }


def test_halves_become_neighbours():
    config = SimpleNamespace(num_attention_heads=2, num_key_value_heads=1)
    rows = np.arange(8)[:, None] * np.ones((1, 3))
    q = stored(ROWS["llama"], config, "model.layers.0.self_attn.q_proj.weight", rows)
    assert q[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    k = stored(ROWS["llama"], config, "model.layers.0.self_attn.k_proj.weight", rows)
    assert k[:, 0].tolist() == [0, 4, 1, 5, 2, 6, 3, 7]
    for name, row in (("self_attn.v_proj.weight", "llama"), ("self_attn.q_proj.weight", "qwen2")):
        assert stored(ROWS[row], config, name, rows) is rows


def test_norms_are_shifted_where_the_model_shifts_them():
    weights = np.zeros(3)
    assert stored(ROWS["gemma3"], None, "model.norm.weight", weights).tolist() == [1, 1, 1]
    assert stored(ROWS["qwen3"], None, "model.norm.weight", weights) is weights


def scaled(**scaling):
    return SimpleNamespace(rope_scaling=scaling, model_type="m", max_position_embeddings=512)


def test_scalings():
    assert scaling_of(SimpleNamespace(rope_scaling=None), ("linear",)) == {}
    assert scaling_of(scaled(rope_type="default"), ("linear",)) == {}
    assert scaling_of(scaled(type="linear", factor=2.0), ("linear",)) == {
        "rope_type": "linear",
        "factor": 2.0,
    }
    for kind in ("dynamic", "longrope", "llama3"):
        with pytest.raises(ExportError, match=f"'{kind}' is not supported for m; known: linear"):
            scaling_of(scaled(rope_type=kind, factor=2.0), ("linear",))
    with pytest.raises(ExportError, match="'yarn' with 'mscale'"):
        scaling_of(scaled(rope_type="yarn", factor=2.0, mscale=1.0), ("yarn",))
    with pytest.raises(ExportError, match="names no factor"):
        scaling_of(scaled(rope_type="linear"), ("linear",))


def test_yarn_without_an_original_length_takes_the_models():
    pytest.importorskip("gguf")
    writer = Recorder()
    add_scaling(writer, {"rope_type": "yarn", "factor": 4.0, "beta_slow": 2.0}, scaled())
    assert writer.told.pop("add_rope_scaling_type").value == "yarn"
    assert writer.told == {
        "add_rope_scaling_factor": 4.0,
        "add_rope_scaling_orig_ctx_len": 512,
        "add_rope_scaling_yarn_beta_slow": 2.0,
    }
