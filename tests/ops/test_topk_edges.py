from __future__ import annotations

import numpy as np
import pytest

from recsys_core import ops

HUGE = np.float32(3e38)


def test_scores_that_overflow(isa: str) -> None:
    items = np.array([[HUGE, HUGE], [0.1, 0.1], [-HUGE, -HUGE], [HUGE, HUGE], [0.2, 0.2]], dtype=np.float32)
    ranking = ops.topk(np.array([[HUGE, HUGE]]), items, 5)
    # inf is kept and comes first, -inf is never returned
    np.testing.assert_array_equal(ranking.indices, [[0, 3, 4, 1, -1]])
    assert np.isposinf(ranking.scores[0, :2]).all()


def test_not_a_number_is_never_returned(isa: str) -> None:
    # Sums of inf and -inf: NaN where products are rounded on their own, inf where they are fused into the sum.
    items = np.array([[0.1, 0.1], [HUGE, -HUGE], [0.2, 0.2]] * 20, dtype=np.float32)
    ranking = ops.topk(np.array([[HUGE, HUGE]]), items, 60)
    assert not np.isnan(ranking.scores).any()
    finite = np.isfinite(ranking.scores[0])
    np.testing.assert_array_equal(ranking.indices[0, finite], [*range(2, 60, 3), *range(0, 60, 3)])


def test_no_queries_no_items_no_factors(isa: str) -> None:
    assert ops.topk(np.empty((0, 3)), np.ones((5, 3)), 2).indices.shape == (0, 2)
    none = ops.topk(np.ones((2, 3)), np.empty((0, 3)), 2)
    np.testing.assert_array_equal(none.indices, [[-1, -1], [-1, -1]])
    by_bias = ops.topk(np.empty((2, 0)), np.empty((4, 0)), 2, item_bias=[1, 3, 3, 2])
    np.testing.assert_array_equal(by_bias.indices, [[1, 2], [1, 2]])
    assert ops.topk([[2.0]], [[3.0]], 1).scores == [[6.0]]


def test_cosine_of_tiny_huge_and_zero_vectors(isa: str) -> None:
    # The squares of these lengths are outside float32.
    items = np.array([[1e-30, 0], [1e30, 1e30], [0, 0], [-1e-30, 0]], dtype=np.float32)
    ranking = ops.topk([[1e-30, 0], [0, 0], [1e30, 0]], items, 4, metric="cosine")
    want = [[1, np.sqrt(0.5), 0, -1], [0, 0, 0, 0], [1, np.sqrt(0.5), 0, -1]]
    np.testing.assert_allclose(ranking.scores, want, rtol=1e-6)
    np.testing.assert_array_equal(ranking.indices, [[0, 1, 2, 3]] * 3)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8, np.int64, np.bool_])
def test_other_types_are_converted(dtype: type) -> None:
    items = np.array([[0, 1], [1, 1]]).astype(dtype)
    ranking = ops.topk(items, items, 2)
    np.testing.assert_array_equal(ranking.indices, [[0, 1], [1, 0]])
    np.testing.assert_array_equal(ranking.scores, [[1, 1], [2, 1]])


def test_other_layouts_are_converted() -> None:
    rng = np.random.default_rng(0)
    items, queries = rng.integers(0, 9, (40, 6)).astype(np.float32), rng.integers(0, 9, (7, 6)).astype(np.float32)
    want = ops.topk(queries, items, 5)
    wide = np.zeros((14, 12), dtype=np.float32)
    wide[::2, ::2] = queries
    got = ops.topk(wide[::2, ::2], np.asfortranarray(items), 5)
    np.testing.assert_array_equal(got.indices, want.indices)
    items.flags.writeable = queries.flags.writeable = False
    np.testing.assert_array_equal(ops.topk(queries, items, 5).indices, want.indices)


def test_index_describes_itself() -> None:
    index = ops.ItemIndex(np.ones((4, 3)), metric="cosine")
    assert (index.n_items, index.n_factors, index.metric) == (4, 3, "cosine")
    assert repr(index) == "ItemIndex(n_items=4, n_factors=3, metric='cosine')"
