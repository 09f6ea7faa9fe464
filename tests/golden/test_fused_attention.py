"""A tower traced with its attention as one node: the same numbers, and the tower is left as it was.

That exported graphs compute what transformers computes is held by the other golden tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
transformers = pytest.importorskip("transformers")

from edge_et_export.fused_attention import one_node  # noqa: E402
from edge_et_export.vision import export_vision  # noqa: E402

LAYERS = 2


def tower() -> Any:
    config = transformers.SiglipVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=LAYERS, num_attention_heads=4,
        image_size=16, patch_size=4, vision_use_head=False,
    )  # fmt: skip
    torch.manual_seed(0)
    return Tower(config).eval()


class Tower(transformers.SiglipVisionModel):  # type: ignore[misc]
    """Gives its features under the name that the export asks for."""

    def forward(self, pixel_values: Any) -> dict[str, Any]:
        return {"image_features": super().forward(pixel_values).last_hidden_state}


def count(path: Path, kind: str) -> int:
    return sum(node.op_type == kind for node in onnx.load(path).graph.node)


def test_the_numbers_are_those_of_the_towers_own_attention() -> None:
    model = tower()
    before = model.config._attn_implementation
    pixels = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        wanted = model(pixels)["image_features"]
        with one_node(model):
            assert model.vision_model.config._attn_implementation != before
            found = model(pixels)["image_features"]
    torch.testing.assert_close(found, wanted)
    assert model.vision_model.config._attn_implementation == before


def test_a_tower_that_fails_is_left_as_it_was() -> None:
    model = tower()
    before = model.config._attn_implementation
    with pytest.raises(ValueError, match="as traced"), one_node(model):
        raise ValueError("as traced")
    assert model.config._attn_implementation == before


def test_fp16_keeps_the_attention_that_cpus_can_run(tmp_path: Path) -> None:
    made = export_vision(tower(), tmp_path, ("fp16", "int8", "fp32"))
    assert list(made) == ["fp16", "int8", "fp32"]
    heads = {precision: count(files[0], "MultiHeadAttention") for precision, files in made.items()}
    assert heads == {"fp16": 0, "int8": LAYERS, "fp32": LAYERS}
