"""A decoder with an int8 cache beside its exact one, against the same decoder without."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from edge_et import decoding
from edge_et import int8_cache as runtime
from edge_et.errors import ExportError
from edge_et.graphs import Decoder, DecoderStep
from edge_et.manifest import ExtractorManifest
from edge_et.ort import Session
from edge_et_export import int8_cache
from edge_et_export.extractor import ExtractorOptions, export_extractor
from edge_et_export.precisions import PRESETS
from tests.tiny import make_extractor

F32 = npt.NDArray[np.float32]
PROMPT, CAPACITY = 40, 64


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ExtractorManifest]:
    folder = tmp_path_factory.mktemp("int8-cache")
    checkpoint = make_extractor(folder / "checkpoint", "anyres_untied")
    options = ExtractorOptions(precisions=PRESETS["reference"])
    manifest = export_extractor(checkpoint, folder / "artifact", options)
    plain = folder / "artifact" / manifest.part("decoder").path
    both = plain.with_name("both.onnx")
    shutil.copy(plain, both)
    int8_cache.add(both, manifest.decoder)
    return folder / "artifact", manifest


@pytest.fixture
def steps(
    artifact: tuple[Path, ExtractorManifest], monkeypatch: pytest.MonkeyPatch
) -> tuple[DecoderStep, DecoderStep]:
    """The same float32 weights: with the exact cache only, and with both."""
    monkeypatch.setattr(runtime, "_EXACT_RUNS", 0)
    monkeypatch.setattr(runtime, "_SMALL_BYTES", 0)
    folder, manifest = artifact
    plain = folder / manifest.part("decoder").path
    made = [
        Decoder(Session(path, "cpu", 1), manifest.decoder).start(CAPACITY)
        for path in (plain, plain.with_name("both.onnx"))
    ]
    return made[0], made[1]


@pytest.fixture(scope="module")
def rows(artifact: tuple[Path, ExtractorManifest]) -> F32:
    size = (CAPACITY, artifact[1].decoder.hidden_size)
    return np.random.default_rng(0).standard_normal(size).astype(np.float32)


def prefill(step: DecoderStep, rows: F32, start: int, end: int) -> F32:
    return decoding.prefill(step, rows[start:end], lambda: False, past_tokens=start).copy()


def error(ours: F32, exact: F32) -> float:
    return float(np.linalg.norm(ours - exact) / np.linalg.norm(exact))


def test_prompts_are_read_as_before_to_the_bit(steps: tuple[DecoderStep, ...], rows: F32) -> None:
    plain, both = (prefill(step, rows, 0, PROMPT) for step in steps)
    assert np.array_equal(plain, both)


def test_tokens_are_written_from_the_int8_cache(steps: tuple[DecoderStep, ...], rows: F32) -> None:
    plain, both = steps
    for step in steps:
        prefill(step, rows, 0, PROMPT)
    for place in range(PROMPT, CAPACITY):
        exact, ours = (step(rows[place : place + 1], place).copy() for step in steps)
        assert 0 < error(ours, exact) < 0.05
    rounded, kept = both.read_rows(CAPACITY), plain.read_rows(CAPACITY)
    assert rounded is not None
    assert kept is not None
    for ours_rows, exact_rows in zip(rounded, kept, strict=True):
        assert np.array_equal(ours_rows[:, :, :PROMPT], exact_rows[:, :, :PROMPT]), "untouched"
        assert error(ours_rows[:, :, PROMPT:], exact_rows[:, :, PROMPT:]) < 0.05


def test_another_question_on_the_same_prompt_is_read_exactly(
    steps: tuple[DecoderStep, ...], rows: F32
) -> None:
    plain, both = steps
    prefill(both, rows, 0, PROMPT)
    for place in range(PROMPT, PROMPT + 5):
        both(rows[place : place + 1], place)
    prefill(plain, rows, 0, 30)
    again = prefill(both, rows, 30, PROMPT)  # what was written after row 30 no longer counts
    assert np.array_equal(again, prefill(plain, rows, 30, PROMPT))


def test_reading_on_after_writing_takes_the_written_rows_over(
    steps: tuple[DecoderStep, ...], rows: F32
) -> None:
    logits = []
    for step in steps:
        prefill(step, rows, 0, PROMPT)
        for place in range(PROMPT, PROMPT + 5):
            step(rows[place : place + 1], place)
        logits.append(prefill(step, rows, PROMPT + 5, CAPACITY))
    assert 0 < error(logits[1], logits[0]) < 0.05


def test_the_first_tokens_and_short_caches_stay_exact(
    steps: tuple[DecoderStep, ...], rows: F32, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rounded(step: DecoderStep) -> list[bool]:
        prefill(step, rows, 0, PROMPT)
        prefill(steps[0], rows, 0, PROMPT)
        return [
            error(*(s(rows[p : p + 1], p).copy() for s in (step, steps[0]))) > 0
            for p in range(PROMPT, PROMPT + 6)
        ]

    monkeypatch.setattr(runtime, "_EXACT_RUNS", 4)
    assert rounded(steps[1]) == [False] * 4 + [True] * 2
    monkeypatch.setattr(runtime, "_SMALL_BYTES", 1 << 30)
    assert not any(rounded(steps[1]))


def test_the_weights_are_there_once(artifact: tuple[Path, ExtractorManifest]) -> None:
    folder, manifest = artifact
    path = (folder / manifest.part("decoder").path).with_name("both.onnx")
    graph = onnx.load(path, load_external_data=False).graph
    choices = [node for node in graph.node if node.op_type == "If"]
    assert len(choices) == manifest.decoder.layers
    for node in choices:
        for branch in node.attribute:
            assert [n.op_type for n in branch.g.node] == ["GroupQueryAttention", *["Identity"] * 2]
            assert not branch.g.initializer


def test_a_graph_with_other_attention_is_refused(
    artifact: tuple[Path, ExtractorManifest], tmp_path: Path
) -> None:
    folder, manifest = artifact
    path: Any = folder / manifest.part("vision_encoder").path
    other = tmp_path / "vision.onnx"
    shutil.copy(path, other)
    before = other.read_bytes()
    with pytest.raises(ExportError, match="0 attentions for 2 layers"):
        int8_cache.add(other, manifest.decoder)
    assert other.read_bytes() == before
