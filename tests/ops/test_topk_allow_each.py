"""`allow` as CSR: other items for every query."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from recsys_core import errors, ops
from recsys_core.ops import _reference
from recsys_core.types import Ranking

N_ITEMS = 2_500


def assert_same(got: Ranking, want: Ranking) -> None:
    np.testing.assert_array_equal(got.indices, want.indices)
    np.testing.assert_array_equal(got.scores, want.scores)


def random_rows(rng: np.random.Generator, shape: tuple[int, int], density: float) -> sp.csr_array:
    return sp.random_array(shape, density=density, format="csr", rng=rng)


@pytest.mark.parametrize("n_queries", [1, 70])
@pytest.mark.parametrize("density", [0.0, 0.004, 0.2, 1.0])
@pytest.mark.parametrize("n_denied", [None, 300])
@pytest.mark.parametrize("excluded", [None, 0.3])
def test_each_query_gets_its_own_items(
    isa: str, n_queries: int, density: float, n_denied: int | None, excluded: float | None
) -> None:
    rng = np.random.default_rng(7)
    items = rng.integers(-3, 4, (N_ITEMS, 6))
    queries = rng.integers(-3, 4, (n_queries, 6))
    bias = rng.integers(-1, 2, N_ITEMS)
    filters = {
        "allow": random_rows(rng, (n_queries, N_ITEMS), density),
        "deny": None if n_denied is None else rng.choice(N_ITEMS, n_denied),
        "exclude": None if excluded is None else random_rows(rng, (n_queries, N_ITEMS), excluded),
    }
    want = _reference.topk(queries, items, 45, item_bias=bias, **filters)
    index = ops.ItemIndex(items, bias)
    for method in ("auto", "float32", "compact"):
        for n_threads in (1, 3):
            assert_same(index.topk(queries, 45, method=method, n_threads=n_threads, **filters), want)


def test_scores_have_the_bits_that_they_have_among_all_items(isa: str) -> None:
    rng = np.random.default_rng(0)
    index = ops.ItemIndex(rng.standard_normal((N_ITEMS, 37)), metric="cosine")
    queries = rng.standard_normal((40, 37))
    everything = index.topk(queries, N_ITEMS)
    for density in (0.01, 0.5):  # copied together, and where they lie
        allow = random_rows(rng, (40, N_ITEMS), density)
        got = index.topk(queries, N_ITEMS, allow=allow)
        for row in range(40):
            kept = np.isin(everything.indices[row], allow[[row]].indices)
            n = kept.sum()
            np.testing.assert_array_equal(got.indices[row, :n], everything.indices[row, kept])
            np.testing.assert_array_equal(
                got.scores[row, :n].view(np.uint32), everything.scores[row, kept].view(np.uint32)
            )
            assert (got.indices[row, n:] == -1).all()


@pytest.mark.parametrize("n_queries", [1, 3, 40])
@pytest.mark.parametrize("metric", ["dot", "cosine"])
def test_listing_and_scanning_meet(isa: str, n_queries: int, metric: str) -> None:
    """Rows of all lengths, over an index with a compact copy, some of whose items have changed since it was made."""
    rng = np.random.default_rng(n_queries)
    n_items = 20_011
    items = rng.standard_normal((n_items, 13)).astype(np.float32)
    bias = rng.standard_normal(n_items).astype(np.float32)
    queries = rng.standard_normal((n_queries, 13)).astype(np.float32)
    fresh = ops.ItemIndex(items, bias, metric)
    changed = ops.ItemIndex(items, bias, metric)
    changed.topk(queries, 1, method="compact")
    stale = rng.choice(n_items, 500, replace=False)
    for index in (fresh, changed):
        index.update(stale, items[stale[::-1]])
        index.append(items[:300], bias[:300])
        index.remove(stale[:50])
    seen = random_rows(rng, (n_queries, n_items + 300), 0.02)
    everything = fresh.topk(queries, n_items + 300, method="float32")
    for density in (0.0003, 0.002, 0.008, 0.03, 0.2, 0.95):
        allow = random_rows(rng, (n_queries, n_items + 300), density)
        for k in (1, 10, 700):
            for exclude in (None, seen):
                want = fresh.topk(queries, k, allow=allow, exclude=exclude, method="float32", n_threads=1)
                for method, n_threads in (("auto", 1), ("auto", 3), ("float32", 3), ("compact", 1)):
                    filters = {"allow": allow, "exclude": exclude, "method": method, "n_threads": n_threads}
                    assert_same(changed.topk(queries, k, **filters), want)
                    assert_same(fresh.topk(queries, k, **filters), want)
        for query in range(n_queries):  # and they are the best of all that are allowed
            best = everything.indices[query]
            best = best[np.isin(best, allow[[query]].indices) & (best >= 0)][:700]
            got = changed.topk(queries, 700, allow=allow).indices[query]
            np.testing.assert_array_equal(got[: len(best)], best)
            assert (got[len(best) :] == -1).all()


def test_only_the_structure_counts_in_any_order_and_with_repeats() -> None:
    items = np.arange(6, dtype=np.float32)[:, None]
    allow = sp.csr_array((np.zeros(4, np.int8), np.array([5, 3, 3, 0]), np.array([0, 4, 4])), shape=(2, 6))
    ranking = ops.topk([[1.0], [1.0]], items, 4, allow=allow)
    np.testing.assert_array_equal(ranking.indices, [[5, 3, 0, -1], [-1, -1, -1, -1]])


@pytest.mark.parametrize("dense", [True, False])
def test_item_item_weights(isa: str, dense: bool) -> None:
    rng = np.random.default_rng(1)
    weights = sp.random_array((300, 300), density=0.2, format="csr", rng=rng)
    weights.data = rng.integers(-3, 4, weights.nnz).astype(np.float32)
    histories = random_rows(rng, (9, 300), 0.1)
    histories.data = np.ones(histories.nnz, np.float32)
    filters = {"allow": random_rows(rng, (9, 300), 0.3), "exclude": histories, "deny": [3, 5]}
    given = weights.toarray() if dense else weights
    want = _reference.item_item_topk(histories, weights, 30, **filters)
    for n_threads in (1, 3):
        assert_same(ops.item_item_topk(histories, given, 30, n_threads=n_threads, **filters), want)


@pytest.mark.parametrize("n_queries", [1, 2, 5])
@pytest.mark.parametrize("allow", [None, "few", "each"])
def test_few_histories_have_the_columns_of_dense_weights_cut(n_queries: int, allow: str | None) -> None:
    rng = np.random.default_rng(n_queries)
    n_items = 4_100
    weights = rng.integers(-3, 4, (n_items, n_items)).astype(np.float32)
    histories = random_rows(rng, (n_queries, n_items), 0.05)
    histories.data = rng.integers(1, 3, histories.nnz).astype(np.float32)
    filters = {
        "exclude": histories,
        "deny": rng.choice(n_items, 500),
        "allow": {
            None: None,
            "few": rng.choice(n_items, 200),
            "each": random_rows(rng, (n_queries, n_items), 0.2),
        }[allow],
    }
    for k in (10, 5_000):
        want = _reference.item_item_topk(histories, weights, k, **filters)
        for n_threads in (1, 4):
            assert_same(ops.item_item_topk(histories, weights, k, n_threads=n_threads, **filters), want)


def test_a_matrix_of_another_shape_or_format_is_refused() -> None:
    index = ops.ItemIndex(np.ones((4, 3)))
    for shape in ((1, 4), (2, 5)):
        with pytest.raises(errors.ShapeError, match=r"allow must have shape \(2, 4\)"):
            index.topk(np.ones((2, 3)), 1, allow=sp.csr_array(shape))
    with pytest.raises(errors.DTypeError, match=r"allow must be a scipy\.sparse CSR"):
        index.topk(np.ones((2, 3)), 1, allow=sp.coo_array((2, 4)))
    outside = sp.csr_array((2, 4))
    outside.indices, outside.indptr, outside.data = np.array([9], np.int32), np.array([0, 1, 1]), np.ones(1)
    with pytest.raises(errors.DataError, match="allow must have column indices"):
        index.topk(np.ones((2, 3)), 1, allow=outside)
