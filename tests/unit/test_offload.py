"""How many layers go to the GPU, by its free memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import edge_et
from edge_et import llama_library, offload
from edge_et.config import RuntimeConfig
from edge_et.errors import InputError
from edge_et.gguf_header import GGUFHeader, TensorInfo, read_header
from edge_et.llama_library import DeviceMemory

GIB = 2**30
F16, LAYERS, LAYER_BYTES, KV_BYTES = 1, 10, 2 * 1000 * 1000, 2 * (2 * 64) * 2


def header(*, tied: bool = True, context: int = 4096) -> GGUFHeader:
    """Ten layers of 2 MB, 512 bytes of cache a token and layer, an output of 8 MB."""
    tensors = [TensorInfo(name="token_embd.weight", shape=(1000, 4000), type=F16, offset=0)]
    tensors += [
        TensorInfo(name=f"blk.{n}.ffn_up.weight", shape=(1000, 1000), type=F16, offset=0)
        for n in range(LAYERS)
    ]
    if not tied:
        tensors.append(TensorInfo(name="output.weight", shape=(1000, 8000), type=F16, offset=0))
    about = {
        "general.architecture": "qwen3",
        "qwen3.block_count": LAYERS,
        "qwen3.context_length": context,
        "qwen3.embedding_length": 1000,
        "qwen3.attention.head_count": 8,
        "qwen3.attention.head_count_kv": 2,
        "qwen3.attention.key_length": 64,
        "qwen3.attention.value_length": 64,
    }
    return GGUFHeader(path=Path("x.gguf"), version=3, metadata=about, tensors=tuple(tensors))


def room(layers: int, context: int = 4096) -> int:
    return offload._WORK_BYTES + layers * (LAYER_BYTES + context * KV_BYTES)


@pytest.mark.parametrize("layers", [0, 1, 7, 10])
def test_as_many_layers_as_fit_with_their_cache(layers: int) -> None:
    assert offload.fitting(header(), room(layers)) == layers
    assert offload.fitting(header(), room(layers + 1) - 1) == layers


def test_the_output_comes_last() -> None:
    assert offload.fitting(header(), room(LAYERS) + 8_000_000) == LAYERS + 1
    assert offload.fitting(header(tied=False), room(LAYERS) + 8_000_000) == LAYERS
    assert offload.fitting(header(tied=False), room(LAYERS) + 16_000_000) == LAYERS + 1


def test_a_long_context_is_planned_for_in_part() -> None:
    planned = offload.PLANNED_CONTEXT_TOKENS
    assert offload.fitting(header(context=131_072), room(3, planned)) == 3


@given(st.integers(0, 4 * GIB), st.integers(0, GIB))
def test_more_memory_never_means_fewer_layers(free: int, more: int) -> None:
    fewer, others = offload.fitting(header(), free), offload.fitting(header(), free + more)
    assert 0 <= fewer <= others <= LAYERS + 1


def test_what_is_asked_for_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = DeviceMemory(name="CUDA0", kind=1, free_bytes=room(4), total_bytes=8 * GIB)
    monkeypatch.setattr(offload, "gpu_memory", lambda: (memory,))
    found = [offload.choose(header(), wanted) for wanted in ("auto", "all", 3, 99)]
    assert [choice.layers for choice in found] == [4, 11, 3, 11]
    assert str(found[0]) == "4 of 11 layers on the GPU"


def test_the_sizes_of_a_real_file_add_up() -> None:
    path = Path(edge_et.__file__).parent / "models/starter/reasoner/reasoner.gguf"
    found = read_header(path)
    layers = sum(offload._layer_bytes(found).values()) + offload._output_bytes(found)
    assert 0.8 * path.stat().st_size < layers <= path.stat().st_size
    assert offload.fitting(found, 64 * GIB) == offload._layer_count(found) + 1
    assert offload.fitting(found, 0) == 0


def test_devices_are_listed_as_llama_cpp_sees_them() -> None:
    devices = llama_library.device_memory()
    assert any(device.kind == 0 and device.name for device in devices)
    assert all(0 < device.free_bytes <= device.total_bytes for device in devices if not device.kind)
    if not llama_library.features()["GPU_OFFLOAD"]:
        assert llama_library.gpu_memory() == ()


@pytest.mark.parametrize("wrong", [-1, "most"])
def test_other_words_are_refused(wrong: object) -> None:
    with pytest.raises(InputError, match="gpu_layers"):
        RuntimeConfig(gpu_layers=wrong)  # type: ignore[arg-type]
