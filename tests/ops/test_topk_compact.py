"""The compact scan gives the result of the float32 path, to the bit."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_core import ops
from recsys_core.types import Ranking


def assert_same(got: Ranking, want: Ranking) -> None:
    np.testing.assert_array_equal(got.indices, want.indices)
    np.testing.assert_array_equal(got.scores.view(np.uint32), want.scores.view(np.uint32))


def assert_methods_agree(index: ops.ItemIndex, queries: np.ndarray, k: int, **filters: object) -> None:
    want = index.topk(queries, k, method="float32", n_threads=1, **filters)
    for method in ("compact", "auto"):
        for n_threads in (1, 3):
            assert_same(index.topk(queries, k, method=method, n_threads=n_threads, **filters), want)


def gaussian(rng: np.random.Generator, n: int, n_factors: int) -> np.ndarray:
    return rng.standard_normal((n, n_factors)).astype(np.float32)


KINDS = [
    "gaussian",
    "whole",
    "any scale",
    "skewed",
    "equal rows",
    "zero rows",
    "denormal",
    "clustered",
    "outlier factor",
]


def factors(rng: np.random.Generator, kind: str, n: int, n_factors: int) -> np.ndarray:
    values = gaussian(rng, n, n_factors)
    if kind == "whole":  # many ties
        return rng.integers(-1, 2, (n, n_factors)).astype(np.float32)
    if kind == "any scale":
        return values * np.float32(10.0) ** rng.integers(-30, 31)
    if kind == "skewed":
        return values * rng.lognormal(0, 2, (n, 1)).astype(np.float32)
    if kind == "equal rows":
        values[rng.integers(0, n, n // 2)] = values[0]
    if kind == "zero rows":
        values[rng.random(n) < 0.7] = 0
    if kind == "denormal":
        return values * np.float32(1e-41)
    if kind == "clustered":
        return values[rng.integers(0, 3, n) % n] + np.float32(1e-3) * gaussian(rng, n, n_factors)
    if kind == "outlier factor":
        values[:, -1] *= 30
    return values


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", ["dot", "cosine"])
def test_every_kind_of_data(isa: str, kind: str, metric: str) -> None:
    rng = np.random.default_rng([KINDS.index(kind), metric == "dot"])
    for _ in range(25):
        n_factors = int(rng.choice([1, 3, 4, 7, 8, 15, 16, 17, 33, 64, 65, 200]))
        n_items = int(rng.choice([1, 2, 63, 64, 65, 130, 1_000, 2_500]))
        n_queries = int(rng.choice([1, 2, 5, 6, 7, 13, 40]))
        k = int(rng.choice([1, 2, 10, 50, 3_000]))
        items = factors(rng, kind, n_items, n_factors)
        queries = factors(rng, rng.choice(["gaussian", "whole", kind]), n_queries, n_factors)
        bias = None
        if rng.random() < 0.4:
            bias = (rng.standard_normal(n_items) * 10.0 ** rng.integers(-20, 8)).astype(np.float32)
        filters: dict[str, object] = {}
        if rng.random() < 0.3:
            filters["exclude"] = sp.random_array((n_queries, n_items), density=0.2, format="csr", rng=rng)
        if rng.random() < 0.2:
            filters["deny"] = rng.integers(0, n_items, 10)
        if rng.random() < 0.2:
            filters["allow"] = rng.integers(0, n_items, n_items)
        assert_methods_agree(ops.ItemIndex(items, bias, metric), queries, k, **filters)


@pytest.mark.parametrize("kind", KINDS)
def test_coarse_codes_of_many_items_for_a_few_queries(isa: str, kind: str) -> None:
    rng = np.random.default_rng(KINDS.index(kind))
    for metric, n_factors in (("dot", 3), ("dot", 33), ("cosine", 12), ("dot", 64)):
        items = factors(rng, kind, 17_003, n_factors)
        bias = rng.standard_normal(17_003).astype(np.float32) if n_factors == 33 else None
        index = ops.ItemIndex(items, bias, metric)
        for n_queries in (1, 2):
            seen = sp.random_array((n_queries, 17_003), density=0.05, format="csr", rng=rng)
            queries = factors(rng, rng.choice(["gaussian", kind]), n_queries, n_factors)
            assert_methods_agree(index, queries, 1, exclude=seen)
            assert_methods_agree(index, queries, 16)


@st.composite
def problems(draw: st.DrawFn) -> dict[str, object]:
    n_queries, n_items, n_factors = draw(st.integers(0, 14)), draw(st.integers(1, 140)), draw(st.integers(0, 9))
    # Few values, so that rows repeat; any float, so that scores tie, vanish and overflow.
    values = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.1]) | st.floats(width=32, allow_nan=False, allow_infinity=False)
    some_items = st.none() | st.lists(st.integers(0, n_items - 1), max_size=150)
    excluded = draw(st.none() | hnp.arrays(bool, (n_queries, n_items)))
    return {
        "index": ops.ItemIndex(
            draw(hnp.arrays(np.float32, (n_items, n_factors), elements=values)),
            draw(st.none() | hnp.arrays(np.float32, n_items, elements=values)),
            draw(st.sampled_from(["dot", "cosine"])),
        ),
        "queries": draw(hnp.arrays(np.float32, (n_queries, n_factors), elements=values)),
        "k": draw(st.integers(1, 160)),
        "exclude": None if excluded is None else sp.csr_array(excluded),
        "allow": draw(some_items),
        "deny": draw(some_items),
    }


@given(problem=problems())
@settings(max_examples=300, deadline=None)
def test_any_small_problem(problem: dict) -> None:
    assert_methods_agree(**problem)


@pytest.mark.parametrize("n_queries", [1, 3, 30, 300])
def test_larger_problems_cut_by_chunks_and_by_queries(isa: str, n_queries: int) -> None:
    rng = np.random.default_rng(n_queries)
    for kind in ("gaussian", "skewed", "clustered"):
        for with_bias in (False, True):
            items = factors(rng, kind, 20_011, 33)
            bias = rng.standard_normal(20_011).astype(np.float32) if with_bias else None
            seen = sp.random_array((n_queries, 20_011), density=0.01, format="csr", rng=rng)
            index = ops.ItemIndex(items, bias)
            for k in (10, 100):
                assert_methods_agree(index, gaussian(rng, n_queries, 33), k, exclude=seen)


@pytest.mark.parametrize("n_queries", [1, 5, 60])
@pytest.mark.parametrize("n_items", [5_003, 140_000])
def test_rows_of_few_and_of_many_excluded_items(n_items: int, n_queries: int) -> None:
    rng = np.random.default_rng(n_items)
    index = ops.ItemIndex(gaussian(rng, n_items, 16))
    queries = gaussian(rng, n_queries, 16)
    best = index.topk(queries, n_items, method="float32").indices
    # The best items of each query, in no order: none, one, a handful, about as many as make a bitmap, and nearly all.
    sizes = np.resize([0, n_items - 15, 1, 20, n_items // 900, n_items // 250, n_items // 2], n_queries)
    rows = [rng.permutation(best[query, :size]) for query, size in enumerate(sizes)]
    indptr = np.concatenate([[0], np.cumsum(sizes)])
    seen = sp.csr_array((np.ones(indptr[-1]), np.concatenate(rows), indptr), shape=(n_queries, n_items))
    assert_methods_agree(index, queries, 10, exclude=seen)
    got = index.topk(queries, 10, method="compact", exclude=seen)
    for query, size in enumerate(sizes):
        np.testing.assert_array_equal(got.indices[query], best[query, size : size + 10])


def test_a_query_is_given_up_where_everything_survives() -> None:
    # All items equal: no bound tells them apart, and the lowest indices win.
    rng = np.random.default_rng(0)
    queries = gaussian(rng, 200, 16)
    index = ops.ItemIndex(np.ones((40_000, 16)))
    for _ in range(3):
        for method in ("auto", "compact"):
            indices = index.topk(queries, 4, method=method).indices
            np.testing.assert_array_equal(indices, np.tile(np.arange(4), (200, 1)))
    # A few queries that cannot be bounded, among others that can.
    index = ops.ItemIndex(gaussian(rng, 40_000, 16))
    queries[::7] = 0
    seen = sp.random_array((200, 40_000), density=0.001, format="csr", rng=rng)
    assert_methods_agree(index, queries, 4, exclude=seen)


def test_scores_that_overflow_are_left_to_float32() -> None:
    items = np.full((100, 4), 3e38, dtype=np.float32)
    items[50:] *= -1
    for bias in (None, np.full(100, 3e38, dtype=np.float32)):
        index = ops.ItemIndex(items, bias)
        assert_methods_agree(index, np.array([[1, 1, 1, 1], [1, -1, 1, -1], [0, 0, 0, 0], [1e-38] * 4]), 60)
