"""The step with fixed buffers, against the ordinary one; and on CUDA, where there is one.

The same code is driven on the CPU's provider: placed buffers, the shared cache, the mask over the
whole capacity. Capture itself needs a GPU.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edge_et import decoding, fixed_step, ort, providers
from edge_et.errors import InferenceFailed
from edge_et.fixed_step import FixedStep
from edge_et.graphs import Decoder, DecoderStep, VisionEncoder, cache_names
from edge_et.manifest import ExtractorManifest
from edge_et.placement import CPU
from edge_et_export.extractor import ExtractorOptions, export_extractor
from edge_et_export.precisions import Precisions
from tests.tiny import make_extractor

F32 = npt.NDArray[np.float32]
PROMPT, CAPACITY = 12, 40

on_cuda = pytest.mark.skipif(
    "CUDAExecutionProvider" not in providers.usable_providers(), reason="no CUDA here"
)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ExtractorManifest]:
    folder = tmp_path_factory.mktemp("fixed")
    checkpoint = make_extractor(folder / "checkpoint", "anyres_untied")
    precisions = Precisions(vision=("fp32", "fp16"), decoder=("fp32", "fp16"))
    out = folder / "artifact"
    return out, export_extractor(checkpoint, out, ExtractorOptions(precisions=precisions))


@pytest.fixture(scope="module")
def rows(artifact: tuple[Path, ExtractorManifest]) -> F32:
    size = (CAPACITY, artifact[1].decoder.hidden_size)
    return np.random.default_rng(0).standard_normal(size).astype(np.float32)


def session(
    artifact: tuple[Path, ExtractorManifest],
    precision: str = "fp32",
    device: ort.UsedDevice = "cpu",
    *,
    capture: bool = False,
) -> ort.Session:
    folder, manifest = artifact
    path = folder / manifest.part("decoder", precision).path
    return ort.Session(path, device, 1, capture=capture)


def started(
    artifact: tuple[Path, ExtractorManifest], rows: F32, loaded: ort.Session
) -> tuple[DecoderStep, FixedStep]:
    """A conversation after its prompt, and a fixed step over its cache."""
    spec = artifact[1].decoder
    step = Decoder(loaded, spec).start(CAPACITY)
    decoding.prefill(step, rows[:PROMPT], lambda: False)
    fixed = FixedStep(
        loaded,
        step._binding,
        cache_names(spec.layers),
        hidden_size=spec.hidden_size,
        vocab_size=spec.vocab_size,
        capacity_tokens=CAPACITY,
    )
    return step, fixed


def written(step: DecoderStep | FixedStep, rows: F32) -> F32:
    return np.stack([step(rows[n : n + 1], n).copy() for n in range(PROMPT, CAPACITY)])


def test_it_writes_what_the_ordinary_step_writes(
    artifact: tuple[Path, ExtractorManifest], rows: F32
) -> None:
    loaded = session(artifact)
    ordinary, _ = started(artifact, rows, loaded)
    _, fixed = started(artifact, rows, loaded)
    np.testing.assert_allclose(written(fixed, rows), written(ordinary, rows), rtol=0, atol=1e-5)


def test_it_can_go_back(artifact: tuple[Path, ExtractorManifest], rows: F32) -> None:
    _, fixed = started(artifact, rows, session(artifact))
    once, again = written(fixed, rows), written(fixed, rows)
    np.testing.assert_array_equal(once, again)


def test_both_steps_share_one_cache(artifact: tuple[Path, ExtractorManifest], rows: F32) -> None:
    ordinary, fixed = started(artifact, rows, session(artifact))
    for place in range(PROMPT, PROMPT + 4):
        fixed(rows[place : place + 1], place)
    after = ordinary(rows[PROMPT + 4 : CAPACITY], PROMPT + 4).copy()
    whole, _ = started(artifact, rows, session(artifact))
    expected = decoding.prefill(whole, rows[PROMPT:], lambda: False, past_tokens=PROMPT)
    np.testing.assert_allclose(after, expected, rtol=0, atol=1e-5)


def test_where_capture_fails_it_runs_without(
    artifact: tuple[Path, ExtractorManifest],
    rows: F32,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """onnxruntime refuses the first captured run; the same row then runs kernel by kernel."""
    expected = written(started(artifact, rows, session(artifact))[1], rows)
    _, fixed = started(artifact, rows, session(artifact))
    fixed._graph = 1
    real, asked = ort.Binding.run, []

    def run(binding: ort.Binding, graph: int | None = None) -> None:
        asked.append(graph)
        if graph is not None:
            raise InferenceFailed("capture is not permitted")
        real(binding, graph)

    monkeypatch.setattr(ort.Binding, "run", run)
    np.testing.assert_array_equal(written(fixed, rows), expected)
    assert not fixed.captured
    assert asked.count(1) == 1
    assert "cannot be captured" in caplog.text
    monkeypatch.setattr(
        ort.Binding, "run", lambda *_, **__: (_ for _ in ()).throw(InferenceFailed("broken"))
    )
    with pytest.raises(InferenceFailed, match="broken"):
        fixed(rows[PROMPT : PROMPT + 1], PROMPT)


def test_runs_say_which_graph_they_are(
    artifact: tuple[Path, ExtractorManifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = session(artifact)
    binding = loaded.bind()
    assert not loaded.captures
    key = "gpu_graph_id"
    with pytest.raises(Exception, match=key):  # onnxruntime has no such entry then
        binding._options(4).get_run_config_entry(key)
    monkeypatch.setattr(loaded, "captures", True)
    assert binding._options(4).get_run_config_entry(key) == "4"
    assert binding._options(None).get_run_config_entry(key) == "-1"


def test_each_conversation_is_captured_by_itself(
    artifact: tuple[Path, ExtractorManifest], rows: F32, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = session(artifact)
    assert not started(artifact, rows, loaded)[1].captured
    monkeypatch.setattr(loaded, "captures", True)
    numbers = {started(artifact, rows, loaded)[1]._graph for _ in range(3)}
    assert len(numbers) == 3
    assert fixed_step.MASK in loaded.input_dtypes


@on_cuda
def test_fp16_on_cuda_is_as_near_as_its_rounding(
    artifact: tuple[Path, ExtractorManifest], rows: F32
) -> None:
    exact = written(started(artifact, rows, session(artifact))[0], rows)
    ours = written(started(artifact, rows, session(artifact, "fp16", "cuda"))[0], rows)
    assert np.linalg.norm(ours - exact) / np.linalg.norm(exact) < 0.02


@on_cuda
def test_a_captured_step_writes_what_one_by_one_writes(
    artifact: tuple[Path, ExtractorManifest], rows: F32
) -> None:
    plain = written(started(artifact, rows, session(artifact, "fp16", "cuda"))[0], rows)
    loaded = session(artifact, "fp16", "cuda", capture=True)
    assert loaded.captures, "the decoder for CUDA can be captured"
    step, _ = started(artifact, rows, loaded)
    captured = written(step, rows)
    assert step._fixed is not None
    assert step._fixed.captured
    np.testing.assert_allclose(captured, plain, rtol=0, atol=1e-3 * np.abs(plain).max())


@on_cuda
def test_all_work_lands_on_cuda(artifact: tuple[Path, ExtractorManifest]) -> None:
    folder, manifest = artifact
    for role in ("vision_encoder", "decoder"):
        path = folder / manifest.part(role, "fp16").path
        loaded = ort.Session(path, "cuda", 1)  # raises DeviceUnavailable where work is astray
        assert loaded.placement.on("CUDAExecutionProvider") > loaded.placement.on(CPU)


@on_cuda
def test_the_fp16_tower_on_cuda_sees_what_fp32_sees(
    artifact: tuple[Path, ExtractorManifest],
) -> None:
    folder, manifest = artifact
    side = manifest.image.tile_size_px
    tile = np.random.default_rng(1).standard_normal((3, side, side)).astype(np.float32)
    seen = []
    for precision, device in (("fp32", "cpu"), ("fp16", "cuda")):
        path = folder / manifest.part("vision_encoder", precision).path
        encoder = VisionEncoder(
            ort.Session(path, device, 1), manifest.image, manifest.decoder.hidden_size
        )
        seen.append(encoder(tile))
    assert np.linalg.norm(seen[1] - seen[0]) / np.linalg.norm(seen[0]) < 0.01
