"""The embedding table: rows of a mapped file, in floats and in int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_et.embeddings import EmbeddingTable, int8_rows, load_vector
from edge_et.errors import LoadFailed


def test_rows_of_floats(tmp_path: Path) -> None:
    path = tmp_path / "table.npy"
    np.save(path, np.arange(8, dtype=np.float16).reshape(4, 2))
    rows = EmbeddingTable(path, (4, 2))([3, 0])
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, [[6, 7], [0, 1]])


def test_rows_in_int8_carry_their_scale(tmp_path: Path) -> None:
    table = np.zeros(3, int8_rows(2))
    table["scale"], table["values"] = [1, 0.5, 2], [[1, -2], [127, 4], [0, 3]]
    np.save(tmp_path / "table.npy", table)
    rows = EmbeddingTable(tmp_path / "table.npy", (3, 2))([1, 2])
    np.testing.assert_array_equal(rows, [[63.5, 2], [0, 6]])


@pytest.mark.parametrize("shape", [(4, 3), (5, 2), (3, 2)])
def test_another_shape_is_refused(tmp_path: Path, shape: tuple[int, int]) -> None:
    for name, table in (("a", np.zeros((4, 2), np.float16)), ("b", np.zeros(4, int8_rows(2)))):
        np.save(tmp_path / f"{name}.npy", table)
        with pytest.raises(LoadFailed, match="expected an embedding table"):
            EmbeddingTable(tmp_path / f"{name}.npy", shape)


def test_other_contents_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.npy"
    for table in (np.zeros((4, 2), np.int32), np.zeros(4, [("a", "f2"), ("b", "i1", (2,))])):
        np.save(path, table)
        with pytest.raises(LoadFailed):
            EmbeddingTable(path, (4, 2))
    path.write_bytes(b"nothing")
    with pytest.raises(LoadFailed, match="cannot be read"):
        EmbeddingTable(path, (4, 2))


def test_a_vector(tmp_path: Path) -> None:
    path = tmp_path / "newline.npy"
    np.save(path, np.ones(4, np.float16))
    assert load_vector(path, 4).dtype == np.float32
    with pytest.raises(LoadFailed, match="expected floats"):
        load_vector(path, 5)
