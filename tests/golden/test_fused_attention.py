"""A tower traced with its attention as one node: the same numbers, and the tower is left as it was.

That exported graphs compute what transformers computes is held by the other golden tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from edge_et_export.families import open_extractor  # noqa: E402
from edge_et_export.fused_attention import one_node  # noqa: E402
from edge_et_export.vision import export_vision  # noqa: E402
from tests.tiny import TILE_PX, make_extractor  # noqa: E402


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Tower and projector of a tiny checkpoint."""
    return open_extractor(make_extractor(tmp_path_factory.mktemp("tower"))).vision


def count(path: Path, kind: str) -> int:
    return sum(node.op_type == kind for node in onnx.load(path).graph.node)


def test_the_numbers_are_those_of_the_towers_own_attention(model: Any) -> None:
    before = model.tower.config._attn_implementation
    pixels = torch.randn(2, 3, TILE_PX, TILE_PX, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = model(pixels)["image_features"]
        with one_node(model):
            assert model.tower.config._attn_implementation != before
            found = model(pixels)["image_features"]
    torch.testing.assert_close(found, wanted)
    assert model.tower.config._attn_implementation == before


def test_a_tower_that_fails_is_left_as_it_was(model: Any) -> None:
    before = model.tower.config._attn_implementation
    with pytest.raises(ValueError, match="as traced"), one_node(model):
        raise ValueError("as traced")
    assert model.tower.config._attn_implementation == before


def test_fp16_keeps_the_attention_that_cpus_can_run(model: Any, tmp_path: Path) -> None:
    made = export_vision(model, tmp_path, ("fp16", "int8", "fp32"))
    assert list(made) == ["fp16", "int8", "fp32"]
    heads = {precision: count(files[0], "MultiHeadAttention") for precision, files in made.items()}
    assert heads == {"fp16": 0, "int8": heads["fp32"], "fp32": heads["fp32"]}
    assert heads["fp32"] > 0
