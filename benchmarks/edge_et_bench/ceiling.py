"""What the hardware gives: bytes read a second and multiply-adds a second, measured here and now.

Reading: each thread reduces its slice of a buffer far larger than the caches (numpy lets the others
run meanwhile). Multiply-adds: a MatMul and a MatMulInteger in onnxruntime with the same threads,
the library that does the work being judged. The best of several passes counts: it is a ceiling.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import psutil

from edge_et import ort
from edge_et_bench.records import Ceiling, Compute, Demand, Stage

_BUFFER_BYTES = 256 << 20
_PASSES = 7
_GEMM_SIDE = 1024
METHOD = (
    f"read: best of {_PASSES} passes of numpy's bitwise_or.reduce over 256 MiB, a slice a thread; "
    f"multiply-adds: best of {_PASSES} of onnxruntime's MatMul (fp32) and MatMulInteger (int8), "
    f"{_GEMM_SIDE} x {_GEMM_SIDE} x {_GEMM_SIDE}"
)


def measure(threads: int) -> Ceiling:
    """Measure with that many CPU threads; takes about a second and 256 MiB (less on a small
    machine)."""
    return Ceiling(
        threads=threads,
        read_bytes_per_s=_read_bytes_per_s(threads),
        macs_per_s={kind: _macs_per_s(kind, threads) for kind in get_args(Compute)},
        method=METHOD,
    )


def share(stage: Stage, demand: Demand, ceiling: Ceiling) -> dict[str, float]:
    """Return how much of each ceiling a stage reached, 0 to 1 (more when the weights fit a cache).

    Keys: "read", "macs"; one whose numbers are not known is absent.
    """
    shares: dict[str, float] = {}
    if stage.seconds <= 0:
        return shares
    if demand.bytes_per_step and stage.steps:
        read = demand.bytes_per_step * stage.steps / stage.seconds
        shares["read"] = read / ceiling.read_bytes_per_s
    macs = (demand.macs_per_token or 0) * (stage.tokens or 0)
    macs += (demand.macs_per_step or 0) * (stage.steps or 0)
    if macs and demand.compute in ceiling.macs_per_s:
        shares["macs"] = macs / stage.seconds / ceiling.macs_per_s[demand.compute]
    return shares


def _read_bytes_per_s(threads: int) -> float:
    size_bytes = min(_BUFFER_BYTES, psutil.virtual_memory().available // 4)
    slices = np.array_split(np.ones(size_bytes // 8, np.uint64), threads)
    with ThreadPoolExecutor(threads) as pool:
        best_s = _best_s(lambda: list(pool.map(np.bitwise_or.reduce, slices)))
    return sum(part.nbytes for part in slices) / best_s


def _macs_per_s(kind: Compute, threads: int) -> float:
    side = _GEMM_SIDE
    rng = np.random.default_rng(0)
    left, right = (rng.integers(0, 100, (side, side)) for _ in range(2))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "product.onnx"
        path.write_bytes(_product(kind, right))
        session = ort.Session(path, "cpu", threads)
    feeds = {"x": left.astype(np.float32 if kind == "fp32" else np.uint8)}
    return side**3 / _best_s(lambda: session.run(feeds, "y"))


def _product(kind: Compute, weights: npt.NDArray[np.int64]) -> bytes:
    """Return a model y = x @ weights; integers are multiplied as uint8 by int8."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    types = {
        "fp32": ("MatMul", TensorProto.FLOAT, TensorProto.FLOAT, np.float32),
        "int8": ("MatMulInteger", TensorProto.UINT8, TensorProto.INT32, np.int8),
    }
    operator, read, written, stored = types[kind]
    shape = list(weights.shape)
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", read, shape)],
        [helper.make_tensor_value_info("y", written, shape)],
        [numpy_helper.from_array(weights.astype(stored), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _best_s(work: Callable[[], Any]) -> float:
    work()
    times = []
    for _ in range(_PASSES):
        started_s = time.perf_counter()
        work()
        times.append(time.perf_counter() - started_s)
    return min(times)
