"""Graphs whose weights lie in a file beside them: read without loading these, written anew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

_ALIGNMENT_BYTES = 4096  # or else a loader cannot map the file
_INLINE_BYTES = 1024


@dataclass(frozen=True, slots=True)
class GraphFile:
    model: Any
    path: Path
    tensors: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> GraphFile:
        """Read the nodes; the tensors stay where they are."""
        model = onnx.load(path, load_external_data=False)
        return cls(model, path, {tensor.name: tensor for tensor in model.graph.initializer})

    def array(self, name: str) -> npt.NDArray[Any]:
        """Return an initializer; those in the file beside are mapped."""
        tensor = self.tensors[name]
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            inside: npt.NDArray[Any] = numpy_helper.to_array(tensor)
            return inside
        where = {entry.key: entry.value for entry in tensor.external_data}
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        file = self.path.parent / where["location"]
        offset = int(where.get("offset", 0))
        return np.memmap(file, dtype, "r", offset, tuple(tensor.dims))


@dataclass(slots=True)
class TensorWriter:
    """Tensors of a new graph, the large ones in a file beside it."""

    file: Any
    name: str
    tensors: list[Any] = field(default_factory=list)

    def add(self, name: str, array: npt.NDArray[Any]) -> None:
        """Write a tensor now."""
        if array.nbytes <= _INLINE_BYTES:
            self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
            return
        self.file.write(b"\0" * (-self.file.tell() % _ALIGNMENT_BYTES))
        tensor = onnx.TensorProto(
            name=name,
            dims=array.shape,
            data_type=helper.np_dtype_to_tensor_dtype(array.dtype),
            data_location=onnx.TensorProto.EXTERNAL,
        )
        where = {"location": self.name, "offset": self.file.tell(), "length": array.nbytes}
        for key, value in where.items():
            tensor.external_data.add(key=key, value=str(value))
        self.file.write(np.ascontiguousarray(array).tobytes())
        self.tensors.append(tensor)


@contextmanager
def written(graph: GraphFile, target: Path) -> Iterator[TensorWriter]:
    """Let the caller write all tensors; then save the graph to `target` with them beside it.

    What the caller made of `graph.model` besides, its nodes above all, is saved as it is.
    """
    data = data_file(target)
    with data.open("wb") as file:
        writer = TensorWriter(file=file, name=data.name)
        yield writer
    del graph.model.graph.initializer[:]
    graph.model.graph.initializer.extend(writer.tensors)
    onnx.save(graph.model, target)


def data_file(path: Path) -> Path:
    """Return the file that holds the weights of the graph at `path`."""
    return path.with_name(path.name + "_data")


def attributes(node: Any) -> dict[str, int]:
    return {attribute.name: attribute.i for attribute in node.attribute}


def quantized_products(graph: GraphFile) -> Iterator[Any]:
    """Yield the products with weights in blocks."""
    return (node for node in graph.model.graph.node if node.op_type == "MatMulNBits")
