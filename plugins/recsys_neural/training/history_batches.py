"""Batches of whole histories, and of single events with what came before them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from recsys_core.errors import DataError
from recsys_neural.training.batches import Batch, left_padded, share_of

if TYPE_CHECKING:
    from recsys_core.data import Histories

__all__ = ["EventBatches", "HistoryBatches"]


class EventBatches:
    """Events in a random order: whose, what came before, and what it was.

    A batch is (user, history, target): int64 (n_rows,), (n_rows, T) and (n_rows,).  A user's first event has an empty
    history, a row of -1, so that a model learns what to say to a stranger.

    Parameters
    ----------
    histories
        Oldest first, one row a user.
    max_length
        Longest history; of longer ones the newest part is taken.
    batch_size
        Events in a step, over all processes.

    Raises
    ------
    DataError
        There is no event.

    Examples
    --------
    >>> import numpy as np
    >>> from recsys_core.data import Histories
    >>> batches = EventBatches(Histories.from_lists([[3, 1, 2]]), max_length=50, batch_size=8)
    >>> user, history, target = next(batches.epoch(np.random.default_rng(0), rank=0, world_size=1))
    >>> sorted(zip(history.tolist(), target.tolist()))
    [([-1, -1], 3), ([-1, 3], 1), ([3, 1], 2)]
    """

    def __init__(self, histories: Histories, *, max_length: int, batch_size: int) -> None:
        if not len(histories.indices):
            raise DataError("interactions: expected at least one event to train on, got none")
        self._items = np.asarray(histories.indices, np.int64)
        self._users = np.repeat(np.arange(len(histories)), histories.lengths)
        before = np.arange(len(self._items)) - np.repeat(histories.indptr[:-1], histories.lengths)
        self._lengths = np.minimum(before, max_length)
        self._batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self._items) // self._batch_size)

    def epoch(self, rng: np.random.Generator, rank: int, world_size: int) -> Iterator[Batch]:
        """Yield the events in a random order; see :class:`Batches <recsys_neural.training.Batches>`."""
        order = rng.permutation(len(self._items))
        for start in range(0, len(order), self._batch_size):
            events = share_of(order[start : start + self._batch_size], rank, world_size)
            history = left_padded(self._items, events, self._lengths[events])
            yield torch.from_numpy(self._users[events]), history, torch.from_numpy(self._items[events])


class HistoryBatches:
    """Users in a random order, each with all that they had.

    A batch is one int64 tensor (n_rows, T), right-aligned and padded in front with -1.

    Parameters
    ----------
    histories
        Oldest first, one row a user; empty ones are left out.
    max_length
        Longest history; of longer ones the newest part is taken.
    batch_size
        Users in a step, over all processes.

    Raises
    ------
    DataError
        All histories are empty.
    """

    def __init__(self, histories: Histories, *, max_length: int, batch_size: int) -> None:
        users = np.flatnonzero(histories.lengths)
        if not len(users):
            raise DataError("interactions: expected a user with an event to train on, got none")
        self._items = np.asarray(histories.indices, np.int64)
        self._ends = histories.indptr[1:][users]
        self._lengths = np.minimum(histories.lengths[users], max_length)
        self._batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self._ends) // self._batch_size)

    def epoch(self, rng: np.random.Generator, rank: int, world_size: int) -> Iterator[Batch]:
        """Yield the users in a random order; see :class:`Batches <recsys_neural.training.Batches>`."""
        order = rng.permutation(len(self._ends))
        for start in range(0, len(order), self._batch_size):
            rows = share_of(order[start : start + self._batch_size], rank, world_size)
            yield (left_padded(self._items, self._ends[rows], self._lengths[rows]),)
