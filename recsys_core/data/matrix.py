"""Events to a canonical CSR matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from recsys_core.data.order import cell_order
from recsys_core.errors import ConfigError

if TYPE_CHECKING:
    import scipy.sparse as sp

    from recsys_core.types import FloatArray, Index32Array

__all__ = ["Aggregate", "build_csr"]

Aggregate: TypeAlias = Literal["sum", "last", "max", "count", "binary"]
"""What repeated events of a user-item pair add up to."""


def build_csr(
    rows: Index32Array, columns: Index32Array, weights: FloatArray, shape: tuple[int, int], aggregate: Aggregate
) -> sp.csr_matrix[Any]:
    """Build a CSR matrix, one stored entry for each distinct (row, column) pair.

    Parameters
    ----------
    rows, columns
        int32, shape (n,): the cell of each event.
    weights
        float32, shape (n,).
    shape
        (n_rows, n_columns).
    aggregate
        What a cell holds: the "sum" of its events' weights, the "last" in the order given, the "max", their
        "count", or 1 ("binary").

    Returns
    -------
    scipy.sparse.csr_matrix
        float32 data, sorted unique indices; indices and indptr of one width, as SciPy demands: int32, and int64
        from 2**31 stored entries on.  A cell whose weights are 0 is stored.

    Notes
    -----
    O(n + n_rows + n_columns), and three temporaries of 8 n bytes.  Sums are accumulated in float64.
    """
    import scipy.sparse as sp

    if aggregate not in get_args(Aggregate):
        raise ConfigError(f"aggregate: expected one of {', '.join(get_args(Aggregate))}, got {aggregate!r}")
    order = cell_order(rows, columns, shape)
    rows, columns = rows[order], columns[order]
    is_first = np.ones(len(rows), bool)
    is_first[1:] = (rows[1:] != rows[:-1]) | (columns[1:] != columns[:-1])
    first = np.flatnonzero(is_first)
    ends = np.append(first, len(rows))[1:]
    if aggregate == "binary":
        data = np.ones(len(first), dtype=np.float32)
    elif aggregate == "count":
        data = (ends - first).astype(np.float32)
    elif aggregate == "last":
        data = weights[order[ends - 1]]
    elif len(first) == len(rows):
        data = weights[order]
    elif aggregate == "max":
        data = np.maximum.reduceat(weights[order], first)
    else:
        data = np.add.reduceat(weights[order], first, dtype=np.float64).astype(np.float32)
    indptr = np.zeros(shape[0] + 1, np.int64)
    np.cumsum(np.bincount(rows[first], minlength=shape[0]), out=indptr[1:])
    indices = columns[first].astype(np.int32, copy=False)
    matrix: sp.csr_matrix[Any] = sp.csr_matrix((data, indices, indptr), shape=shape)
    matrix.has_canonical_format = True
    return matrix
