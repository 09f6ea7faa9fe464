"""Counting where nodes landed: really, on the CPU's provider; and what counts as astray."""

from __future__ import annotations

from pathlib import Path

import pytest

import edge_et
from edge_et import ort
from edge_et.errors import DeviceUnavailable
from edge_et.placement import CPU, Placement

CUDA = "CUDAExecutionProvider"
STARTER = Path(edge_et.__file__).parent / "models/starter/extractor/onnx"


@pytest.fixture(scope="module")
def decoder() -> ort.Session:
    return ort.Session(STARTER / "decoder_model_merged_int8.onnx", "cpu", 1)


def test_a_real_graph_is_counted(decoder: ort.Session) -> None:
    placement = decoder.placement
    assert set(placement.nodes) == {CPU}
    assert placement.nodes[CPU]["GroupQueryAttention"] == 4
    assert placement.on(CPU) > 50
    assert str(placement) == f"{placement.on(CPU)} nodes on the CPU"
    assert placement.strays(CPU) == {}


def test_its_work_would_be_astray_on_another_device(decoder: ort.Session) -> None:
    strays = decoder.placement.strays(CUDA)
    assert {"MatMulNBits", "GroupQueryAttention"} < set(strays)
    assert "Cast" not in strays
    assert list(strays.values()) == sorted(strays.values(), reverse=True)


def test_sizes_may_be_computed_on_the_cpu() -> None:
    placement = Placement.of([(CUDA, "MatMul"), (CUDA, "Add"), (CPU, "Gather"), (CPU, "Cast")])
    assert placement.strays(CUDA) == {}
    assert str(placement) == "2 nodes on CUDA, 2 nodes on the CPU"


def test_work_beside_the_device_is_refused_with_the_numbers(
    decoder: ort.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed = Placement.of([(CUDA, "MatMul")] * 9 + [(CPU, "MatMulNBits")] * 2 + [(CPU, "Shape")])
    monkeypatch.setattr(decoder, "placement", mixed)
    monkeypatch.setattr(decoder, "device", "cuda")
    with pytest.raises(DeviceUnavailable, match="9 nodes on CUDA, 3 nodes on the CPU") as caught:
        decoder._check_placement()
    assert "2 MatMulNBits" in caught.value.message
    assert caught.value.exit_code == 5
    assert "--preset cuda" in str(caught.value.hint)
