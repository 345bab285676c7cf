"""Scores depend on the query and the item alone, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_core import _core, ops
from recsys_core.types import Ranking


def assert_same(left: Ranking, right: Ranking) -> None:
    np.testing.assert_array_equal(left.indices, right.indices)
    np.testing.assert_array_equal(left.scores.view(np.uint32), right.scores.view(np.uint32))


def random(n: int, n_factors: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, n_factors), dtype=np.float32)


@pytest.mark.parametrize("metric", ["dot", "cosine"])
@pytest.mark.parametrize("n_threads", [0, 2, 3, 7])
@pytest.mark.parametrize("n_queries", [1, 5, 300])
def test_threads_do_not_change_a_bit(isa: str, metric: str, n_threads: int, n_queries: int) -> None:
    # 300 queries are cut by queries, 1 and 5 by items as well.
    index = ops.ItemIndex(random(20_011, 33), random(20_011, 1)[:, 0], metric)
    queries = random(n_queries, 33, seed=1)
    assert_same(index.topk(queries, 50, n_threads=n_threads), index.topk(queries, 50, n_threads=1))


def test_a_batch_gives_the_bits_of_its_single_queries(isa: str) -> None:
    index = ops.ItemIndex(random(1_003, 65))
    queries = random(101, 65, seed=1)
    batch = index.topk(queries, 25)
    for n in (1, 2, 3, 4, 6, 8, 11, 12, 13):
        part = index.topk(queries[:n], 25)
        assert_same(part, Ranking(batch.indices[:n], batch.scores[:n]))


def test_equal_items_tie_wherever_they_lie(isa: str) -> None:
    items = random(500, 37)
    copies = [3, 31, 32, 47, 300, 499]
    items[copies] = items[3] * 5
    ranking = ops.topk(items[[3]], items, len(copies))
    np.testing.assert_array_equal(ranking.indices[0], copies)
    assert len(np.unique(ranking.scores)) == 1


def test_allowed_items_score_as_they_do_among_all(isa: str) -> None:
    # Of 4,000 items 60 are allowed: one query reads them where they lie, 80 have them packed together.
    index = ops.ItemIndex(random(4_000, 20), random(4_000, 1)[:, 0])
    queries = random(80, 20, seed=1)
    allow = np.sort(np.random.default_rng(2).choice(4_000, 60, replace=False))
    everything = index.topk(queries, 4_000)
    got = index.topk(queries, 70, allow=allow)
    for row in range(80):
        kept = np.isin(everything.indices[row], allow)
        np.testing.assert_array_equal(got.indices[row, :60], everything.indices[row, kept])
        np.testing.assert_array_equal(got.scores[row, :60], everything.scores[row, kept])
        single = index.topk(queries[[row]], 70, allow=allow)
        assert_same(single, Ranking(got.indices[[row]], got.scores[[row]]))


def test_levels_that_fuse_multiply_and_add_agree_to_the_bit() -> None:
    fused = [name for name in ops.available_isas() if name != "baseline"]
    if len(fused) < 2:
        pytest.skip("this machine has fewer than two such levels")
    before = ops.isa()
    index = ops.ItemIndex(random(1_000, 64))
    rankings = []
    for name in fused:
        _core._set_isa(name)
        rankings.append(index.topk(random(30, 64, seed=1), 10))
    _core._set_isa(before)
    for ranking in rankings[1:]:
        assert_same(ranking, rankings[0])


def test_an_index_keeps_its_own_copy_of_the_factors() -> None:
    items = random(100, 8)
    index = ops.ItemIndex(items)
    before = index.topk(items[:3], 5)
    items[:] = 0
    assert_same(index.topk(random(100, 8)[:3], 5), before)
