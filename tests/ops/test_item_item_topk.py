from __future__ import annotations

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_core import ops
from recsys_core.errors import DataError, ShapeError
from recsys_core.ops import _reference
from recsys_core.types import Ranking


def assert_same(got: Ranking, want: Ranking) -> None:
    np.testing.assert_array_equal(got.indices, want.indices)
    np.testing.assert_array_equal(got.scores, want.scores)


def whole_numbers(rng: np.random.Generator, shape: tuple[int, int], density: float) -> np.ndarray:
    return (rng.integers(-3, 4, shape) * (rng.random(shape) < density)).astype(np.float32)


@pytest.mark.parametrize("n_items", [1, 7, 31, 32, 33, 64, 65, 500])
@pytest.mark.parametrize("k", [1, 20, 600])
def test_whole_numbers_give_exactly_the_reference(isa: str, n_items: int, k: int) -> None:
    rng = np.random.default_rng(n_items)
    histories = sp.csr_array(whole_numbers(rng, (23, n_items), 0.2))
    weights = whole_numbers(rng, (n_items, n_items), 0.1)
    filters = {
        "exclude": histories,
        "allow": rng.choice(n_items, n_items),
        "deny": rng.choice(n_items, n_items // 4),
    }
    for given_filters in ({}, filters):
        want = _reference.item_item_topk(histories, weights, k, **given_filters)
        assert_same(ops.item_item_topk(histories, weights, k, **given_filters), want)
        assert_same(ops.item_item_topk(histories, sp.csr_array(weights), k, **given_filters), want)


def test_dense_and_sparse_weights_threads_and_batches_give_the_same_bits(isa: str) -> None:
    rng = np.random.default_rng(0)
    histories = sp.random_array((40, 333), density=0.1, format="csr", dtype=np.float32, rng=rng)
    sparse = sp.random_array((333, 333), density=0.3, format="csr", dtype=np.float32, rng=rng)
    want = ops.item_item_topk(histories, sparse, 50, n_threads=1)
    assert_same(ops.item_item_topk(histories, sparse.toarray(), 50, n_threads=1), want)
    assert_same(ops.item_item_topk(histories, sparse, 50, n_threads=5), want)
    for row in range(40):
        single = ops.item_item_topk(histories[[row]], sparse, 50)
        assert_same(single, Ranking(want.indices[[row]], want.scores[[row]]))


def test_repeated_columns_of_a_history_count_each_time(isa: str) -> None:
    histories = sp.csr_array((np.float32([1, 2, 1]), np.array([1, 0, 1]), np.array([0, 3])), shape=(1, 2))
    ranking = ops.item_item_topk(histories, [[0, 5], [7, 0]], 2)
    np.testing.assert_array_equal(ranking.indices, [[0, 1]])
    np.testing.assert_array_equal(ranking.scores, [[14, 10]])


def test_items_of_zero_and_negative_score_are_candidates(isa: str) -> None:
    histories = sp.csr_array(np.float32([[1, 0, 0], [0, 0, 0]]))
    ranking = ops.item_item_topk(histories, np.float32([[-1, 0, 2], [0, 0, 0], [0, 0, 0]]), 3)
    np.testing.assert_array_equal(ranking.indices, [[2, 1, 0], [0, 1, 2]])


def test_scores_that_overflow(isa: str) -> None:
    huge = np.float32(3e38)
    histories = sp.csr_array(np.float32([[huge, 0, huge]]))
    weights = np.float32([[huge, -huge, huge], [0, 0, 0], [huge, -huge, -huge]])
    ranking = ops.item_item_topk(histories, weights, 3)
    # The last item's inf - inf is NaN, or inf where the product is fused into the sum.
    assert ranking.indices[0].tolist() in ([0, -1, -1], [0, 2, -1])
    assert not np.isnan(ranking.scores).any()
    assert np.isposinf(ranking.scores[0, 0])


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_only_rows_that_a_history_names_are_read(kind: type) -> None:
    weights = np.float32([[0, 1, 2], [np.nan, 0, 1], [0, np.inf, 0]])
    histories = sp.csr_array(np.float32([[1, 0, 0]]))
    np.testing.assert_array_equal(ops.item_item_topk(histories, kind(weights), 1).indices, [[2]])
    with pytest.raises(DataError, match=r"^weights must hold finite numbers only, got inf at row 2, column 1"):
        ops.item_item_topk(sp.csr_array(np.float32([[0, 0, 1]])), kind(weights), 1)


def test_a_column_out_of_range_is_refused() -> None:
    histories = sp.csr_array(np.float32([[1, 1]]))
    broken = sp.csr_array(np.float32([[0, 1], [1, 0]]))
    broken.indices = np.array([1, 2], dtype=np.int32)
    with pytest.raises(DataError, match=r"^weights must have column indices in \[0, 2\), got 2 in row 1"):
        ops.item_item_topk(histories, broken, 1)
    with pytest.raises(DataError, match=r"^histories must have column indices in \[0, 2\), got 2 in row 1"):
        ops.item_item_topk(broken, np.eye(2), 1)


@pytest.mark.parametrize("weights", [np.eye(2), np.ones((2, 3)), sp.eye_array(4, format="csr")])
def test_weights_of_another_shape_are_refused(weights: object) -> None:
    with pytest.raises(ShapeError, match=r"^weights must have "):
        ops.item_item_topk(sp.csr_array(np.ones((1, 3))), weights, 1)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_inputs_need_not_be_the_items(kind) -> None:
    histories, weights = np.float32([[1, 2], [0, 1]]), np.float32([[1, 0, 3], [0, 4, 1]])
    ranking = ops.item_item_topk(
        sp.csr_array(histories), kind(weights), 3, exclude=sp.csr_array([[0, 0, 0], [0, 1, 0]])
    )
    np.testing.assert_array_equal(ranking.indices, [[1, 2, 0], [2, 0, -1]])
    np.testing.assert_array_equal(ranking.scores, np.float32([[8, 5, 1], [1, 0, -np.inf]]))


@given(data=st.data(), n_queries=st.integers(0, 6), n_items=st.integers(0, 70), k=st.integers(1, 80))
@settings(max_examples=50, deadline=None)
def test_any_small_problem_gives_exactly_the_reference(
    data: st.DataObject, n_queries: int, n_items: int, k: int
) -> None:
    whole = st.integers(-2, 2).map(float)
    histories = sp.csr_array(data.draw(hnp.arrays(np.float32, (n_queries, n_items), elements=whole)))
    weights = data.draw(hnp.arrays(np.float32, (n_items, n_items), elements=whole))
    want = _reference.item_item_topk(histories, weights, k, exclude=histories)
    assert_same(ops.item_item_topk(histories, weights, k, exclude=histories), want)
    assert_same(ops.item_item_topk(histories, sp.csr_array(weights), k, exclude=histories), want)
