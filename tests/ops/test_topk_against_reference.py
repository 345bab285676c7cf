from __future__ import annotations

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_core import ops
from recsys_core.ops import _reference
from recsys_core.types import Ranking

DIMENSIONS = [1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 65, 128, 200]


def assert_same(got: Ranking, want: Ranking) -> None:
    np.testing.assert_array_equal(got.indices, want.indices)
    np.testing.assert_array_equal(got.scores, want.scores)
    assert got.indices.dtype == np.int64
    assert got.scores.dtype == np.float32


@pytest.mark.parametrize("n_factors", DIMENSIONS)
@pytest.mark.parametrize("n_queries", [1, 2, 3, 5, 7, 13, 40])
def test_whole_numbers_give_exactly_the_reference(isa: str, n_factors: int, n_queries: int) -> None:
    # Products and sums of small whole numbers are exact in float32, and many of them tie.
    rng = np.random.default_rng(n_factors * 100 + n_queries)
    items = rng.integers(-1, 2, (173, n_factors)).astype(np.float32)
    queries = rng.integers(-2, 3, (n_queries, n_factors)).astype(np.float32)
    bias = rng.integers(-1, 2, 173).astype(np.float32)
    want = _reference.topk(queries, items, 20, item_bias=bias)
    assert (np.diff(want.scores, axis=1) == 0).any()
    assert_same(ops.topk(queries, items, 20, item_bias=bias), want)
    assert_same(ops.topk(queries, items, 20), _reference.topk(queries, items, 20))


@pytest.mark.parametrize("n_factors", DIMENSIONS)
@pytest.mark.parametrize("metric", ["dot", "cosine"])
def test_real_numbers_agree_within_rounding(isa: str, n_factors: int, metric: str) -> None:
    rng = np.random.default_rng(n_factors)
    items = rng.standard_normal((301, n_factors), dtype=np.float32)
    queries = rng.standard_normal((19, n_factors), dtype=np.float32)
    items[5] = queries[3] = 0
    bias = rng.standard_normal(301, dtype=np.float32)
    got = ops.topk(queries, items, 30, item_bias=bias, metric=metric)
    want = _reference.topk(queries, items, 30, item_bias=bias, metric=metric)
    # A sum of n rounded products errs by at most about n half-ulps of the largest partial sum.
    tolerance = (n_factors + 2) * 2.0**-24 * (np.abs(queries).sum(axis=1).max() * np.abs(items).max() + 4)
    np.testing.assert_allclose(got.scores, want.scores, atol=tolerance, rtol=0)
    everything = _reference.topk(queries, items, 301, item_bias=bias, metric=metric)
    for row in range(19):
        exact = dict(zip(everything.indices[row], everything.scores[row], strict=True))
        np.testing.assert_allclose([exact[item] for item in got.indices[row]], want.scores[row], atol=tolerance, rtol=0)


@pytest.mark.parametrize("k", [1, 2, 31, 32, 33, 100, 999, 1000, 1001, 3000])
def test_every_length_of_list(isa: str, k: int) -> None:
    rng = np.random.default_rng(k)
    items = rng.integers(-3, 4, (1000, 5))
    queries = rng.integers(-3, 4, (9, 5))
    assert_same(ops.topk(queries, items, k), _reference.topk(queries, items, k))


def test_candidates_in_ascending_score_order_fill_the_buffer_again_and_again(isa: str) -> None:
    items = np.arange(5000, dtype=np.float32)[:, None]
    ranking = ops.topk([[1.0], [-1.0], [0.0]], items, 3)
    np.testing.assert_array_equal(ranking.indices, [[4999, 4998, 4997], [0, 1, 2], [0, 1, 2]])


@st.composite
def problems(draw: st.DrawFn) -> dict[str, object]:
    n_queries, n_items, n_factors = draw(st.integers(0, 14)), draw(st.integers(0, 90)), draw(st.integers(0, 6))
    whole = st.integers(-3, 3).map(float)
    index = st.integers(0, max(n_items - 1, 0))
    some_items = st.none() | st.lists(index, max_size=100 if n_items else 0)
    excluded = draw(st.none() | hnp.arrays(bool, (n_queries, n_items)))
    return {
        "queries": draw(hnp.arrays(np.float32, (n_queries, n_factors), elements=whole)),
        "item_factors": draw(hnp.arrays(np.float32, (n_items, n_factors), elements=whole)),
        "k": draw(st.integers(1, 100)),
        "item_bias": draw(st.none() | hnp.arrays(np.float32, n_items, elements=whole)),
        "exclude": None if excluded is None else sp.csr_array(excluded),
        "allow": draw(some_items),
        "deny": draw(some_items),
    }


@given(problem=problems(), n_threads=st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_any_small_problem_gives_exactly_the_reference(problem: dict, n_threads: int) -> None:
    assert_same(ops.topk(**problem, n_threads=n_threads), _reference.topk(**problem))
