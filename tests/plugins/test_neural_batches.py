"""Packed sequences and validation of the neural plugin."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from recsys_core.data import Histories
from recsys_core.errors import DataError
from recsys_neural.training import HeldOut, RowBatches, SequenceBatches, hold_out_last


def random_histories(n_rows: int, seed: int = 0) -> Histories:
    rng = np.random.default_rng(seed)
    return Histories.from_lists([rng.integers(0, 50, rng.integers(0, 12)) for _ in range(n_rows)])


def pairs_of(batches: SequenceBatches, world_size: int = 1) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Rows of (history, targets) without padding, over all processes."""
    rows = []
    for rank in range(world_size):
        for history, targets in batches.epoch(np.random.default_rng(5), rank, world_size):
            assert history.dtype == targets.dtype == torch.int64
            assert ((history >= 0) == (targets >= 0)).all()
            assert (history[:, -1] >= 0).all(), "rows are right-aligned"
            assert (history >= 0).any(0).all(), "no column is padding alone"
            for one, other in zip(history.tolist(), targets.tolist(), strict=True):
                rows.append((tuple(i for i in one if i >= 0), tuple(i for i in other if i >= 0)))
    return rows


@pytest.mark.parametrize("world_size", [1, 3])
def test_an_epoch_is_every_sequence_and_what_follows(world_size):
    histories = random_histories(203)
    expected = []
    for start, end in zip(histories.indptr[:-1], histories.indptr[1:], strict=True):
        row = histories.indices[start:end].tolist()
        if len(row) > 1:
            expected.append((tuple(row[:-1][-6:]), tuple(row[1:][-6:])))
    batches = SequenceBatches(histories, max_length=6, batch_size=16)
    assert sorted(pairs_of(batches, world_size)) == sorted(expected)
    assert batches.mean_positions * len(batches) == sum(len(history) for history, _ in expected)


def test_the_order_is_the_seeds():
    batches = SequenceBatches(random_histories(60), max_length=6, batch_size=8)
    orders = [
        [tuple(history.flatten().tolist()) for history, _ in batches.epoch(np.random.default_rng(seed), 0, 1)]
        for seed in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2]


def test_a_last_batch_smaller_than_the_processes_leaves_nobody_out():
    histories = Histories.from_lists([[1, 2]] * 5)
    batches = SequenceBatches(histories, max_length=3, batch_size=4)
    shares = [[len(h) for h, _ in batches.epoch(np.random.default_rng(0), rank, 4)] for rank in range(4)]
    assert all(sorted(share) == [1, 1] for share in shares)


def test_rows_of_one_item_have_nothing_to_learn_from():
    with pytest.raises(DataError, match="at least two items"):
        SequenceBatches(Histories.from_lists([[1], []]), max_length=3, batch_size=4)
    with pytest.raises(DataError, match="at least one row"):
        RowBatches(torch.zeros(0, 2), batch_size=4)


def test_row_batches_keep_rows_together():
    numbers = torch.arange(10)
    batches = RowBatches(numbers, numbers * 2, batch_size=3)
    seen = []
    for one, other in batches.epoch(np.random.default_rng(0), 0, 1):
        assert (other == one * 2).all()
        seen += one.tolist()
    assert sorted(seen) == list(range(10)) != seen
    assert len(batches) == 4


def test_hold_out_last_takes_the_last_item_of_a_share_of_the_users():
    histories = random_histories(200)
    training, held_out = hold_out_last(histories, 50, share=0.25, random_state=3)
    able = int((histories.lengths > 1).sum())
    assert len(held_out.targets) == round(0.25 * able)
    assert len(training) == len(histories)
    for row, user in enumerate(held_out.users):
        start, end = histories.indptr[user], histories.indptr[user + 1]
        assert held_out.targets[row] == histories.indices[end - 1]
        before = histories.indices[start : end - 1].tolist()
        assert training.rows([user]).indices.tolist() == held_out.histories.rows([row]).indices.tolist() == before
    others = np.setdiff1d(np.arange(200), held_out.users)
    np.testing.assert_array_equal(training.rows(others).indices, histories.rows(others).indices)


def test_hold_out_of_nothing_and_of_everybody():
    histories = Histories.from_lists([[1, 2], [3], [], [4, 5, 6]])
    training, held_out = hold_out_last(histories, 7, share=0, random_state=0)
    assert training is histories
    assert held_out is None
    _, held_out = hold_out_last(histories, 7, share=1, random_state=0)
    assert held_out.users.tolist() == [0, 3]
    _, held_out = hold_out_last(Histories.from_lists([[1]]), 7, share=1, random_state=0)
    assert held_out is None


def test_validation_ranks_all_items_but_the_seen_ones():
    held_out = HeldOut(Histories.from_lists([[0, 1], [2]]), np.array([2, 2]), np.array([0, 1]), 4)
    # The first user has had items 0 and 1, so that item 3 and then the target are left: second place.  The second
    # user's target is an item of their history, and may still be found: first place.
    factors = np.eye(4, dtype=np.float32)
    queries = np.array([[9, 8, 1, 2], [0, 0, 1, 0]], np.float32)
    assert held_out.ndcg(queries, factors) == pytest.approx((1 / np.log2(3) + 1) / 2)
    assert held_out.ndcg(queries, factors, k=1) == pytest.approx(0.5)
    bias = np.array([0, 0, 5, 0], np.float32)
    assert held_out.ndcg(queries, factors, bias) == pytest.approx(1)
