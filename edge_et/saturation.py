"""Whether int8 products are clipped on this processor, found out by making one.

x86 without VNNI adds pairs of uint8 x int8 products in 16 bits, and what they do not hold is
clipped without a word. onnxruntime has an option against it, which turns weights into uint8 and
takes kernels for those. It must not be set where nothing is clipped: VNNI and AMX have no such
kernels, and the option asks for the processor's tables of kernels, not for their entries
(docs/decisions/0011).
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from edge_et.errors import LoadFailed

OPTION = ("session.x64quantprecision", "1")
# y = MatMulInteger(a, b), a uint8 and b int8, IR 8, opset 13.
_MODEL = bytes.fromhex(
    "0808 3a3e 0a18 0a0161 0a0162 120179 220d 4d61744d756c496e7465676572 120167"
    "5a09 0a0161 1204 0a02 0802 5a09 0a0162 1204 0a02 0803"
    "6209 0a0179 1204 0a02 0806 4202 100d"
)
_ROWS, _DEPTH, _COLUMNS = 8, 64, 16


@functools.cache
def saturates(onnxruntime: Any) -> bool:
    """Tell whether the largest product of uint8 by int8 comes out of onnxruntime too small.

    Raises LoadFailed where it makes none.
    """
    largest = {
        "a": np.full((_ROWS, _DEPTH), 255, np.uint8),
        "b": np.full((_DEPTH, _COLUMNS), 127, np.int8),
    }
    try:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(_MODEL, options, providers=["CPUExecutionProvider"])
        product = session.run(None, largest)[0]
    except Exception as exc:
        raise LoadFailed(
            f"onnxruntime cannot multiply int8 on this CPU: {exc}", hint="see: edge-et doctor"
        ) from exc
    return bool(np.any(product != 255 * 127 * _DEPTH))
