"""Random checkpoints at true shapes, made small here: transformers opens them as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def test_the_extractor_in_transformers_format_holds_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    from edge_et_bench import random_checkpoints as made
    from edge_et_export.families.llava_onevision import image_policy_of

    tiny = made.TextShape(hidden=64, inner=96, layers=2, heads=4, kv_heads=2, head_dim=16)
    monkeypatch.setitem(made.TEXT_SHAPES, "tiny", tiny)
    monkeypatch.setattr(made, "VOCABULARY", 1100)
    monkeypatch.setattr(made, "_TOWER_LAYERS", 1)
    ours, theirs = (
        make(tmp_path / make.__name__, "tiny", seed=3)
        for make in (made.make_extractor, made.make_llava)
    )
    model, found = transformers.AutoModelForImageTextToText.from_pretrained(
        theirs, output_loading_info=True
    )
    assert not any(found.values()), found
    assert isinstance(model, transformers.LlavaOnevisionForConditionalGeneration)
    weights = load_file(ours / "model-00001.safetensors")
    name = "layers.1.mlp.down_proj.weight"
    read = model.model.language_model.layers[1].mlp.down_proj.weight
    assert torch.equal(weights[f"model.{name}"].float(), read.float())
    assert image_policy_of(theirs).name == "single"


def test_a_sharded_reasoner_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_et_bench import random_checkpoints as made

    tiny = made.TextShape(hidden=64, inner=96, layers=2, heads=4, kv_heads=2, head_dim=16)
    monkeypatch.setitem(made.TEXT_SHAPES, "tiny", tiny)
    monkeypatch.setattr(made, "VOCABULARY", 1100)
    monkeypatch.setattr(made, "_SHARD_BYTES", 60_000)
    folder = made.make_reasoner(tmp_path / "reasoner", "tiny")
    assert len(list(folder.glob("*.safetensors"))) > 2
    model, found = transformers.AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(found.values()), found
    assert isinstance(model, transformers.Qwen3ForCausalLM)
    assert torch.isfinite(model(torch.tensor([[1, 2, 3]])).logits).all()
