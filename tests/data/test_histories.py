from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_core.data import Histories
from recsys_core.errors import DataError, ShapeError

ROWS = st.lists(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 8, width=16)), max_size=6), max_size=6)


def build(rows):
    return Histories.from_lists([[i for i, _ in row] for row in rows], [[w for _, w in row] for row in rows])


@given(ROWS)
def test_csr_equals_the_sums_of_a_loop(rows):
    histories = build(rows)
    expected = np.zeros((len(rows), 6), dtype=np.float32)
    for u, row in enumerate(rows):
        for i, w in row:
            expected[u, i] += w
    matrix = histories.to_csr(6)
    np.testing.assert_array_equal(matrix.toarray(), expected)
    assert matrix.nnz == sum(len({i for i, _ in row}) for row in rows)
    assert (matrix.data.dtype, matrix.indices.dtype, matrix.indptr.dtype) == (np.float32, np.int32, np.int32)
    assert matrix.tocoo().nnz == matrix.nnz  # SciPy refuses index arrays of two widths


@given(ROWS, st.data())
def test_rows_equal_list_indexing(rows, data):
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1))) if rows else []
    got, expected = build(rows).rows(chosen), build([rows[u] for u in chosen])
    for name in ("indptr", "indices", "weights"):
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name))


def test_rows_by_mask_and_slice():
    histories = Histories.from_lists([[3], [], [1, 2]])
    assert histories.rows(np.array([True, False, True])).indices.tolist() == [3, 1, 2]
    assert histories.rows(slice(1, None)).lengths.tolist() == [0, 2]
    with pytest.raises(IndexError):
        histories.rows([3])


def test_dtypes_and_default_weights():
    histories = Histories.from_lists([[3, 3], [1]])
    assert len(histories) == 2
    assert histories.weights.tolist() == [1, 1, 1]
    assert (histories.indptr.dtype, histories.indices.dtype) == (np.int64, np.int32)
    assert histories.weights.dtype == np.float32


@pytest.mark.parametrize(
    ("indptr", "indices", "weights", "error", "message"),
    [
        ([1, 2], [0, 0], [1, 1], ShapeError, "from 1 to 2"),
        ([0, 1], [0, 0], [1, 1], ShapeError, "number of entries, 2"),
        ([], [], [], ShapeError, "indptr"),
        ([0, 2], [0, 0], [1], ShapeError, "weights"),
        ([0, 2, 1, 2], [0, 0], [1, 1], DataError, "falling value, got one at row 1"),
        ([0, 2], [0, -1], [1, 1], DataError, "got -1"),
    ],
)
def test_malformed(indptr, indices, weights, error, message):
    with pytest.raises(error, match=message):
        Histories(np.array(indptr), np.array(indices), np.array(weights))


def test_an_item_beyond_the_matrix():
    with pytest.raises(DataError, match="largest item index, 5, got 5"):
        Histories.from_lists([[5]]).to_csr(5)
