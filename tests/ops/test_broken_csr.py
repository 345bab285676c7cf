"""Sparse matrices whose arrays do not fit together are refused before anything reads past their ends."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
import scipy.sparse as sp

from recsys_core import _core, errors, ops

if TYPE_CHECKING:
    from collections.abc import Callable

FACTORS = np.ones((5, 2), dtype=np.float32)
CALLS: dict[str, Callable[[sp.csr_matrix], object]] = {
    "als": lambda matrix: ops.als(matrix, 4),
    "bpr": lambda matrix: ops.bpr(matrix, 4, n_epochs=1),
    "warp": lambda matrix: ops.warp(matrix, 4, n_epochs=1),
    "logistic_mf": lambda matrix: ops.logistic_mf(matrix, 4, n_epochs=1),
    "bpr features": lambda matrix: ops.bpr(sp.csr_matrix(np.eye(5)), 4, n_epochs=1, item_features=matrix),
    "slim": lambda matrix: ops.slim(matrix, l1=1.0, l2=1.0),
    "item_neighbors": lambda matrix: ops.item_neighbors(matrix, 2),
    "fold_in": lambda matrix: ops.fold_in(matrix, FACTORS),
    "item_item_topk": lambda matrix: ops.item_item_topk(matrix, np.eye(5), 2),
    "item_item_topk weights": lambda matrix: ops.item_item_topk(sp.csr_matrix(np.eye(5)), matrix, 2),
}


def ones() -> sp.csr_matrix:
    return sp.csr_matrix(np.ones((5, 5), dtype=np.float32))


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("n_values", [0, 24, 26])
def test_every_entry_needs_a_value(call: Callable[[sp.csr_matrix], object], n_values: int) -> None:
    matrix = ones()
    matrix.data = np.ones(n_values, dtype=np.float32)
    message = rf"must have as many values as column indices, got {n_values} and 25$"
    with pytest.raises(errors.ShapeError, match=message):
        call(matrix)


BROKEN_INDPTR = {
    "empty": ([], "must "),
    "not from 0": ([1, 5, 10, 15, 20, 25], "must start with 0"),
    "falling": ([0, 5, 4, 15, 20, 25], "must never fall, but does after row 1"),
    "short": ([0, 5, 10, 15, 20, 24], "must end at the number of stored entries, 25, got 24"),
    "long": ([0, 5, 10, 15, 20, 2**40], "must end at the number of stored entries, 25, got 1099511627776"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(("indptr", "message"), BROKEN_INDPTR.values(), ids=BROKEN_INDPTR)
def test_a_broken_indptr_is_refused(call: Callable[[sp.csr_matrix], object], indptr: list[int], message: str) -> None:
    matrix = ones()
    matrix.indptr = np.array(indptr, dtype=np.int64)
    with pytest.raises(errors.DataError, match=r"\.indptr " + re.escape(message)):
        call(matrix)


def test_the_core_itself_refuses_a_view_without_rows_or_values() -> None:
    nothing = np.empty(0, dtype=np.int64)
    columns, values = np.zeros(1, dtype=np.int32), np.ones(1, dtype=np.float32)
    with pytest.raises(errors.DataError, match=r"^item_vectors\.indptr must have one entry more than there are rows"):
        _core.row_neighbors((nothing, columns, values, 3), 1, n_threads=1)
    with pytest.raises(errors.ShapeError, match=r"^item_vectors must have as many values as column indices, got 0 and"):
        _core.row_neighbors((np.array([0, 1]), columns, values[:0], 3), 1, n_threads=1)
    with pytest.raises(errors.DataError, match=r"^exclude\.indptr must have one entry more than there are rows"):
        _core.ItemIndex(FACTORS, None, "dot").topk(FACTORS[:1], 1, (nothing, columns, 5), None, None, 1, "auto")
