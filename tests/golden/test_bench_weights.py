"""What stages ask of the hardware, against the models' own dimensions and gguf's own reader."""

from __future__ import annotations

import json

from gguf import GGUFReader

from edge_et_bench.own import EdgeET
from edge_et_bench.records import Configuration, Demand, Outcome, Stage
from tests.e2e.starter import ROOT

STARTER = ROOT / "edge_et" / "models" / "starter"
CONTEXT, MADE = 100, 20


def demands() -> dict[str, Demand]:
    adapter = EdgeET(Configuration(label="starter"))
    adapter.load()
    stages = (
        Stage(name="extract_prefill", seconds=1.0, tokens=CONTEXT),
        Stage(name="extract_decode", seconds=1.0, tokens=MADE, steps=MADE),
        Stage(name="reason_prefill", seconds=1.0, tokens=CONTEXT),
        Stage(name="think_decode", seconds=1.0, tokens=MADE, steps=MADE),
    )
    try:
        found = adapter.demands(Outcome(stages=stages, total_s=4.0, answer="x"))
        return {demand.stage: demand for demand in found}
    finally:
        adapter.close()


def test_the_extractor_against_its_configuration():
    found = demands()
    config = json.loads((STARTER / "extractor" / "config.json").read_text(encoding="utf-8"))
    text, eyes = config["text_config"], config["vision_config"]
    layers, hidden, inner = (
        text[key] for key in ("num_hidden_layers", "hidden_size", "intermediate_size")
    )
    head = text.get("head_dim") or hidden // text["num_attention_heads"]
    queries, keys = (text[key] * head for key in ("num_attention_heads", "num_key_value_heads"))
    body = layers * (2 * hidden * queries + 2 * hidden * keys + 3 * hidden * inner)
    assert found["extract_prefill"].macs_per_token == body
    assert found["extract_decode"].macs_per_token == body + hidden * text["vocab_size"]
    onnx = STARTER / "extractor" / "onnx"
    weights = sum(path.stat().st_size for path in onnx.glob("decoder_model_merged_int8*"))
    cache = layers * 2 * keys * 4 * (CONTEXT + MADE // 2)
    assert found["extract_decode"].bytes_per_step == weights + cache

    wide, deep, patch = (eyes[k] for k in ("hidden_size", "num_hidden_layers", "patch_size"))
    patches = (eyes["image_size"] // patch) ** 2
    tower = deep * (4 * wide * wide + 2 * wide * eyes["intermediate_size"])
    ends = wide * 3 * patch**2 + wide * hidden + hidden * hidden
    assert found["vision"].macs_per_step == patches * (tower + ends)


def test_the_reasoner_against_gguf():
    found = demands()
    reader = GGUFReader(STARTER / "reasoner" / "reasoner.gguf")
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    embeddings = tensors.pop("token_embd.weight")
    output = tensors.pop("output.weight", embeddings)
    body = sum(int(t.n_elements) for t in tensors.values() if len(t.shape) > 1)
    assert found["reason_prefill"].macs_per_token == body
    assert found["think_decode"].macs_per_token == body + int(output.n_elements)
    weights = sum(int(tensor.n_bytes) for tensor in (*tensors.values(), output))
    keys = tensors["blk.0.attn_k.weight"]
    blocks = sum(name.endswith("attn_k.weight") for name in tensors)
    cache = blocks * 2 * int(keys.shape[1]) * 2 * (CONTEXT + MADE // 2)
    assert found["think_decode"].bytes_per_step == weights + cache
    assert "answer_decode" not in found
