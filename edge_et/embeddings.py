"""The embedding table of an extractor: memory-mapped, so that only rows in use are resident."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_et.errors import LoadFailed

F32 = npt.NDArray[np.float32]


class EmbeddingTable:
    """Rows of a `.npy` file: floats [V, H], or records of `int8_rows`."""

    def __init__(self, path: Path, shape: tuple[int, int]) -> None:
        """Map the file. Raises LoadFailed unless it holds a table of `shape`."""
        self._rows = _map(path)
        dtype, found = self._rows.dtype, self._rows.shape
        if dtype.names is not None:
            found = (*found, *dtype[-1].shape)
        known = dtype.kind == "f" or dtype == int8_rows(shape[1])
        if found != shape or not known:
            raise LoadFailed(f"{path} holds {dtype} {found}, expected an embedding table {shape}")

    def __call__(self, ids: Sequence[int]) -> F32:
        """Gather rows [tokens, H]."""
        rows = self._rows[list(ids)]
        if rows.dtype.names is None:
            return rows.astype(np.float32)
        values: F32 = rows["values"].astype(np.float32)
        values *= rows["scale"].astype(np.float32)[:, None]
        return values


def int8_rows(hidden_size: int) -> np.dtype[Any]:
    """Return the record of a row in int8: value = scale * int8. 2 bytes more than H."""
    return np.dtype([("scale", "<f2"), ("values", "i1", (hidden_size,))])


def _map(path: Path) -> npt.NDArray[Any]:
    try:
        table: npt.NDArray[Any] = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as exc:
        raise LoadFailed(f"{path} cannot be read: {exc}") from exc
    return table


def load_vector(path: Path, size: int) -> F32:
    """Read a small float vector [size], such as `image_newline`. Raises LoadFailed."""
    vector = _map(path)
    if vector.shape != (size,) or vector.dtype.kind != "f":
        raise LoadFailed(f"{path} holds {vector.dtype} {vector.shape}, expected floats ({size},)")
    return np.array(vector, dtype=np.float32)
