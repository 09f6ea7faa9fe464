"""What `edge-et export extractor` writes, and what it refuses to write.

That the fp32 artifact computes what transformers computes is held by test_extractor_golden, over
every variant; here are the quantized graphs, the files, and the failures.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_et.config import RuntimeConfig
from edge_et.errors import ExportError, ParityError
from edge_et.extractor import Extractor
from edge_et.manifest import FILE_NAME, ExtractorManifest, check_files, read_manifest
from tests.killing import kill_at_work
from tests.tiny import EXTRACTOR_VARIANTS, PATCHES, TILE_PX, make_extractor

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime_genai")
safetensors = pytest.importorskip("safetensors.torch")

VARIANT = "anyres_untied"
COMMAND = [sys.executable, "-c", "from edge_et.cli import main; main()", "export", "extractor"]


@dataclass(frozen=True)
class Exported:
    checkpoint: Path
    folder: Path
    stdout: str
    stderr: str

    @property
    def manifest(self) -> ExtractorManifest:
        return read_manifest(self.folder, ExtractorManifest)

    def graph(self, role: Any, precision: str | None = None) -> Any:
        path = self.folder / self.manifest.part(role, precision).path
        return onnx.load(path, load_external_data=False).graph

    def weights(self) -> dict[str, Any]:
        return dict(safetensors.load_file(self.checkpoint / "model.safetensors"))


def export(checkpoint: Path, out: Path, **options: Any) -> ExtractorManifest:
    from edge_et_export import ExtractorOptions, export_extractor
    from edge_et_export.precisions import Precisions, listed

    parts = {p: listed(options.pop(p)) for p in ("vision", "decoder") if p in options}
    if "embeddings" in options:
        parts["embeddings"] = options.pop("embeddings")
    options["precisions"] = Precisions(**parts)
    return export_extractor(checkpoint, out, ExtractorOptions(**options))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The default artifact, through the command."""
    folder = tmp_path_factory.mktemp("export")
    checkpoint = make_extractor(folder / "checkpoint", VARIANT)
    out = folder / "artifact"
    done = subprocess.run(
        [*COMMAND, str(checkpoint), "--out", str(out), "--license", "MIT", "--name", "tiny/one"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Exported(checkpoint, out, done.stdout, done.stderr)


def operators(graph: Any) -> dict[str, int]:
    names = [node.op_type for node in graph.node]
    return {name: names.count(name) for name in names}


def bits(graph: Any) -> list[int]:
    """Return the bits of each quantized matrix; all compute in int8, in blocks that fill rows."""
    nodes = [node for node in graph.node if node.op_type == "MatMulNBits"]
    found = [{a.name: a.i for a in node.attribute} for node in nodes]
    assert all(f["accuracy_level"] == 4 and f["K"] % f["block_size"] == 0 for f in found)
    return [f["bits"] for f in found]


def test_the_command_says_all_on_stderr_but_the_path(exported: Exported) -> None:
    assert exported.stdout.strip() == str(exported.folder)
    for part in exported.manifest.parts:
        assert part.path in exported.stderr
    assert "end_to_end w8a8: relative error" in exported.stderr


def test_every_file_is_a_part_and_every_part_a_whole_file(exported: Exported) -> None:
    manifest = exported.manifest
    check_files(exported.folder, manifest, hashes=True)
    files = {p.relative_to(exported.folder).as_posix() for p in exported.folder.rglob("*")}
    assert files == {part.path for part in manifest.parts} | {"onnx", FILE_NAME}
    assert [p for p in exported.folder.parent.iterdir() if p.name.startswith(".")] == []


def test_the_manifest(exported: Exported) -> None:
    manifest, variant = exported.manifest, EXTRACTOR_VARIANTS[VARIANT]
    assert (manifest.source.name, manifest.source.license) == ("tiny/one", "MIT")
    assert manifest.image.grid_pinpoints_px == variant.pinpoints
    spec = manifest.decoder
    assert (spec.layers, spec.kv_heads, spec.head_dim) == (2, 2, 32)
    assert manifest.made_with["onnxruntime-genai"]
    results = {result.part: result for result in manifest.parity}
    assert set(results) == {"vision_encoder", "decoder", "end_to_end"}
    assert all(0 < r.relative_error < r.tolerance for r in results.values())
    assert results["end_to_end"].greedy_tokens == 64


def test_the_vision_graph(exported: Exported) -> None:
    graph = exported.graph("vision_encoder")
    pixels, features = graph.input[0], graph.output[0]
    assert (pixels.name, features.name) == ("pixel_values", "image_features")
    sides = [d.dim_value for d in pixels.type.tensor_type.shape.dim]
    assert sides == [0, 3, TILE_PX, TILE_PX]  # 0: any number of tiles
    used = operators(graph)
    assert used["Conv"] == 1
    assert "ConvInteger" not in used
    assert used["FastGelu"] == 3  # one node in each layer
    assert "Tanh" not in used
    assert used["MultiHeadAttention"] == 3
    assert "Softmax" not in used
    assert used["MatMulInteger"] >= 3 * 6 + 2  # six in each layer, two in the projector


def test_tiles_are_encoded_one_by_one_as_together(exported: Exported) -> None:
    import onnxruntime

    pixels = np.random.default_rng(0).normal(size=(3, 3, TILE_PX, TILE_PX)).astype(np.float32)
    artifact = exported.folder.parent / "fp32"
    if not artifact.exists():
        export(exported.checkpoint, artifact, vision="fp32", decoder="int8")
    session = onnxruntime.InferenceSession(
        artifact / "onnx" / "vision_encoder_fp32.onnx", providers=["CPUExecutionProvider"]
    )
    together = session.run(None, {"pixel_values": pixels})[0]
    assert together.shape == (3, PATCHES, exported.manifest.decoder.hidden_size)
    alone = [session.run(None, {"pixel_values": tile[None]})[0][0] for tile in pixels]
    np.testing.assert_allclose(together, np.stack(alone), rtol=0, atol=1e-5)


def test_the_decoder_graph(exported: Exported) -> None:
    graph = exported.graph("decoder")
    parts = [f"{i}.{part}" for i in range(2) for part in ("key", "value")]
    caches = [f"{kind}.{part}" for kind in ("past_key_values", "past_int8") for part in parts]
    assert {i.name for i in graph.input} == {"inputs_embeds", "attention_mask", "int8_cache"} | {
        *caches,
        *(f"int8_scale.{part}" for part in parts),
    }
    presents = {f"{kind}.{part}" for kind in ("present", "present_int8") for part in parts}
    assert {o.name for o in graph.output} == {"logits"} | presents
    used = operators(graph)
    assert used["If"] == 2  # an attention over either cache
    assert "MatMul" not in used  # the head is quantized too
    assert set(bits(graph)) == {8}


def test_the_tables_are_the_checkpoints(exported: Exported) -> None:
    weights = exported.weights()
    name = next(n for n in weights if n.endswith("embed_tokens.weight"))
    table = np.load(exported.folder / exported.manifest.part("embed_tokens").path, mmap_mode="r")
    assert table.dtype == np.float16
    np.testing.assert_array_equal(table, weights[name].half().numpy())
    newline = np.load(exported.folder / "image_newline.npy")
    name = next(n for n in weights if n.endswith("image_newline"))
    np.testing.assert_array_equal(newline, weights[name].numpy())


def test_four_bit_decoder(exported: Exported, tmp_path: Path) -> None:
    manifest = export(exported.checkpoint, tmp_path / "q4", vision="fp32", decoder="q4")
    assert manifest == read_manifest(tmp_path / "q4", ExtractorManifest)
    four = Exported(exported.checkpoint, tmp_path / "q4", "", "")
    # the head, and the value and down projections of the outer layers, keep 8 bits
    assert set(bits(four.graph("decoder"))) == {4, 8}
    Extractor.load(tmp_path / "q4", RuntimeConfig(device="cpu", threads=1)).close()


def with_tensors(exported: Exported, folder: Path, change: Any) -> Path:
    """Copy the checkpoint to `folder` with `change` applied to its tensors."""
    folder.mkdir()
    for path in exported.checkpoint.iterdir():
        if path.suffix != ".safetensors":
            (folder / path.name).write_bytes(path.read_bytes())
    weights = exported.weights()
    change(weights)
    safetensors.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def drop(weights: dict[str, Any]) -> None:
    del weights[next(n for n in weights if n.endswith("k_norm.weight"))]


def add(weights: dict[str, Any]) -> None:
    weights["model.vision_tower.vision_model.head.probe"] = torch.ones(3)


def widen(weights: dict[str, Any]) -> None:
    weights[next(n for n in weights if n.endswith("image_newline"))] = torch.ones(65)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop, r"lacks the tensor .*k_norm\.weight"),
        (add, r"has the tensor .*head\.probe"),
        (widen, r"image_newline .* is not of shape \[64\]"),
    ],
)
def test_every_tensor_is_accounted_for(
    exported: Exported, tmp_path: Path, change: Any, message: str
) -> None:
    checkpoint = with_tensors(exported, tmp_path / "checkpoint", change)
    with pytest.raises(ExportError, match=message):
        export(checkpoint, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"]


def poison(weights: dict[str, Any]) -> None:
    weights[next(n for n in weights if n.endswith("q_proj.weight"))][0, 0] = torch.nan


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def test_weights_that_are_no_numbers_and_half_a_file(exported: Exported, tmp_path: Path) -> None:
    checkpoint = with_tensors(exported, tmp_path / "checkpoint", poison)
    with pytest.raises(ExportError, match="itself computes values that are not finite"):
        export(checkpoint, tmp_path / "out")
    truncate(checkpoint)
    with pytest.raises(ExportError, match=r"model\.safetensors is damaged or not all there"):
        export(checkpoint, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize(
    ("where", "name", "value", "message"),
    [
        ("vision_config", "patch_size", None, r"not understood: KeyError\('patch_size'\)"),
        ("text_config", "hidden_size", "64", "cannot be loaded as LlavaOnevision"),
        (None, "vision_feature_layer", 77, "vision_feature_layer is 77; the tower has 3 layers"),
    ],
)
def test_settings_of_the_wrong_kind(
    exported: Exported, tmp_path: Path, where: str | None, name: str, value: Any, message: str
) -> None:
    checkpoint = with_tensors(exported, tmp_path / "checkpoint", lambda weights: None)
    path = checkpoint / "config.json"
    config = json.loads(path.read_text())
    part = config[where] if where else config
    if value is None:
        del part[name]
    else:
        part[name] = value
    path.write_text(json.dumps(config))
    with pytest.raises(ExportError, match=message):
        export(checkpoint, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_architecture_is_named(exported: Exported, tmp_path: Path) -> None:
    from tests.tiny import make_reasoner

    with pytest.raises(ExportError, match="Qwen3ForCausalLM"):
        export(make_reasoner(tmp_path / "checkpoint"), tmp_path / "out")
    with pytest.raises(ExportError, match="embeddings precision 'int4' is none of"):
        export(exported.checkpoint, tmp_path / "out", embeddings="int4")
    with pytest.raises(ExportError, match="vision precision"):
        export(exported.checkpoint, tmp_path / "out", vision="q4")
    with pytest.raises(ExportError, match="decoder precision"):
        export(exported.checkpoint, tmp_path / "out", decoder="int3")
    assert not (tmp_path / "out").exists()


def test_drift_fails_unless_it_is_allowed(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_et_export import parity

    monkeypatch.setitem(parity.TOLERANCES["decoder"], "w8a8", 1e-6)
    with pytest.raises(ParityError, match=r"decoder w8a8: relative error 0\.0"):
        export(exported.checkpoint, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    manifest = export(exported.checkpoint, tmp_path / "out", allow_drift=True)
    over = [r for r in manifest.parity if r.relative_error > r.tolerance]
    assert [r.part for r in over] == ["decoder"]


def test_an_existing_target_needs_force(exported: Exported, tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "mine").write_text("keep")
    with pytest.raises(ExportError, match="exists already"):
        export(exported.checkpoint, target)
    assert (target / "mine").read_text() == "keep"
    export(exported.checkpoint, target, force=True)
    assert not (target / "mine").exists()
    read_manifest(target, ExtractorManifest)


def test_what_is_right_already_is_kept_and_nothing_else(exported: Exported, tmp_path: Path) -> None:
    """Another block size was once taken for the same artifact, and `force` made nothing anew."""
    target = tmp_path / "out"
    first = export(exported.checkpoint, target, vision="fp32", decoder="int8", block_size=32)
    made_ns = (target / FILE_NAME).stat().st_mtime_ns
    same = {"vision": "fp32", "decoder": "int8"}
    assert export(exported.checkpoint, target, **same) == first
    assert (target / FILE_NAME).stat().st_mtime_ns == made_ns
    for other in ({**same, "block_size": 64}, {**same, "vision": "int8"}, {**same, "name": "b"}):
        with pytest.raises(ExportError, match="exists already"):
            export(exported.checkpoint, target, **other)
    export(exported.checkpoint, target, **same, force=True)
    assert (target / FILE_NAME).stat().st_mtime_ns > made_ns


def test_a_killed_export_leaves_no_target(exported: Exported, tmp_path: Path) -> None:
    out = tmp_path / "artifact"
    process = subprocess.Popen(
        [*COMMAND, str(exported.checkpoint), "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    # Killed while the artifact is being written: some of its files are there already.
    kill_at_work(process, lambda: list(tmp_path.glob(".*/new/*.npy")))
    assert not out.exists()
