"""Thousands of drawn problems against the float64 specification: every kind of data, filter, method, level and change.

Scores of small whole numbers are exact, so there indices and scores must be those of the specification.  Elsewhere a
score may err by its rounding, which is bounded, and so may the choice among items that lie closer than that.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys_core import _core, ops
from recsys_core.errors import DataError
from recsys_core.ops import _reference
from recsys_core.types import Ranking

KINDS = (
    "whole",
    "gaussian",
    "skewed",
    "equal rows",
    "zero rows",
    "all equal",
    "denormal",
    "any scale",
    "huge and tiny",
)
FILTERS = ("none", "few", "half", "all", "each few", "each half")


class Case(NamedTuple):
    """What is drawn; the numbers follow from it."""

    seed: int
    kind: str
    n_queries: int
    n_items: int
    n_factors: int
    k: int
    metric: str
    with_bias: bool
    allow: str
    deny: float
    exclude: float
    changed: bool
    isa: str
    n_threads: int


CASES = st.builds(
    Case,
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(KINDS),
    n_queries=st.sampled_from((0, 1, 2, 3, 7, 13)),
    n_items=st.sampled_from((1, 2, 3, 31, 32, 33, 63, 64, 65, 127, 129, 300, 1100)),
    n_factors=st.sampled_from((0, 1, 2, 3, 4, 5, 8, 15, 17, 33)),
    k=st.sampled_from((1, 2, 3, 10, 64, 2_000)),
    metric=st.sampled_from(("dot", "cosine")),
    with_bias=st.booleans(),
    allow=st.sampled_from(FILTERS),
    deny=st.sampled_from((0.0, 0.05, 0.5, 1.0)),
    exclude=st.sampled_from((0.0, 0.1, 0.6, 1.0)),
    changed=st.booleans(),
    isa=st.sampled_from(ops.available_isas()),
    n_threads=st.integers(0, 3),
)


def draw_rows(rng: np.random.Generator, kind: str, n: int, n_factors: int) -> np.ndarray:
    if kind == "whole":
        return rng.integers(-2, 3, (n, n_factors)).astype(np.float32)
    values = rng.standard_normal((n, n_factors)).astype(np.float32)
    if kind == "skewed":
        values *= rng.lognormal(0, 3, (n, 1)).astype(np.float32)
    elif kind == "equal rows" and n:
        values[rng.random(n) < 0.5] = values[0]
    elif kind == "all equal" and n:
        values[:] = values[0]
    elif kind == "zero rows":
        values[rng.random(n) < 0.7] = 0
    elif kind == "denormal":
        values *= np.float32(1e-41)
    elif kind == "any scale":
        values *= np.float32(10.0) ** rng.integers(-30, 31)
    elif kind == "huge and tiny":
        values *= np.float32(10.0) ** rng.integers(-30, 31, (n, 1)).astype(np.float32)
    return values


def draw_filters(rng: np.random.Generator, case: Case) -> dict[str, Any]:
    def some(density: float) -> np.ndarray:
        return rng.choice(case.n_items, round(density * case.n_items))

    def each(density: float) -> sp.csr_array:
        return sp.csr_array(rng.random((case.n_queries, case.n_items)) < density)

    allow = {"none": None, "few": some(0.03), "half": some(0.5), "all": some(1.0)}
    return {
        "allow": each(0.03 if case.allow == "each few" else 0.5) if "each" in case.allow else allow[case.allow],
        "deny": None if case.deny == 0 else some(case.deny),
        "exclude": None if case.exclude == 0 else each(case.exclude),
    }


def build(rng: np.random.Generator, case: Case, items: np.ndarray, bias: np.ndarray | None) -> tuple[Any, np.ndarray]:
    """The index, built at once or by changes, and the items removed from it."""
    if not case.changed:
        return ops.ItemIndex(items, bias, case.metric), np.empty(0, np.int64)
    first = int(rng.integers(0, case.n_items + 1))
    other = draw_rows(rng, "gaussian", first, case.n_factors)
    index = ops.ItemIndex(other, None if bias is None else np.zeros(first), case.metric)
    if rng.random() < 0.7:  # make the compact copy, which the changes then have to keep right
        index.topk(np.ones((1, case.n_factors)), 1, method="compact")
    removed = rng.choice(case.n_items, case.n_items // 5, replace=False)
    index.remove(removed[removed < first])
    rows = rng.permutation(first)
    for part in np.array_split(rows, 2):
        index.update(part, items[part], None if bias is None else bias[part])
    index.append(items[first:], None if bias is None else bias[first:])
    index.remove(removed)
    return index, removed


def check(case: Case) -> None:
    rng = np.random.default_rng(case.seed)
    items = draw_rows(rng, case.kind, case.n_items, case.n_factors)
    query_kind = rng.choice(("whole", case.kind)) if case.kind != "whole" else "whole"
    queries = draw_rows(rng, query_kind, case.n_queries, case.n_factors)
    bias = None
    if case.with_bias:
        bias = draw_rows(rng, case.kind, case.n_items, 1)[:, 0]
    filters = draw_filters(rng, case)
    index, removed = build(rng, case, items, bias)
    got = index.topk(queries, case.k, method="float32", n_threads=case.n_threads, **filters)
    for method in ("compact", "auto"):
        again = index.topk(queries, case.k, method=method, n_threads=case.n_threads, **filters)
        np.testing.assert_array_equal(again.indices, got.indices)
        np.testing.assert_array_equal(again.scores.view(np.uint32), got.scores.view(np.uint32))

    deny = removed if filters["deny"] is None else np.concatenate([removed, filters["deny"]])
    filters["deny"] = deny
    want = _reference.topk(queries, items, case.n_items, item_bias=bias, metric=case.metric, **filters)
    if case.kind == "whole" and case.metric == "dot":
        k = min(case.k, case.n_items)
        np.testing.assert_array_equal(got.indices[:, :k], want.indices[:, :k])
        np.testing.assert_array_equal(got.scores[:, :k], want.scores[:, :k])
    else:
        check_within_rounding(case, queries, items, bias, got, want)
    assert (got.indices[:, case.n_items :] == -1).all()


def check_within_rounding(
    case: Case, queries: np.ndarray, items: np.ndarray, bias: np.ndarray | None, got: Ranking, want: Ranking
) -> None:
    """`want` ranks every admissible item by its float64 score."""
    left, right = (matrix.astype(np.float64) for matrix in (queries, items))
    if case.metric == "cosine":
        left, right = _reference._unit_rows(left), _reference._unit_rows(right)
    shift = np.zeros(case.n_items) if bias is None else bias.astype(np.float64)
    scores = left @ right.T + shift
    sizes = np.abs(left) @ np.abs(right.T) + np.abs(shift)
    if sizes.max(initial=0) > 1e38:
        return  # scores may overflow; that the methods agree has been seen
    # d products and sums, the bias, and for cosine the scaling of two vectors, each rounded; and what underflows.
    tolerance = (case.n_factors + 6) * (2.0**-23 * sizes + 2.0**-125)
    for query in range(case.n_queries):
        admissible = want.indices[query][want.indices[query] >= 0]
        found = got.indices[query] >= 0
        n = min(case.k, len(admissible))
        assert found[:n].all()
        assert not found[n:].any()
        chosen, reached = got.indices[query, :n], got.scores[query, :n].astype(np.float64)
        assert np.isin(chosen, admissible).all()
        assert len(np.unique(chosen)) == n
        assert (np.abs(reached - scores[query, chosen]) <= tolerance[query, chosen]).all()
        ties = np.diff(reached) == 0
        assert (np.diff(reached) <= 0).all()
        assert (np.diff(chosen)[ties] > 0).all()
        left_out = np.setdiff1d(admissible, chosen)
        if n and len(left_out):
            assert (scores[query, left_out] - tolerance[query, left_out] <= reached[-1]).all()


def check_on_its_level(case: Case) -> None:
    before = ops.isa()
    _core._set_isa(case.isa)
    try:
        check(case)
    finally:
        _core._set_isa(before)


QUIET = (HealthCheck.too_slow, HealthCheck.data_too_large)


@given(case=CASES)
@settings(max_examples=400, suppress_health_check=QUIET)
def test_hundreds_of_problems(case: Case) -> None:
    check_on_its_level(case)


@pytest.mark.slow
@given(case=CASES)
@settings(max_examples=10_000, suppress_health_check=QUIET)
def test_ten_thousand_problems(case: Case) -> None:
    check_on_its_level(case)


@pytest.mark.parametrize("what", ["queries", "item_factors", "item_bias"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_named_by_its_place(what: str, value: float) -> None:
    rng = np.random.default_rng(0)
    given = {
        "queries": rng.standard_normal((40, 9)),
        "item_factors": rng.standard_normal((700, 9)),
        "item_bias": rng.standard_normal(700),
    }
    place = "position 699" if what == "item_bias" else f"row {len(given[what]) - 1}, column 8"
    given[what][(-1,) * given[what].ndim] = value
    with pytest.raises(DataError, match=f"{what} must hold finite numbers only, got .* at {place}"):
        ops.topk(k=3, **given)
