from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from recsys_core import ops
from recsys_core.ops import _reference
from recsys_core.types import Ranking

N_ITEMS = 2_500


def assert_same(got: Ranking, want: Ranking) -> None:
    np.testing.assert_array_equal(got.indices, want.indices)
    np.testing.assert_array_equal(got.scores, want.scores)


@pytest.mark.parametrize("n_queries", [1, 70])
@pytest.mark.parametrize("n_allowed", [None, 0, 1, 40, 2_000])
@pytest.mark.parametrize("n_denied", [None, 0, 300])
@pytest.mark.parametrize("density", [None, 0.0, 0.3])
def test_filters_combine(isa: str, n_queries: int, n_allowed: int | None, n_denied: int | None, density: float) -> None:
    rng = np.random.default_rng(7)
    items = rng.integers(-3, 4, (N_ITEMS, 6))
    queries = rng.integers(-3, 4, (n_queries, 6))
    filters = {
        "allow": None if n_allowed is None else rng.choice(N_ITEMS, n_allowed),  # unordered, with repeats
        "deny": None if n_denied is None else rng.choice(N_ITEMS, n_denied),
        "exclude": None
        if density is None
        else sp.random_array((n_queries, N_ITEMS), density=density, format="csr", rng=rng),
    }
    assert_same(ops.topk(queries, items, 45, **filters), _reference.topk(queries, items, 45, **filters))


def test_a_query_whose_best_items_are_all_excluded(isa: str) -> None:
    items = np.arange(N_ITEMS, dtype=np.float32)[:, None]
    seen = sp.csr_array((np.arange(N_ITEMS) >= 10)[None, :])
    np.testing.assert_array_equal(ops.topk([[1.0]], items, 3, exclude=seen).indices, [[9, 8, 7]])


def test_a_query_without_an_admissible_item_is_padded(isa: str) -> None:
    items = np.ones((50, 2))
    for filters in ({"allow": []}, {"deny": range(50)}, {"exclude": sp.csr_array(np.ones((1, 50)))}):
        ranking = ops.topk([[1.0, 1.0]], items, 3, **filters)
        np.testing.assert_array_equal(ranking.indices, [[-1, -1, -1]])
        np.testing.assert_array_equal(ranking.scores, [[-np.inf] * 3])


def test_exclude_counts_structure_only_in_any_order_and_type() -> None:
    items = np.arange(6, dtype=np.float32)[:, None]
    unsorted = sp.csr_array((np.array([0, 7, 0], dtype=np.int8), np.array([5, 3, 3]), np.array([0, 3])), shape=(1, 6))
    assert not unsorted.has_sorted_indices
    for columns in (np.int32, np.int64):
        unsorted.indices = np.array([5, 3, 3], dtype=columns)
        np.testing.assert_array_equal(ops.topk([[1.0]], items, 3, exclude=unsorted).indices, [[4, 2, 1]])
    np.testing.assert_array_equal(unsorted.indices, [5, 3, 3])  # the caller's matrix is left alone


def test_matrices_and_arrays_of_scipy_are_both_taken() -> None:
    items = np.arange(6, dtype=np.float32)[:, None]
    seen = np.array([[0, 0, 0, 0, 0, 1]])
    for kind in (sp.csr_array, sp.csr_matrix):
        np.testing.assert_array_equal(ops.topk([[1.0]], items, 2, exclude=kind(seen)).indices, [[4, 3]])
