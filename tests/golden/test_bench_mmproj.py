"""What libmtmd sees through our mmproj against transformers, and the whole llama.cpp peer on it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_et.errors import InputError
from edge_et_bench.adapters import Request, Tokens, make_adapter
from edge_et_bench.mmproj import write_mmproj
from edge_et_bench.records import Configuration
from tests import llava_next
from tests.tiny import PATCHES, TILE_PX, make_extractor, make_reasoner

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("gguf")

WRITTEN = 5


def request() -> Request:
    """A picture of a tile's size, so that nobody resizes it."""
    pixels = np.random.default_rng(0).integers(0, 256, (TILE_PX, TILE_PX, 3), np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    return Request(
        image=encoded.getvalue(), question="What is it?", max_tiles=1, seed=0,
        forced=Tokens(extraction=WRITTEN, thinking=1, answer=1),
    )  # fmt: skip


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return (peer of llama.cpp, peer of transformers) over one checkpoint's tower."""
    from edge_et_export import ReasonerOptions, export_reasoner

    root = tmp_path_factory.mktemp("mmproj")
    checkpoint = make_extractor(root / "checkpoint")
    mmproj = write_mmproj(checkpoint, root / "mmproj.gguf")
    gguf = root / "gguf" / "tiny.gguf"
    export_reasoner(make_reasoner(root / "reasoner"), gguf, ReasonerOptions(type="f16"))
    options = [
        ("llama.cpp", {"model": str(gguf), "mmproj": str(mmproj)}),
        ("transformers", {"checkpoint": str(checkpoint), "dtype": "fp32"}),
    ]
    peers = [
        make_adapter(Configuration(label=runtime, runtime=runtime, options=given, threads=1))
        for runtime, given in options
    ]
    for peer in peers:
        peer.load()
    yield tuple(peers)
    for peer in peers:
        peer.close()


def test_the_features_are_those_of_the_checkpoint(opened: Any) -> None:
    llama, transformers = opened
    eyes = llama._eyes
    (chunk,) = [c for c in eyes._listed(eyes._chunks(request())) if eyes._is_image(c)]
    ours = np.array(eyes._encoded(chunk), np.float32).reshape(PATCHES, -1)
    with torch.inference_mode():
        reference = transformers._features(transformers._tile(request().image))[0].numpy()
    error = np.linalg.norm(ours - reference) / np.linalg.norm(reference)
    assert error < 5e-3  # fp16 weights; without the last layer it is 0.65


def test_llama_cpp_reads_the_image_between_the_words(opened: Any) -> None:
    outcomes = [opened[0].ask(request()) for _ in range(2)]
    for outcome in outcomes:
        stages = {s.name: s for s in outcome.stages}
        assert list(stages) == ["image", "vision", "extract_prefill", "extract_decode", "other"]
        assert (stages["vision"].tokens, stages["vision"].steps) == (PATCHES, 1)
        assert stages["extract_prefill"].tokens > PATCHES
        assert stages["extract_decode"].tokens == WRITTEN
    assert outcomes[0].answer == outcomes[1].answer


def test_the_authors_names_give_the_same_tensors(tmp_path: Any) -> None:
    from gguf import GGUFReader

    model = llava_next.make(tmp_path / "checkpoint", "three_kv_heads_sharded")
    out = write_mmproj(tmp_path / "checkpoint", tmp_path / "mmproj.gguf")
    found = {t.name: t for t in GGUFReader(out).tensors}
    layers = {n.split(".")[2] for n in found if n.startswith("v.blk.")}
    assert layers == {str(i) for i in range(len(model.tower.vision_model.encoder.layers) - 1)}
    query = model.tower.vision_model.encoder.layers[1].self_attn.q_proj.weight
    stored = found["v.blk.1.attn_q.weight"].data.astype(np.float32)
    np.testing.assert_allclose(stored, query.detach().numpy(), rtol=1e-3, atol=1e-4)


def test_a_checkpoint_without_eyes_is_refused(tmp_path: Any) -> None:
    with pytest.raises(InputError, match="no SigLIP tower"):
        write_mmproj(make_reasoner(tmp_path / "reasoner"), tmp_path / "mmproj.gguf")


def test_eight_bit_weights_where_rows_hold_whole_blocks(tmp_path: Path) -> None:
    import gguf

    checkpoint = make_extractor(tmp_path / "checkpoint")
    path = write_mmproj(checkpoint, tmp_path / "mmproj.gguf", "q8_0")
    kinds = {t.name: t.tensor_type.name for t in gguf.GGUFReader(path).tensors}
    assert kinds["mm.2.weight"] == "Q8_0"
    assert kinds["v.blk.0.attn_q.weight"] == "F16"  # 48 a row
    assert kinds["v.position_embd.weight"] == kinds["v.blk.0.ln1.weight"] == "F32"
    half, eight = (write_mmproj(checkpoint, tmp_path / p, p) for p in ("fp16", "q8_0"))
    assert eight.stat().st_size < half.stat().st_size
