"""int8 products through our sessions, where kernels without VNNI lose what 16 bits do not hold.

Weights and activations are the worst there are: at the end of their range and of one sign. On such
a processor, onnxruntime's default was wrong by 33 % (DynamicQuantizeMatMul, the vision tower's) and
by 99 % (MatMulIntegerToFloat, the w8a8 decoder's); docs/decisions/0011.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from edge_et.ort import Session  # noqa: E402

WIDTH, COLUMNS, BLOCK = 256, 48, 64
SCALE = np.float32(1 / 127)
CONTRIB = "com.microsoft"

WEIGHTS = np.where(np.random.default_rng(0).random((COLUMNS, WIDTH)) < 0.1, -127, 127).astype(
    np.int8
)
COLUMN_SCALES = np.full(COLUMNS, SCALE)
ZEROS = np.zeros(COLUMNS, np.int8)


def node(kind: str, inputs: Sequence[str], output: str = "y", **attributes: int) -> Any:
    domain = "" if kind == "QuantizeLinear" else CONTRIB
    return onnx.helper.make_node(kind, inputs, [output], domain=domain, **attributes)


def dynamic() -> tuple[list[Any], dict[str, Any]]:
    """As the int8 vision tower has it once onnxruntime has fused it."""
    tensors = {"w": WEIGHTS.T.copy(), "s": COLUMN_SCALES, "z": ZEROS}
    return [node("DynamicQuantizeMatMul", ["x", "w", "s", "z"])], tensors


def rows_and_columns() -> tuple[list[Any], dict[str, Any]]:
    """As the w8a8 decoder has it."""
    tensors = {
        "w": WEIGHTS.T.copy(),
        "s": COLUMN_SCALES,
        "z": ZEROS,
        "step": np.array(SCALE),
        "middle": np.array(128, np.uint8),
    }
    nodes = [
        node("QuantizeLinear", ["x", "step", "middle"], "u8"),
        node("MatMulIntegerToFloat", ["u8", "w", "step", "s", "middle", "z"]),
    ]
    return nodes, tensors


def blocks_of_8_bits() -> tuple[list[Any], dict[str, Any]]:
    """As the int8 decoder has it."""
    shape = (COLUMNS, WIDTH // BLOCK, BLOCK)
    tensors = {
        "w": (WEIGHTS.astype(np.int16) + 128).astype(np.uint8).reshape(shape),
        "s": np.full(shape[:2], SCALE).reshape(-1),
    }
    sizes = {"K": WIDTH, "N": COLUMNS, "bits": 8, "block_size": BLOCK, "accuracy_level": 4}
    return [node("MatMulNBits", ["x", "w", "s"], **sizes)], tensors


@pytest.mark.parametrize("rows", [1, 64])
@pytest.mark.parametrize("graph", [dynamic, rows_and_columns, blocks_of_8_bits])
def test_the_largest_sums_are_exact_to_the_activations_rounding(
    graph: Callable[[], tuple[list[Any], dict[str, Any]]], rows: int, tmp_path: Path
) -> None:
    x = np.random.default_rng(1).uniform(0.5, 1, (rows, WIDTH)).astype(np.float32)
    wanted = x @ (WEIGHTS.T * SCALE)
    found = Session(written(graph(), tmp_path), "cpu", 1).run({"x": x}, "y")
    assert np.linalg.norm(found - wanted) < 2e-3 * np.linalg.norm(wanted)


def written(graph: tuple[list[Any], dict[str, Any]], folder: Path) -> Path:
    nodes, tensors = graph
    float32, helper = onnx.TensorProto.FLOAT, onnx.helper
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "product",
            [helper.make_tensor_value_info("x", float32, [None, WIDTH])],
            [helper.make_tensor_value_info("y", float32, [None, COLUMNS])],
            [onnx.numpy_helper.from_array(array, name) for name, array in tensors.items()],
        ),
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid(CONTRIB, 1)],
        ir_version=10,
    )
    path = folder / "product.onnx"
    onnx.save(model, path)
    return path
