"""onnxruntime, and nothing else of the project imports it: sessions and bound runs.

Knows no models: names, shapes and dtypes come from the caller.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from edge_et import interruptible, saturation
from edge_et.errors import (
    DeviceUnavailable,
    EdgeETError,
    InferenceFailed,
    LoadFailed,
    MissingDependency,
)
from edge_et.memory.measure import give_back
from edge_et.placement import Placement

UsedDevice = Literal["cpu", "cuda"]
Array = npt.NDArray[Any]
_T = TypeVar("_T")

_log = logging.getLogger(__name__)

PROVIDERS: dict[UsedDevice, str] = {
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
ERRORS_ONLY = 3
SEE_WHAT_WORKS = "see what works: edge-et doctor; or run on the CPU: --device cpu"
_SHRINK = ("memory.enable_memory_arena_shrinkage", "cpu:0")
_NOT_CAPTURED = -1


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
    onnxruntime.set_default_logger_severity(ERRORS_ONLY)
    _preload_cuda(onnxruntime)
    return onnxruntime


def _preload_cuda(onnxruntime: Any) -> None:
    """Let a wheel with CUDA find the libraries that pip installed beside it.

    onnxruntime prints what it does not find; whether CUDA works is seen by trying.
    """
    if PROVIDERS["cuda"] not in onnxruntime.get_available_providers():
        return
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        onnxruntime.preload_dlls()
    for line in told.getvalue().splitlines():
        _log.debug("%s", line)


class Session:
    """One graph on one device. Every call may raise InferenceFailed."""

    def __init__(
        self,
        path: Path,
        device: UsedDevice,
        threads: int,
        *,
        spin: bool = True,
        capture: bool = False,
    ) -> None:
        """Load the graph at `path` (external weights beside it are mapped, not copied).

        `spin=False` gives the cores back at the end of each run instead of a moment later.
        `capture` lets runs be captured as CUDA graphs, where the graph allows it: see `captures`.
        Raises LoadFailed, and DeviceUnavailable when the provider was dropped while loading, or did
        not take all the work.
        """
        ort = runtime()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = ERRORS_ONLY
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        if saturation.saturates(ort):
            options.add_session_config_entry(*saturation.OPTION)
        if not spin:
            options.add_session_config_entry("session.force_spinning_stop", "1")
        self.path, self.device, self.threads = path, device, threads
        self._options = options
        self.captures = capture and device == "cuda"
        """Whether `Binding.run` may be given a graph."""
        self._session: Any = None
        session = self._live()
        self.placement = _placement(session)
        self._check_placement()
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
        try:
            return self._create()
        except LoadFailed as exc:
            if not self.captures:
                raise
            _log.warning("loading it without capture: %s", exc.message)
            self.captures = False
            return self._create()

    def _create(self) -> Any:
        ort, path, device = runtime(), self.path, self.device
        providers = _provider_list(device, capture=self.captures)
        try:
            session = ort.InferenceSession(
                str(path), self._options, providers=providers, enable_fallback=0
            )
        except Exception as exc:
            raise LoadFailed(
                f"onnxruntime {ort.__version__} cannot load {path}: {_first_line(exc)}",
                hint="check the files against their manifest: edge-et doctor",
            ) from exc
        session.disable_fallback()
        if PROVIDERS[device] not in session.get_providers():
            raise DeviceUnavailable(
                f"onnxruntime dropped {device} while loading {path}", hint=SEE_WHAT_WORKS
            )
        return session

    def _check_placement(self) -> None:
        """Raise DeviceUnavailable when work of the graph landed beside the device."""
        strays = self.placement.strays(PROVIDERS[self.device])
        if strays:
            few = ", ".join(f"{n} {op}" for op, n in list(strays.items())[:4])
            raise DeviceUnavailable(
                f"{self.path.name} did not land on {self.device}: {self.placement}, "
                f"work among them ({few})",
                hint="export it for the device: --preset cuda; or run on the CPU: --device cpu",
            )

    def run(
        self, feeds: Mapping[str, Array], output: str, cancelled: Callable[[], bool] | None = None
    ) -> Array:
        """Run once, give the activations' memory back, and return the output of that name.

        Asks `cancelled` meanwhile, and raises Cancelled between two nodes of the graph.
        """
        with _inference(self.path):
            session, options = self._live(), runtime().RunOptions()
            options.add_run_config_entry(*_SHRINK)
            results = _run(
                lambda options: session.run([output], dict(feeds), options), cancelled, options
            )
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
        self._kept: dict[str, Any] = {}

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

    def share_with(self, other: Binding, input_name: str, output_name: str) -> None:
        """Bind an input and an output to the buffer that `other` shares under that name."""
        value = self._kept[input_name] = other._kept[input_name]
        with _inference(self._owner.path):
            self._binding.bind_ortvalue_input(input_name, value)
            self._binding.bind_ortvalue_output(output_name, value)

    def place(self, name: str, array: Array) -> None:
        """Bind an input to a copy of the array on the device, which `write` changes in place."""
        with _inference(self._owner.path):
            value = runtime().OrtValue.ortvalue_from_numpy(array.copy(), self._owner.device, 0)
            self._binding.bind_ortvalue_input(name, value)
        self._kept[name] = value

    def place_output(self, name: str, shape: tuple[int, ...]) -> None:
        """Bind an output to a buffer on the device, which `read` copies."""
        with _inference(self._owner.path):
            value = runtime().OrtValue.ortvalue_from_shape_and_type(
                shape, self._owner.output_dtypes[name].type, self._owner.device, 0
            )
            self._binding.bind_ortvalue_output(name, value)
        self._kept[name] = value

    def write(self, name: str, array: Array) -> None:
        """Copy an array of the same shape into what `place` bound."""
        with _inference(self._owner.path):
            self._kept[name].update_inplace(array)

    def read(self, name: str) -> Array:
        """Return what lies in the buffer of `place_output`."""
        with _inference(self._owner.path):
            array: Array = self._kept[name].numpy()
        return array

    def run(self, graph: int | None = None) -> None:
        """Run once. With a number, where the session `captures`: capture the run under it the first
        time, and replay it from then on; all buffers must have stayed in place."""
        options = self._options(graph)
        with _inference(self._owner.path):
            self._session.run_with_iobinding(self._binding, options)

    def _options(self, graph: int | None) -> Any:
        options = runtime().RunOptions()
        if self._owner.captures:
            number = _NOT_CAPTURED if graph is None else graph
            options.add_run_config_entry("gpu_graph_id", str(number))
        return options

    def run_and_shrink(self, cancelled: Callable[[], bool] | None = None) -> None:
        """Run once and give the activations' memory back: for the few large runs of a prefill.

        Asks `cancelled` meanwhile, and raises Cancelled between two nodes of the graph.
        """

        options = self._options(None)
        options.add_run_config_entry(*_SHRINK)

        def work(options: Any) -> None:
            self._session.run_with_iobinding(self._binding, options)

        with _inference(self._owner.path):
            _run(work, cancelled, options)


def _run(work: Callable[[Any], _T], cancelled: Callable[[], bool] | None, options: Any) -> _T:
    """Call `work` with the options of one run; stop it between two nodes once `cancelled` says
    so."""
    if cancelled is None:
        return work(options)

    def stop() -> None:
        options.terminate = True

    return interruptible.run(lambda: work(options), stop, cancelled)


def _provider_list(device: UsedDevice, *, capture: bool) -> list[Any]:
    if device == "cpu":
        return [PROVIDERS["cpu"]]
    # Exhaustive search for convolution algorithms (the default) costs seconds at the first run.
    options = {"cudnn_conv_algo_search": "HEURISTIC"}
    if capture:
        options["enable_cuda_graph"] = "1"
    return [(PROVIDERS["cuda"], options), PROVIDERS["cpu"]]


def _placement(session: Any) -> Placement:
    return Placement.of(
        (subgraph.ep_name, node.op_type)
        for subgraph in session.get_provider_graph_assignment_info()
        for node in subgraph.get_nodes()
    )


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


__all__ = ["Binding", "Session", "runtime"]
