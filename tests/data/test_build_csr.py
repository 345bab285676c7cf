from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_core.data.matrix import build_csr
from recsys_core.errors import ConfigError

EVENTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.floats(0, 16, width=16)), max_size=25)
NAIVE = {"sum": sum, "last": lambda w: w[-1], "max": max, "count": len, "binary": lambda w: 1}


@pytest.mark.parametrize("aggregate", NAIVE)
@given(events=EVENTS)
def test_each_cell_equals_a_loop_s(aggregate, events):
    cells: dict[tuple[int, int], list[float]] = {}
    for u, i, w in events:
        cells.setdefault((u, i), []).append(w)
    columns = np.array(events, dtype=np.float64).reshape(-1, 3).T
    matrix = build_csr(
        columns[0].astype(np.int32), columns[1].astype(np.int32), columns[2].astype(np.float32), (4, 5), aggregate
    )
    stored = {(u, int(i)): w for u in range(4) for i, w in zip(matrix[u].indices, matrix[u].data, strict=True)}
    assert stored == {cell: NAIVE[aggregate](weights) for cell, weights in cells.items()}
    assert (matrix.data.dtype, matrix.indices.dtype, matrix.indptr.dtype) == (np.float32, np.int32, np.int32)
    assert matrix.tocoo().nnz == matrix.nnz  # SciPy refuses index arrays of two widths
    assert matrix.has_canonical_format
    # The flag is ours; scipy's own check of the arrays must agree.
    copy = matrix.copy()
    copy.has_canonical_format = False
    copy.sum_duplicates()
    np.testing.assert_array_equal(copy.indices, matrix.indices)


def test_cells_beyond_32_bits():
    n = 100_000
    row = np.array([n - 1, 0], dtype=np.int32)
    column = np.array([n - 1, 1], dtype=np.int32)
    matrix = build_csr(row, column, np.ones(2, np.float32), (n, n), "sum")
    assert matrix[n - 1, n - 1] == 1
    assert matrix[0, 1] == 1


def test_sums_do_not_lose_small_weights():
    n = 2**24 + 2  # float32 stops counting at 2**24
    zeros = np.zeros(n, dtype=np.int32)
    assert build_csr(zeros, zeros, np.ones(n, np.float32), (1, 1), "sum").data[0] == n


def test_unknown_aggregate():
    empty = np.zeros(0, dtype=np.int32)
    with pytest.raises(ConfigError, match="expected one of sum, last, max, count, binary, got 'mean'"):
        build_csr(empty, empty, np.zeros(0, np.float32), (1, 1), "mean")
