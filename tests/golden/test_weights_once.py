"""llama.cpp's weights lie in memory once, whether it reads them as they are or laid out anew."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

from edge_et import llama, llama_library
from edge_et.gguf_header import read_header
from edge_et.memory.measure import give_back, resident_bytes

gguf = pytest.importorskip("gguf")
WIDTH, INNER, HEADS, WORDS, LAYERS = 512, 2048, 8, 256, 16


def write_llama(path: Path, quantized: str) -> None:
    """Write a Llama of random weights (64 million), without a tokenizer."""
    rng, kind = np.random.default_rng(0), gguf.GGMLQuantizationType[quantized]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(256)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_block_count(LAYERS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(WORDS)
    square, up, down = (WIDTH, WIDTH), (INNER, WIDTH), (WIDTH, INNER)
    shapes: dict[str, tuple[int, ...]] = {"token_embd": (WORDS, WIDTH), "output": (WORDS, WIDTH)}
    # In files that people have, norms lie between the products: so all of the file is mapped.
    for layer in (f"blk.{n}." for n in range(LAYERS)):
        shapes |= {f"{layer}attn_norm": (WIDTH,), f"{layer}ffn_norm": (WIDTH,)}
        shapes |= {f"{layer}attn_{name}": square for name in ("q", "k", "v", "output")}
        shapes |= {f"{layer}ffn_gate": up, f"{layer}ffn_up": up, f"{layer}ffn_down": down}
    for name, shape in (shapes | {"output_norm": (WIDTH,)}).items():
        values = rng.normal(0, 0.02, shape).astype(np.float32)
        if len(shape) == 1:
            writer.add_tensor(f"{name}.weight", values + 1)
        else:
            writer.add_tensor(f"{name}.weight", gguf.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("quantized", ["Q4_0", "Q8_0"])
def test_a_model_takes_its_file_once(quantized: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write_llama(path, quantized)
    llama_library.runtime()
    gc.collect()
    give_back()
    before = resident_bytes()
    model = llama.Model(read_header(path), "cpu")
    taken = resident_bytes() - before
    model.close()
    assert 0.8 < taken / path.stat().st_size < 1.3
