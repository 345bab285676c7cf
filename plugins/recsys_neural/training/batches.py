"""What a trainer iterates over: batches as tuples of tensors, cut from arrays that were prepared once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from recsys_core.errors import DataError

if TYPE_CHECKING:
    from recsys_core.data import Histories
    from recsys_core.types import IndexArray

__all__ = ["Batch", "Batches", "RowBatches", "SequenceBatches", "left_padded", "share_of"]

Batch: TypeAlias = tuple[Tensor, ...]

_POOL = 32  # batches that are sorted by length among themselves: little padding, and still a random order


class Batches(Protocol):
    """The steps of an epoch."""

    def __len__(self) -> int:
        """Steps in an epoch."""
        ...

    def epoch(self, rng: np.random.Generator, rank: int, world_size: int) -> Iterator[Batch]:
        """Yield one batch a step, in a random order.

        Parameters
        ----------
        rng
            In the same state in every process.
        rank, world_size
            Which of how many processes asks: it gets its share of each batch, and never an empty one.
        """
        ...


class RowBatches:
    """Rows of equally long tensors, such as pairs of a user and an item, or the numbers of users.

    Parameters
    ----------
    *tensors
        Of any type, with one length.
    batch_size
        Rows in a step, over all processes.

    Examples
    --------
    >>> import numpy as np, torch
    >>> batches = RowBatches(torch.arange(5), batch_size=2)
    >>> [len(rows) for rows, in batches.epoch(np.random.default_rng(0), rank=0, world_size=1)]
    [2, 2, 1]
    """

    def __init__(self, *tensors: Tensor, batch_size: int) -> None:
        if not tensors or not len(tensors[0]):
            raise DataError("interactions: expected at least one row to train on, got none")
        self._tensors = tensors
        self._batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self._tensors[0]) // self._batch_size)

    def epoch(self, rng: np.random.Generator, rank: int, world_size: int) -> Iterator[Batch]:
        """Yield the rows in a random order."""
        order = rng.permutation(len(self._tensors[0]))
        for start in range(0, len(order), self._batch_size):
            rows = torch.from_numpy(share_of(order[start : start + self._batch_size], rank, world_size))
            yield tuple(tensor[rows] for tensor in self._tensors)


class SequenceBatches:
    """Sequences of items with the item that follows at each position.

    A batch is (history, targets), both int64 (n_rows, T), right-aligned and padded in front with -1, where T is the
    longest of the batch: `targets[r, c]` follows `history[r, : c + 1]`.

    Parameters
    ----------
    histories
        Oldest first.  Rows of fewer than two items have nothing to predict and are left out.
    max_length
        Longest history; of longer ones the newest part is taken.
    batch_size
        Rows in a step, over all processes.

    Raises
    ------
    DataError
        No row has two items.

    Notes
    -----
    Rows of similar length go together, since what is not padded need not be computed; which ones do, and the order
    of the batches, is random in every epoch.

    Examples
    --------
    >>> import numpy as np
    >>> from recsys_core.data import Histories
    >>> batches = SequenceBatches(Histories.from_lists([[3, 1, 2], [4, 0], [5]]), max_length=50, batch_size=8)
    >>> history, targets = next(batches.epoch(np.random.default_rng(0), rank=0, world_size=1))
    >>> sorted(history.tolist()), sorted(targets.tolist())
    ([[-1, 4], [3, 1]], [[-1, 0], [1, 2]])
    """

    def __init__(self, histories: Histories, *, max_length: int, batch_size: int) -> None:
        self._items = np.asarray(histories.indices, dtype=np.int64)
        usable = histories.lengths > 1
        if not usable.any():
            raise DataError("interactions: expected a user with at least two items, got none")
        self._ends = histories.indptr[1:][usable]
        self._lengths = np.minimum(histories.lengths[usable] - 1, max_length)
        self._batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self._ends) // self._batch_size)

    @property
    def mean_positions(self) -> float:
        """Mean number of targets in a step."""
        return float(self._lengths.sum()) / len(self)

    def epoch(self, rng: np.random.Generator, rank: int, world_size: int) -> Iterator[Batch]:
        """Yield the sequences in a random order."""
        order = rng.permutation(len(self._ends))
        pool = np.arange(len(order)) // (_POOL * self._batch_size)
        order = order[np.lexsort((self._lengths[order], pool))]
        for step in rng.permutation(len(self)):
            rows = share_of(order[step * self._batch_size : (step + 1) * self._batch_size], rank, world_size)
            ends, lengths = self._ends[rows], self._lengths[rows]
            yield left_padded(self._items, ends - 1, lengths), left_padded(self._items, ends, lengths)


def left_padded(items: IndexArray, ends: IndexArray, lengths: IndexArray) -> Tensor:
    """Cut pieces of a flat array into the rows of a right-aligned matrix, padded in front with -1.

    Parameters
    ----------
    items
        int64 (n_entries,).
    ends
        int64 (n_rows,): where each piece ends, exclusively.
    lengths
        int64 (n_rows,).

    Returns
    -------
    Tensor
        int64 (n_rows, max(lengths, 1)).
    """
    width = max(int(lengths.max(initial=0)), 1)
    column = np.arange(width - 1, -1, -1)
    source = np.maximum(ends[:, None] - 1 - column, 0)
    rows = np.where(column < lengths[:, None], items[source] if len(items) else -1, -1)
    return torch.from_numpy(rows)


def share_of(rows: IndexArray, rank: int, world_size: int) -> IndexArray:
    """A process's share of the rows of a batch."""
    # A last batch of fewer rows than processes is repeated, so that all take part in the exchange of gradients.
    return np.resize(rows, max(len(rows), world_size))[rank::world_size]
