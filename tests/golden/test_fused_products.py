"""Products joined over the rows they share, against the decoder as it was built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edge_et import decoding
from edge_et.graphs import Decoder
from edge_et.manifest import ExtractorManifest
from edge_et.ort import Session
from edge_et_export import decoder
from edge_et_export.extractor import ExtractorOptions, export_extractor
from edge_et_export.precisions import Precisions
from tests.tiny import make_extractor

PRECISIONS = ("int8", "q4", "q4_pure")


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    folder = tmp_path_factory.mktemp("joined")
    checkpoint = make_extractor(folder / "checkpoint", "anyres_untied")
    options = ExtractorOptions(
        precisions=Precisions(vision=("fp32",), decoder=PRECISIONS),
        block_size=32,  # two in each row: scales and zero points can be searched
        allow_drift=True,
    )
    made = {"joined": export_extractor(checkpoint, folder / "joined", options)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder.fused_products, "rewrite", lambda a, b: list(decoder._adopt(a, b)))
        made["built"] = export_extractor(checkpoint, folder / "built", options)
    return {name: (folder / name, manifest) for name, manifest in made.items()}


def path(artifact: tuple[Path, ExtractorManifest], precision: str) -> Path:
    folder, manifest = artifact
    return folder / manifest.part("decoder", precision).path


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_numbers_are_the_same(
    artifacts: dict[str, tuple[Path, ExtractorManifest]], precision: str
) -> None:
    spec = artifacts["built"][1].decoder
    rows = np.random.default_rng(0).standard_normal((24, spec.hidden_size)).astype(np.float32)
    logits = {}
    for name, artifact in artifacts.items():
        step = Decoder(Session(path(artifact, precision), "cpu", 1), spec).start(32)
        first = decoding.prefill(step, rows[:20], lambda: False).copy()
        logits[name] = [first, *(step(rows[i : i + 1], i).copy() for i in range(20, 24))]
    for ours, built in zip(logits["joined"], logits["built"], strict=True):
        np.testing.assert_allclose(ours, built, rtol=0, atol=1e-5 * np.abs(built).max())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_gate_and_up_are_one_product(
    artifacts: dict[str, tuple[Path, ExtractorManifest]], precision: str
) -> None:
    def products(name: str) -> list[Any]:
        graph = onnx.load(path(artifacts[name], precision), load_external_data=False).graph
        return [node for node in graph.node if node.op_type == "MatMulNBits"]

    layers = artifacts["built"][1].decoder.layers
    joined = [node for node in products("joined") if node.name.endswith(".joined")]
    assert len(joined) == layers
    assert len(products("joined")) == len(products("built")) - layers
    sizes = {
        name: path(artifacts[name], precision).with_name(
            path(artifacts[name], precision).name + "_data"
        ).stat().st_size
        for name in artifacts
    }  # fmt: skip
    assert sizes["joined"] < 1.1 * sizes["built"] + 65536


def test_four_bits_throughout_are_the_smallest(
    artifacts: dict[str, tuple[Path, ExtractorManifest]],
) -> None:
    def bits(precision: str) -> set[int]:
        graph = onnx.load(path(artifacts["joined"], precision), load_external_data=False).graph
        return {
            attribute.i
            for node in graph.node
            for attribute in node.attribute
            if node.op_type == "MatMulNBits" and attribute.name == "bits"
        }

    assert (bits("q4"), bits("q4_pure")) == ({4, 8}, {4})
    errors = {
        r.precision: r.relative_error for r in artifacts["joined"][1].parity if r.part == "decoder"
    }
    assert errors["int8"] < errors["q4"] < errors["q4_pure"]


def test_scales_are_searched_where_zero_points_pack_in_pairs(
    artifacts: dict[str, tuple[Path, ExtractorManifest]], tmp_path: Path
) -> None:
    graph = onnx.load(path(artifacts["joined"], "q4_pure"), load_external_data=False).graph
    products = [node for node in graph.node if node.op_type == "MatMulNBits"]
    assert {len(node.input) for node in products} == {4}
    config = tmp_path / "config.json"
    for hidden, block, possible in ((896, 128, False), (896, 64, True), (1024, 128, True)):
        config.write_text(
            json.dumps(
                {"hidden_size": hidden, "intermediate_size": 4864, "num_attention_heads": 14}
                | {"head_dim": 64}
                | ({"num_attention_heads": 16} if hidden == 1024 else {})
            )
        )
        assert decoder._can_search(tmp_path, block) is possible
