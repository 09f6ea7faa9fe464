"""A recurrent state cannot go back: a model with one reads its prompts from the first token on."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest

from edge_et import llama
from edge_et.config import SamplingConfig
from edge_et.gguf_header import read_header

gguf = pytest.importorskip("gguf")
WIDTH, INNER, STATE, RANK, CONV, WORDS, LAYERS = 64, 128, 16, 4, 4, 96, 2


def write_mamba(path: Path) -> None:
    """Write a Mamba of random weights, without a tokenizer."""
    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "mamba")
    writer.add_context_length(1024)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_block_count(LAYERS)
    writer.add_ssm_conv_kernel(CONV)
    writer.add_ssm_inner_size(INNER)
    writer.add_ssm_state_size(STATE)
    writer.add_ssm_time_step_rank(RANK)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(WORDS)
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (WORDS, WIDTH), "output_norm.weight": (WIDTH,),
    }  # fmt: skip
    for layer in range(LAYERS):
        shapes |= {
            f"blk.{layer}.{name}": shape
            for name, shape in {
                "attn_norm.weight": (WIDTH,),
                "ssm_in.weight": (2 * INNER, WIDTH),
                "ssm_conv1d.weight": (INNER, CONV),
                "ssm_conv1d.bias": (INNER,),
                "ssm_x.weight": (RANK + 2 * STATE, INNER),
                "ssm_dt.weight": (INNER, RANK),
                "ssm_dt.bias": (INNER,),
                "ssm_a": (INNER, STATE),
                "ssm_d": (INNER,),
                "ssm_out.weight": (WIDTH, INNER),
            }.items()
        }
    for name, shape in shapes.items():
        values = rng.normal(0, 0.2, shape).astype(np.float32)
        if name.endswith(("norm.weight", "ssm_d")):
            values += 1
        writer.add_tensor(name, -np.abs(values) - 0.1 if name.endswith("ssm_a") else values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def context(tmp_path: Path) -> Generator[llama.Context]:
    write_mamba(tmp_path / "mamba.gguf")
    model = llama.Model(read_header(tmp_path / "mamba.gguf"), "cpu")
    context = llama.Context(model, context_tokens=512, threads=1)
    yield context
    context.close()
    model.close()


def test_nothing_is_kept_and_nothing_changes(context: llama.Context) -> None:
    prompt = np.random.default_rng(1).integers(0, WORDS, 200).tolist()
    greedy = SamplingConfig()
    context.start(prompt, greedy, lambda: False)
    wanted = context.logits()
    assert np.isfinite(wanted).all()
    assert context.start(prompt, greedy, lambda: False) == 0
    assert np.array_equal(context.logits(), wanted)


def test_reading_ahead_only_goes_forward(context: llama.Context) -> None:
    prompt = np.random.default_rng(2).integers(0, WORDS, 200).tolist()
    greedy = SamplingConfig()
    context.start(prompt, greedy, lambda: False)
    wanted = context.logits()
    context.forget()
    assert context.read_ahead(prompt[:130], lambda: False, threads=1) == 128
    assert context.start(prompt, greedy, lambda: False) == 128
    assert np.allclose(context.logits(), wanted, atol=1e-4)
