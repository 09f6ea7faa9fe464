"""The w8a8 decoder: whole rows and columns where that loses nothing, blocks where it would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import safetensors.torch as safetensors

from edge_et.config import RuntimeConfig
from edge_et.embeddings import load_vector
from edge_et.extractor import Extractor
from edge_et.manifest import ExtractorManifest
from edge_et.tokenization import PromptTokenizer
from edge_et_export import decoder
from edge_et_export.extractor import ExtractorOptions, export_extractor
from edge_et_export.graph_files import GraphFile
from edge_et_export.precisions import Precisions
from edge_et_export.reference import Reference
from edge_et_export.w8a8 import MAX_ROUNDING_ERROR, rounding_errors
from tests.tiny import make_extractor

VARIANT = "anyres_untied"
OUTLIER = "layers.1.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_extractor(tmp_path_factory.mktemp("w8a8") / "checkpoint", VARIANT)


@pytest.fixture(scope="module")
def artifact(checkpoint: Path) -> tuple[Path, ExtractorManifest]:
    return exported(checkpoint, checkpoint.with_name("artifact"))


def exported(checkpoint: Path, out: Path) -> tuple[Path, ExtractorManifest]:
    precisions = Precisions(vision=("fp32",), decoder=("w8a8", "int8"))
    return out, export_extractor(checkpoint, out, ExtractorOptions(precisions=precisions))


def graph(folder: Path, precision: str = "w8a8") -> Any:
    path = folder / "onnx" / f"decoder_model_merged_{precision}.onnx"
    return onnx.load(path, load_external_data=False).graph


def products(folder: Path, kind: str) -> list[str]:
    return [node.name for node in graph(folder).node if node.op_type == kind]


def test_every_product_but_the_head_is_rewritten(artifact: tuple[Path, ExtractorManifest]) -> None:
    folder, manifest = artifact
    assert products(folder, "MatMulNBits") == ["/lm_head/MatMul_Q8"]
    assert products(folder, "MatMulIntegerToFloat") == [
        f"/model/layers.{layer}/{name}_proj/MatMul_Q8"
        for layer in range(manifest.decoder.layers)
        for name in ("attn/qkv", "attn/o", "mlp/gate", "mlp/up", "mlp/down")
    ]


def test_gate_and_up_share_their_rounded_rows(artifact: tuple[Path, ExtractorManifest]) -> None:
    folder, manifest = artifact
    # the attention's input, its output, what gate and up read, what down reads
    assert len(products(folder, "QuantizeLinear")) == 4 * manifest.decoder.layers


def test_it_is_as_near_to_the_checkpoint_as_eight_bits_are(
    artifact: tuple[Path, ExtractorManifest],
) -> None:
    folder, manifest = artifact
    errors = {(r.part, r.precision): r.relative_error for r in manifest.parity}
    assert 0 < errors["decoder", "w8a8"] < 3 * errors["decoder", "int8"]
    Extractor.load(folder, RuntimeConfig(device="cpu", threads=1)).close()


def test_rows_with_outliers_keep_their_blocks(checkpoint: Path, tmp_path: Path) -> None:
    other = tmp_path / "outliers"
    other.mkdir()
    for path in checkpoint.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    (file,) = other.glob("*.safetensors")
    weights = safetensors.load_file(file)
    name = next(name for name in weights if name.endswith(OUTLIER))
    weights[name][3] *= 1000  # one number of each row that the down projection reads
    safetensors.save_file(weights, file, metadata={"format": "pt"})
    folder, _ = exported(other, tmp_path / "artifact")
    kept = products(folder, "MatMulNBits")
    assert kept == ["/model/layers.1/mlp/down_proj/MatMul_Q8", "/lm_head/MatMul_Q8"]


def test_the_error_is_that_of_rounding_each_token(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The input of the first product is the normalised prompt, which numpy can round as well."""
    monkeypatch.setattr(decoder, "_FOR_CPU", ())  # products are judged before all else
    folder, manifest = exported(checkpoint, tmp_path / "artifact")
    reference = Reference.load(folder / "reference.npz")
    tokenizer = PromptTokenizer(folder / "tokenizer.json", manifest.template)
    newline = load_vector(folder / "image_newline.npy", manifest.decoder.hidden_size)
    prompt = reference.prompt(tokenizer, manifest.image, newline)[:512]
    found = rounding_errors(
        GraphFile.read(folder / "onnx" / "decoder_model_merged_int8.onnx"), prompt, manifest.decoder
    )
    (file,) = checkpoint.glob("*.safetensors")
    weights = safetensors.load_file(file)
    scale = next(w for n, w in weights.items() if n.endswith("layers.0.input_layernorm.weight"))
    rms = np.sqrt(np.mean(np.square(prompt), axis=1, keepdims=True) + 1e-6)
    rows = prompt / rms * scale.float().numpy()
    step = np.abs(rows).max(axis=1, keepdims=True) / 127
    lost = np.rint(rows / step) * step - rows
    measured = np.sqrt(np.mean(np.square(lost) / np.mean(np.square(rows), axis=1, keepdims=True)))
    assert found["/model/layers.0/input_layernorm/output_0"] == pytest.approx(measured, rel=0.1)
    assert measured < MAX_ROUNDING_ERROR
