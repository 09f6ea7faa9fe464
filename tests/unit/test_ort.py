"""Devices and sessions, with the one graph small enough to carry: y = x + x."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edge_et import ort, providers, saturation
from edge_et.config import RuntimeConfig
from edge_et.errors import Cancelled, DeviceUnavailable, InferenceFailed, LoadFailed


@pytest.fixture
def session(tmp_path: Path) -> ort.Session:
    path = tmp_path / "double.onnx"
    path.write_bytes(providers._PROBE_MODEL)
    return ort.Session(path, "cpu", 1)


@pytest.fixture
def slow_graph(tmp_path: Path) -> Path:
    """y = x, by 200 products: long enough to be stopped in."""
    onnx = pytest.importorskip("onnx")
    from onnx import helper, numpy_helper

    names = ["x", *(f"x{i}" for i in range(1, 200)), "y"]
    shape = [512, 512]
    graph = helper.make_graph(
        [helper.make_node("MatMul", [a, "one"], [b]) for a, b in itertools.pairwise(names)],
        "slow",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.eye(512, dtype=np.float32), "one")],
    )
    path = tmp_path / "slow.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


@pytest.fixture
def without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "usable_providers", lambda: ("CPUExecutionProvider",))


def test_a_session_runs(session: ort.Session) -> None:
    result = session.run({"x": np.array([3], np.float32)}, "y")
    assert result.tolist() == [6]
    assert session.input_dtypes == {"x": np.dtype(np.float32)}
    assert session.output_shapes == {"y": (1,)}
    assert (session.device, session.threads) == ("cpu", 1)


@pytest.mark.parametrize(("saturates", "wanted"), [(True, "1"), (False, "")])
def test_uint8_kernels_are_asked_for_only_where_int8_sums_overflow(
    saturates: bool, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VNNI and AMX have none: there, the option would take their kernels away."""
    monkeypatch.setattr(saturation, "saturates", lambda runtime: saturates)
    path = tmp_path / "double.onnx"
    path.write_bytes(providers._PROBE_MODEL)
    options = ort.Session(path, "cpu", 1)._options
    try:
        found = options.get_session_config_entry(saturation.OPTION[0])
    except RuntimeError:  # it is not there
        found = ""
    assert found == wanted


def test_an_onnxruntime_that_cannot_multiply_is_an_error_of_ours() -> None:
    with pytest.raises(LoadFailed, match="cannot multiply int8"):
        saturation.saturates(object())


def test_a_bound_session_writes_in_place(session: ort.Session) -> None:
    binding = session.bind()
    result = np.zeros(1, np.float32)
    binding.bind_output("y", result)
    for value in (1, 5):
        binding.bind_input("x", np.array([value], np.float32))
        binding.run()
        assert result.tolist() == [2 * value]


def test_input_and_output_can_share_a_buffer(session: ort.Session) -> None:
    binding = session.bind()
    binding.share("x", "y", (1,))
    shared = binding._kept["x"].numpy()
    shared[0] = 1
    for _ in range(3):
        binding.run()
    assert binding._kept["x"].numpy().tolist() == [8]


def test_foreign_errors_become_ours(session: ort.Session, tmp_path: Path) -> None:
    with pytest.raises(InferenceFailed, match=r"double\.onnx") as error:
        session.run({"x": np.zeros(1, np.int64)}, "y")
    assert error.value.__cause__ is not None
    with pytest.raises(LoadFailed, match=r"absent\.onnx"):
        ort.Session(tmp_path / "absent.onnx", "cpu", 1)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(LoadFailed, match="edge-et doctor"):
        ort.Session(broken, "cpu", 1)


def test_the_cpu_is_usable_and_a_cloud_is_no_device() -> None:
    assert "CPUExecutionProvider" in providers.usable_providers()
    assert "AzureExecutionProvider" not in providers.usable_providers()


def test_cuda_never_falls_back(without_cuda: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceUnavailable, match="built without it"):
        providers.resolve_device(RuntimeConfig(device="cuda").device)
    listed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort.runtime(), "get_available_providers", lambda: listed)
    with pytest.raises(DeviceUnavailable, match="doctor"):
        providers.resolve_device("cuda")


def test_auto_falls_back_and_says_so(
    without_cuda: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert providers.resolve_device("auto") == "cpu"
    assert not caplog.messages
    listed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort.runtime(), "get_available_providers", lambda: listed)
    assert providers.resolve_device("auto") == "cpu"
    assert "running on the CPU" in caplog.text


def test_a_provider_dropped_while_loading_is_an_error(tmp_path: Path) -> None:
    """onnxruntime itself only warns when CUDA's libraries do not load."""
    path = tmp_path / "double.onnx"
    path.write_bytes(providers._PROBE_MODEL)
    if "CUDAExecutionProvider" in providers.usable_providers():
        pytest.skip("CUDA works here")
    with pytest.raises((DeviceUnavailable, LoadFailed)):
        ort.Session(path, "cuda", 1)


def test_telemetry_is_off_before_onnxruntime_is_loaded() -> None:
    """In a fresh process: what the variable holds at the moment of the import."""
    code = (
        "import builtins, os, sys\n"
        "real, seen = builtins.__import__, []\n"
        "def spy(name, *rest):\n"
        "    if name.split('.')[0] == 'onnxruntime' and not seen:\n"
        "        seen.append(os.environ.get('ORT_DISABLE_TELEMETRY'))\n"
        "    return real(name, *rest)\n"
        "builtins.__import__ = spy\n"
        "from edge_et import extractor, ort\n"
        "assert 'onnxruntime' not in sys.modules and 'tokenizers' not in sys.modules\n"
        "ort.runtime()\n"
        "assert seen == ['1'], seen\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_run_that_is_cancelled_ends_within_the_graph_and_the_session_lives_on(
    slow_graph: Path,
) -> None:
    session = ort.Session(slow_graph, "cpu", 1)
    rows = np.ones((512, 512), np.float32)
    whole = session.run({"x": rows}, "y", lambda: False)
    asked = itertools.count()
    with pytest.raises(Cancelled):
        session.run({"x": rows}, "y", lambda: next(asked) >= 1)
    assert next(asked) == 2  # it was asked while the graph ran, and not again
    np.testing.assert_array_equal(session.run({"x": rows}, "y", lambda: False), whole)


def test_what_interrupts_the_wait_stops_the_run(slow_graph: Path) -> None:
    def ctrl_c() -> bool:
        raise KeyboardInterrupt

    session, rows = ort.Session(slow_graph, "cpu", 1), np.ones((512, 512), np.float32)
    with pytest.raises(KeyboardInterrupt):
        session.run({"x": rows}, "y", ctrl_c)
    assert (session.run({"x": rows}, "y", lambda: False) == rows).all()


@pytest.mark.parametrize("built_in", [True, False])
def test_the_libraries_of_cuda_are_looked_for_in_silence(
    built_in: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    called = []

    def preload_dlls() -> None:
        called.append(True)
        print("Failed to load libcudart.so")

    names = ["CUDAExecutionProvider"] * built_in + ["CPUExecutionProvider"]
    fake = SimpleNamespace(get_available_providers=lambda: names, preload_dlls=preload_dlls)
    ort._preload_cuda(fake)
    assert called == [True] * built_in
    assert capsys.readouterr().out == ""
