"""An index that changes answers as one built from the same rows, to the bit, for every reader at every moment."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import scipy.sparse as sp

from recsys_core import errors, ops
from recsys_core.types import Ranking

D = 17


def assert_same(got: Ranking, want: Ranking) -> None:
    np.testing.assert_array_equal(got.indices, want.indices)
    np.testing.assert_array_equal(got.scores.view(np.uint32), want.scores.view(np.uint32))


class Changing:
    """An index, and beside it the rows that it should hold."""

    def __init__(self, rng: np.random.Generator, n: int, metric: str, with_bias: bool) -> None:
        self.rng, self.metric = rng, metric
        self.factors = self.draw(n)
        self.bias = rng.standard_normal(n).astype(np.float32) if with_bias else None
        self.present = np.ones(n, bool)
        self.index = ops.ItemIndex(self.factors, self.bias, metric)

    def draw(self, n: int) -> np.ndarray:
        return self.rng.standard_normal((n, D)).astype(np.float32)

    def draw_bias(self, n: int) -> np.ndarray | None:
        return None if self.bias is None else self.rng.standard_normal(n).astype(np.float32)

    def update(self, m: int) -> None:
        rows = self.rng.choice(len(self.factors), min(m, len(self.factors)), replace=False)
        factors, bias = self.draw(len(rows)), self.draw_bias(len(rows))
        if self.bias is not None and self.rng.random() < 0.5:
            bias = None
        self.index.update(rows, factors, bias)
        self.factors[rows] = factors
        self.present[rows] = True
        if bias is not None:
            self.bias[rows] = bias

    def append(self, m: int) -> None:
        factors, bias = self.draw(m), self.draw_bias(m)
        n = len(self.factors)
        np.testing.assert_array_equal(self.index.append(factors, bias), np.arange(n, n + m))
        self.factors = np.concatenate([self.factors, factors])
        self.present = np.concatenate([self.present, np.ones(m, bool)])
        if bias is not None:
            self.bias = np.concatenate([self.bias, bias])

    def remove(self, m: int) -> None:
        rows = self.rng.integers(0, len(self.factors), m)  # some twice, some removed already
        self.index.remove(rows)
        self.present[rows] = False

    def check(self) -> None:
        n = len(self.factors)
        assert (self.index.n_items, self.index.n_removed) == (n, (~self.present).sum())
        fresh = ops.ItemIndex(self.factors, self.bias, self.metric)
        gone = np.flatnonzero(~self.present)
        for n_queries in (1, 5, 30):
            queries = self.draw(n_queries)
            for k in (1, 10, 2 * n):
                if k > n and n_queries > 1:
                    continue
                for given in self.filters(n_queries):
                    deny = np.concatenate([gone, given.get("deny", gone[:0])])
                    want = fresh.topk(queries, k, method="float32", **(given | {"deny": deny}))
                    for method in ("auto", "float32", "compact"):
                        assert_same(self.index.topk(queries, k, method=method, **given), want)

    def filters(self, n_queries: int) -> list[dict]:
        n = len(self.factors)
        seen = sp.random_array((n_queries, n), density=0.1, format="csr", rng=self.rng)
        some = self.rng.choice(n, n // 2)
        return [
            {},
            {"exclude": seen, "deny": some[: n // 9]},
            {"allow": some, "exclude": seen},
            {"allow": some[: n // 40]},
            {"allow": seen, "deny": some},
        ]


@pytest.mark.parametrize("metric", ["dot", "cosine"])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("n", [1, 40, 3_000])
def test_any_changes_give_the_bits_of_a_fresh_index(isa: str, metric: str, with_bias: bool, n: int) -> None:
    changing = Changing(np.random.default_rng(n), n, metric, with_bias)
    changing.check()
    for change, m in [("update", 3), ("remove", 9), ("append", 45), ("update", 50), ("remove", 1), ("append", 1)]:
        getattr(changing, change)(m)
        changing.check()


def test_changes_that_make_the_compact_copy_anew() -> None:
    changing = Changing(np.random.default_rng(0), 6_000, "dot", True)
    changing.check()
    for change, m in [("update", 900), ("append", 100), ("update", 600), ("remove", 700), ("append", 9_000)]:
        getattr(changing, change)(m)
        changing.check()


@pytest.mark.parametrize("method", ["float32", "compact"])
def test_an_empty_index_grows_and_shrinks(method: str) -> None:
    index = ops.ItemIndex(np.empty((0, 2)), np.empty(0))
    np.testing.assert_array_equal(index.topk([[1, 0]], 1, method=method).indices, [[-1]])
    index.append(np.empty((0, 2)), np.empty(0))
    index.append([[1, 0], [0, 1]], [0, 0])
    np.testing.assert_array_equal(index.topk([[1, 0]], 3, method=method).indices, [[0, 1, -1]])
    index.remove([1, 1, 0])
    np.testing.assert_array_equal(index.topk([[1, 0]], 2).indices, [[-1, -1]])
    assert index.n_removed == 2
    smaller, before = index.without_removed()
    assert (smaller.n_items, before.tolist()) == (0, [])


@pytest.mark.parametrize("metric", ["dot", "cosine"])
def test_without_removed_keeps_bits_and_says_what_items_were(metric: str) -> None:
    changing = Changing(np.random.default_rng(1), 700, metric, True)
    changing.remove(300)
    changing.update(50)
    smaller, before = changing.index.without_removed()
    np.testing.assert_array_equal(before, np.flatnonzero(changing.present))
    queries = changing.draw(4)
    want = changing.index.topk(queries, 20)
    got = smaller.topk(queries, 20)
    assert_same(Ranking(before[got.indices], got.scores), want)
    assert (smaller.n_items, smaller.n_removed) == (len(before), 0)
    smaller.update([0], changing.draw(1))  # an index of its own
    assert_same(changing.index.topk(queries, 20), want)


def test_changes_that_do_not_fit_are_refused_and_change_nothing() -> None:
    plain, biased = ops.ItemIndex(np.eye(3)), ops.ItemIndex(np.eye(3), np.zeros(3))
    cases = [
        (
            lambda: plain.update([3], np.ones((1, 3))),
            errors.DataError,
            r"rows must hold item indices in \[0, 3\), got 3",
        ),
        (lambda: plain.update([-1], np.ones((1, 3))), errors.DataError, "got -1 at position 0"),
        (lambda: plain.update([1, 1], np.ones((2, 3))), errors.DataError, "rows must be distinct, got 1 twice"),
        (lambda: plain.update([1], np.ones((2, 3))), errors.ShapeError, "one row for each of rows"),
        (lambda: plain.update([1], np.ones((1, 4))), errors.ShapeError, "item_factors must have 3 columns"),
        (lambda: plain.update([1], [[1, np.nan, 1]]), errors.DataError, "NaN at row 0, column 1"),
        (lambda: plain.update([1], np.ones((1, 3)), [1]), errors.ShapeError, "index without one"),
        (lambda: plain.update([True], np.ones((1, 3))), errors.DTypeError, "boolean mask"),
        (lambda: plain.append(np.ones((1, 3)), [1]), errors.ShapeError, "index without one"),
        (lambda: plain.append([[1, np.inf, 1]]), errors.DataError, "inf at row 0, column 1"),
        (lambda: biased.append(np.ones((1, 3))), errors.ShapeError, "one entry an item, 1, got 0"),
        (lambda: biased.append(np.ones((1, 3)), [np.nan]), errors.DataError, "item_bias .* NaN at position 0"),
        (lambda: biased.update([0], np.ones((1, 3)), [1, 2]), errors.ShapeError, "item_bias must have 1 entries"),
        (lambda: plain.remove([3]), errors.DataError, r"rows must hold item indices in \[0, 3\)"),
    ]
    for change, error, message in cases:
        with pytest.raises(error, match=message):
            change()
    for index in (plain, biased):
        assert (index.n_items, index.n_removed) == (3, 0)
        np.testing.assert_array_equal(index.topk(np.eye(3), 1).indices[:, 0], [0, 1, 2])


@pytest.mark.parametrize("method", ["float32", "compact"])
def test_readers_see_every_change_whole_or_not_at_all(method: str) -> None:
    # Version v gives every item the score v, so that a mixture would show as two scores in one list.
    n, versions = 4_000, 60
    index = ops.ItemIndex(np.zeros((n, 4)))
    done = threading.Event()
    failures: list[str] = []

    def read() -> None:
        newest = 0.0
        while not done.is_set():
            ranking = index.topk(np.ones((3, 4)), 50, method=method, n_threads=2)
            scores = np.unique(ranking.scores)
            if len(scores) != 1 or scores[0] < newest or ranking.indices.max() >= index.n_items:
                failures.append(f"{scores} after {newest}")
            newest = scores[-1]

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for version in range(1, versions):
        index.update(np.arange(index.n_items), np.full((index.n_items, 4), version / 4, np.float32))
    done.set()
    for reader in readers:
        reader.join()
    assert not failures, failures[:3]
    assert np.unique(index.topk(np.ones((1, 4)), 50).scores).tolist() == [versions - 1]


def test_changes_from_several_threads_follow_each_other() -> None:
    index = ops.ItemIndex(np.zeros((8, 3)))

    def grow(worker: int) -> None:
        for step in range(50):
            (row,) = index.append(np.full((1, 3), worker, np.float32))
            index.update([row], np.full((1, 3), 100 * worker + step, np.float32))
            if step % 5 == 0:
                index.remove([row])

    workers = [threading.Thread(target=grow, args=(worker,)) for worker in (1, 2, 3, 4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (index.n_items, index.n_removed) == (208, 40)
    scores = np.sort(index.topk([[1, 0, 0]], 160).scores[0])
    want = [100 * worker + step for worker in (1, 2, 3, 4) for step in range(50) if step % 5]
    np.testing.assert_array_equal(scores, sorted(want))
