"""onnxruntime, and nothing else of the project imports it: devices, sessions, bound runs.

Knows no models: names, shapes and dtypes come from the caller.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from edge_et import interruptible
from edge_et.config import Device
from edge_et.errors import (
    DeviceUnavailable,
    EdgeETError,
    InferenceFailed,
    LoadFailed,
    MissingDependency,
)
from edge_et.memory.measure import give_back

UsedDevice = Literal["cpu", "cuda"]
Array = npt.NDArray[Any]
_T = TypeVar("_T")

_log = logging.getLogger(__name__)

_PROVIDERS: dict[UsedDevice, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
}
_NUMPY_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}
_ERRORS_ONLY, _FATAL_ONLY = 3, 4
# y = x + x over float[1], IR 8, opset 13: the smallest model that makes a provider do something.
_PROBE_MODEL = bytes.fromhex(
    "0808 3a35 0a0e 0a0178 0a0178 120179 2203 416464 120167"
    "5a0f 0a0178 120a 0a08 0801 1204 0a02 0801"
    "620f 0a0179 120a 0a08 0801 1204 0a02 0801 4204 0a00 100d"
)


@functools.cache
def runtime() -> Any:
    """Import onnxruntime on first use and return it.

    The environment is written here, once: the Linux wheels carry an uploader of usage events that
    is on unless ORT_DISABLE_TELEMETRY is set before the library is loaded, and there is no other
    switch. Offline means offline.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as exc:
        raise MissingDependency(
            f"onnxruntime cannot be imported: {exc}", hint="pip install onnxruntime"
        ) from exc
    onnxruntime.set_default_logger_severity(_ERRORS_ONLY)
    return onnxruntime


@functools.cache
def usable_providers() -> tuple[str, ...]:
    """Return the execution providers that run a model here, by trying; best first.

    A wheel lists every provider it was built with, whether its libraries load or not.
    """
    names = runtime().get_available_providers()
    return tuple(name for name in names if _probe(name))


def resolve_device(wanted: Device) -> UsedDevice:
    """Return the device to run on. `auto` takes CUDA where it works; "cuda" never falls back."""
    if wanted == "cpu":
        return "cpu"
    if _PROVIDERS["cuda"] in usable_providers():
        return "cuda"
    built_in = _PROVIDERS["cuda"] in runtime().get_available_providers()
    if wanted == "cuda":
        raise DeviceUnavailable(
            "CUDA was asked for and onnxruntime cannot use it here"
            + ("" if built_in else ": the installed wheel is built without it"),
            hint="see what works: edge-et doctor; or run on the CPU: --device cpu"
            if built_in
            else "pip uninstall onnxruntime && pip install 'onnxruntime-gpu[cuda,cudnn]'; "
            "or run on the CPU: --device cpu",
        )
    if built_in:
        _log.warning("onnxruntime has CUDA built in but cannot use it here; running on the CPU")
    return "cpu"


class Session:
    """One graph on one device. Every call may raise InferenceFailed."""

    def __init__(self, path: Path, device: UsedDevice, threads: int, *, spin: bool = True) -> None:
        """Load the graph at `path` (external weights beside it are mapped, not copied).

        `spin=False` gives the cores back at the end of each run instead of a moment later.
        Raises LoadFailed, and DeviceUnavailable when the provider was dropped while loading.
        """
        ort = runtime()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        if not spin:
            options.add_session_config_entry("session.force_spinning_stop", "1")
        self.path, self.device, self.threads = path, device, threads
        self._options = options
        self._session: Any = None
        session = self._live()
        self.input_dtypes = {i.name: _dtype(i.type) for i in session.get_inputs()}
        self.output_dtypes = {o.name: _dtype(o.type) for o in session.get_outputs()}
        # Fixed sizes are ints; a size that varies is the graph's own name for it, or None.
        self.input_shapes: dict[str, tuple[int | str | None, ...]] = {
            i.name: tuple(i.shape) for i in session.get_inputs()
        }
        self.output_shapes: dict[str, tuple[int | str | None, ...]] = {
            o.name: tuple(o.shape) for o in session.get_outputs()
        }

    def release(self) -> None:
        """Free the weights; the next run or binding loads them again."""
        self._session = None
        give_back()

    def _live(self) -> Any:
        if self._session is None:
            self._session = self._open()
            give_back()  # of an inline graph, loading leaves a third of its size behind
        return self._session

    def _open(self) -> Any:
        ort, path, device = runtime(), self.path, self.device
        try:
            session = ort.InferenceSession(
                str(path), self._options, providers=_provider_list(device), enable_fallback=0
            )
        except Exception as exc:
            raise LoadFailed(
                f"onnxruntime {ort.__version__} cannot load {path}: {_first_line(exc)}",
                hint="check the files against their manifest: edge-et doctor",
            ) from exc
        session.disable_fallback()
        if _PROVIDERS[device] not in session.get_providers():
            raise DeviceUnavailable(
                f"onnxruntime dropped {device} while loading {path}",
                hint="see what works: edge-et doctor; or run on the CPU: --device cpu",
            )
        return session

    def run(
        self, feeds: Mapping[str, Array], output: str, cancelled: Callable[[], bool] | None = None
    ) -> Array:
        """Run once and return the output of that name. Asks `cancelled` meanwhile, and raises
        Cancelled between two nodes of the graph."""
        with _inference(self.path):
            session = self._live()
            results = _run(lambda options: session.run([output], dict(feeds), options), cancelled)
        array: Array = results[0]
        return array

    def run_all(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Run once and return the outputs of these names."""
        with _inference(self.path):
            results: list[Array] = self._live().run(list(outputs), dict(feeds))
        return results

    def bind(self) -> Binding:
        return Binding(self)


class Binding:
    """Inputs and outputs of a session held in place over many runs."""

    def __init__(self, session: Session) -> None:
        self._owner = session
        self._session = session._live()
        self._binding = self._session.io_binding()
        self._kept: dict[str, object] = {}

    def share(self, input_name: str, output_name: str, shape: tuple[int, ...]) -> Array | None:
        """Bind an input and an output to one zeroed buffer on the device of the session.

        The graph then updates its state in place (GroupQueryAttention compares the pointers).
        Returns the buffer itself; None where it does not lie in main memory.
        """
        ort, device = runtime(), self._owner.device
        buffer = np.zeros(shape, self._owner.input_dtypes[input_name])
        with _inference(self._owner.path):
            if device == "cpu":
                # calloc: pages stay unmapped until the cache grows into them.
                value = ort.OrtValue.ortvalue_from_numpy(buffer)
            else:
                value = ort.OrtValue.ortvalue_from_numpy(buffer, device, 0)
            self._binding.bind_ortvalue_input(input_name, value)
            self._binding.bind_ortvalue_output(output_name, value)
        self._kept[input_name] = value
        return buffer if device == "cpu" else None

    def bind_input(self, name: str, array: Array) -> None:
        """Bind a contiguous array; on the CPU without a copy, so it must not change until run."""
        self._kept[name] = array
        with _inference(self._owner.path):
            self._binding.bind_cpu_input(name, array)

    def bind_output(self, name: str, array: Array) -> None:
        """Let each run write the output into `array`, which lies in main memory."""
        self._kept[name] = array
        with _inference(self._owner.path):
            self._binding.bind_output(
                name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data
            )

    def run(self) -> None:
        with _inference(self._owner.path):
            self._session.run_with_iobinding(self._binding)

    def run_and_shrink(self, cancelled: Callable[[], bool] | None = None) -> None:
        """Run once and give the activations' memory back: for the few large runs of a prefill.

        Asks `cancelled` meanwhile, and raises Cancelled between two nodes of the graph.
        """

        def work(options: Any) -> None:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
            self._session.run_with_iobinding(self._binding, options)

        with _inference(self._owner.path):
            _run(work, cancelled)


def _run(work: Callable[[Any], _T], cancelled: Callable[[], bool] | None) -> _T:
    """Call `work` with options of its own; stop it between two nodes once `cancelled` says so."""
    options = runtime().RunOptions()
    if cancelled is None:
        return work(options)

    def stop() -> None:
        options.terminate = True

    return interruptible.run(lambda: work(options), stop, cancelled)


def _provider_list(device: UsedDevice) -> list[Any]:
    if device == "cpu":
        return [_PROVIDERS["cpu"]]
    # Exhaustive search for convolution algorithms (the default) costs seconds at the first run.
    cuda = (_PROVIDERS["cuda"], {"cudnn_conv_algo_search": "HEURISTIC"})
    return [cuda, _PROVIDERS["cpu"]]


def _probe(provider: str) -> bool:
    ort = runtime()
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.intra_op_num_threads = 1
    if provider != _PROVIDERS["cpu"]:  # else the CPU would quietly run the probe for it
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    ort.set_default_logger_severity(_FATAL_ONLY)  # a provider's library complains before a session
    try:
        session = ort.InferenceSession(
            _PROBE_MODEL, options, providers=[provider], enable_fallback=0
        )
        result = session.run(None, {"x": np.ones(1, np.float32)})[0]
        return provider in session.get_providers() and float(result[0]) == 2.0
    except Exception as exc:
        _log.debug("%s is not usable: %s", provider, exc)
        return False
    finally:
        ort.set_default_logger_severity(_ERRORS_ONLY)


def _dtype(onnx_type: str) -> np.dtype[Any]:
    try:
        return np.dtype(_NUMPY_TYPES[onnx_type])
    except KeyError:
        raise LoadFailed(f"a graph with inputs or outputs of {onnx_type} cannot be run") from None


@contextlib.contextmanager
def _inference(path: Path) -> Iterator[None]:
    try:
        yield
    except EdgeETError:
        raise
    except Exception as exc:
        raise InferenceFailed(f"onnxruntime failed in {path.name}: {_first_line(exc)}") from exc


def _first_line(exc: Exception) -> str:
    lines = str(exc).strip().splitlines()
    return lines[0] if lines else type(exc).__name__


__all__ = ["Binding", "Session", "resolve_device", "runtime", "usable_providers"]
