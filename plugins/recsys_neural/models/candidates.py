"""What a second stage learns from: lists of candidates, each with the item that was taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

from recsys_core import Interactions
from recsys_core.data import Histories
from recsys_core.types import FloatArray, IndexArray, Ranking
from recsys_neural.training import Batch, RowBatches
from recsys_neural.training.batches import left_padded

__all__ = ["CandidateBatches", "CandidateLists", "Retriever", "without_newest"]

_LISTS_AT_ONCE = 1024


class Retriever(Protocol):
    """What finds candidates: a fitted recommender or model."""

    def recommend_indices(self, *, histories: Histories, k: int) -> Ranking:
        """The best items for each history, but for those in it."""
        ...


@dataclass(frozen=True, eq=False)
class CandidateLists:
    """Events that a retriever foresaw, each with all that it found.

    Parameters
    ----------
    histories
        Of all users, oldest first.
    events
        int64 (n,): places in ``histories.indices`` of what was taken.
    users
        int64 (n,): by whom.
    items
        int64 (n, C): what the retriever found from the history before, best first, -1 behind them.
    scores
        float32 (n, C): its scores, 0 where there is no item.
    taken
        int64 (n,): the column of what was taken.
    """

    histories: Histories
    events: IndexArray
    users: IndexArray
    items: IndexArray
    scores: FloatArray
    taken: IndexArray

    def __len__(self) -> int:
        return len(self.events)

    @classmethod
    def find(cls, retriever: Retriever, histories: Histories, share: float, k: int) -> CandidateLists:
        """Ask a retriever about the newest events of each user, by the history before each.

        Parameters
        ----------
        retriever
            Should not have been fitted on those events.
        histories
            Of all users, oldest first.
        share
            Of each user's events; see :func:`without_newest`.
        k
            Candidates of an event.

        Returns
        -------
        CandidateLists
            Without the events that the retriever did not foresee: no second stage could rank them first.
        """
        is_newest = _newest(histories, share)
        events = np.flatnonzero(is_newest)
        users = np.repeat(np.arange(len(histories)), histories.lengths)[events]
        parts = [_found(retriever, histories, events[:0], users[:0], k)]
        for start in range(0, len(events), _LISTS_AT_ONCE):
            part = slice(start, start + _LISTS_AT_ONCE)
            parts.append(_found(retriever, histories, events[part], users[part], k))
        return cls(histories, *(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def rows(self, chosen: IndexArray) -> CandidateLists:
        """Some of the lists."""
        events, users, items = self.events[chosen], self.users[chosen], self.items[chosen]
        return CandidateLists(self.histories, events, users, items, self.scores[chosen], self.taken[chosen])


class CandidateBatches:
    """Lists of candidates in a random order.

    A batch is (user, history, items, scores, taken): int64 (n_rows,), (n_rows, T) right-aligned and padded with -1,
    and as in :class:`CandidateLists`.

    Parameters
    ----------
    lists
        At least one.
    max_length
        Longest history; of longer ones the newest part is taken.
    batch_size
        Lists in a step, over all processes.
    """

    def __init__(self, lists: CandidateLists, *, max_length: int, batch_size: int) -> None:
        self._lists, self._max_length = lists, max_length
        self._rows = RowBatches(torch.arange(len(lists)), batch_size=batch_size)

    def __len__(self) -> int:
        return len(self._rows)

    def epoch(self, rng: np.random.Generator, rank: int, world_size: int) -> Iterator[Batch]:
        """Yield the lists in a random order; see :class:`Batches <recsys_neural.training.Batches>`."""
        for (rows,) in self._rows.epoch(rng, rank, world_size):
            yield self.of(rows.numpy())

    def of(self, rows: IndexArray) -> Batch:
        """The batch of some lists."""
        lists = self._lists
        events, users = lists.events[rows], lists.users[rows]
        lengths = np.minimum(events - lists.histories.indptr[users], self._max_length)
        history = left_padded(np.asarray(lists.histories.indices, np.int64), events, lengths)
        columns = (lists.items[rows], lists.scores[rows], lists.taken[rows])
        return torch.from_numpy(users), history, *map(torch.from_numpy, columns)


def without_newest(interactions: Interactions, share: float) -> Interactions:
    """The interactions without the newest events of each user, with all ids.

    Parameters
    ----------
    interactions
        At least one event.
    share
        Of each user's events, in (0, 1): rounded, at least one of two or more, and never a user's first.
    """
    kept = np.sort(interactions.time_order()[~_newest(interactions.histories(), share)])
    times = interactions.datetime
    return replace(
        interactions,
        user_index=interactions.user_index[kept],
        item_index=interactions.item_index[kept],
        weight=interactions.weight[kept],
        datetime=None if times is None else times[kept],
    )


def _newest(histories: Histories, share: float) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which entries of the histories are the newest of their rows."""
    lengths = histories.lengths
    n_newest = np.minimum(np.maximum(np.round(share * lengths), 1), lengths - 1).clip(0).astype(np.int64)
    from_end = np.repeat(histories.indptr[1:], lengths) - np.arange(len(histories.indices))
    newest: np.ndarray[tuple[int], np.dtype[np.bool_]] = from_end <= np.repeat(n_newest, lengths)
    return newest


def _found(
    retriever: Retriever, histories: Histories, events: IndexArray, users: IndexArray, k: int
) -> tuple[IndexArray, IndexArray, IndexArray, FloatArray, IndexArray]:
    """The columns of the lists of those events that the retriever foresaw."""
    starts = histories.indptr[users]
    lengths = events - starts
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    entries = np.arange(indptr[-1]) + np.repeat(starts - indptr[:-1], lengths)
    before = Histories(indptr, histories.indices[entries], histories.weights[entries])
    found = retriever.recommend_indices(histories=before, k=k)
    is_taken = found.indices == histories.indices[events][:, None]
    rows = np.flatnonzero(is_taken.any(axis=1))
    items, scores = found.indices[rows], np.where(found.indices[rows] >= 0, found.scores[rows], 0).astype(np.float32)
    return events[rows], users[rows], items, scores, is_taken[rows].argmax(axis=1)
