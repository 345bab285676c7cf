"""What metrics compute from: ranked lists beside the relevant items of the same users."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from recsys_core.errors import ShapeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from recsys_core.metrics.catalog import Catalog
    from recsys_core.types import CSR, FloatArray, IndexArray

__all__ = ["Population", "RankedBatch", "Relevance", "find_sorted"]


def find_sorted(keys: IndexArray, wanted: IndexArray) -> IndexArray:
    """Position of each wanted number in the ascending ``keys``, -1 where it is not there; any shape."""
    place = np.searchsorted(keys, wanted)
    place[place == len(keys)] = -1
    return np.where(keys[place] == wanted, place, -1) if len(keys) else place


class Relevance(NamedTuple):
    """The relevant items of several users, as compressed rows sorted by item, each item once a row.

    Attributes
    ----------
    indptr
        int64, shape (n_users + 1,): row u lies in ``indptr[u]:indptr[u + 1]``.
    indices
        int64, shape (n,): item indices of the model.  A relevant item that the model does not know has an index of
        ``n_items`` or more, which no ranking holds: it can only be missed.
    weights
        float32, shape (n,): how relevant; the graded metrics use it, the others count the items.
    """

    indptr: IndexArray
    indices: IndexArray
    weights: FloatArray

    @classmethod
    def from_lists(cls, items: Sequence[Sequence[int]], weights: Sequence[Sequence[float]] | None = None) -> Relevance:
        """Build from one list of item indices a user (and as many weights; 1 where left out).

        Examples
        --------
        >>> Relevance.from_lists([[3, 1], []], [[5.0, 2.0], []]).indices.tolist()
        [1, 3]
        """
        lengths = np.array([len(row) for row in items], dtype=np.int64)
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        flat = np.array([item for row in items for item in row], dtype=np.int64)
        values = np.ones(len(flat), dtype=np.float32)
        if weights is not None:
            if [len(row) for row in weights] != lengths.tolist():
                raise ShapeError("weights: expected as many in each row as there are items, got other row lengths")
            values = np.array([weight for row in weights for weight in row], dtype=np.float32)
        order = np.lexsort((flat, np.repeat(np.arange(len(lengths)), lengths)))
        return cls(indptr, flat[order], values[order])

    @property
    def n_users(self) -> int:
        """How many rows there are."""
        return len(self.indptr) - 1

    def rows(self) -> IndexArray:
        """int64, shape (n,): the row of each stored item."""
        return np.repeat(np.arange(self.n_users), np.diff(self.indptr))

    def take(self, selection: IndexArray) -> Relevance:
        """The chosen rows, in the order of ``selection``; O(stored items of those rows)."""
        lengths = np.diff(self.indptr)[selection]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        stored = np.arange(indptr[-1]) + np.repeat(self.indptr[selection] - indptr[:-1], lengths)
        return Relevance(indptr, self.indices[stored], self.weights[stored])


@dataclass(frozen=True)
class RankedBatch:
    """Ranked lists of a batch of users, matched with the items relevant to them.

    Build one with :meth:`match`; ``evaluate`` does so for every batch.

    Attributes
    ----------
    indices
        int64, shape (n_users, k): recommended items, best first, -1 where the list is padded.
    matches
        int64, shape (n_users, k): where in ``relevant.indices`` the recommended item stands, -1 for a miss.
    relevant
        The relevant items of the same users.
    catalog
        What training tells about the items.
    tell_had
        Makes :attr:`had`; None where nothing is known about the users.

    Examples
    --------
    >>> from recsys_core.data import Interactions
    >>> from recsys_core.metrics import Catalog
    >>> train = Interactions.from_arrays([0, 0, 0, 0], ["a", "b", "c", "d"])
    >>> relevant = Relevance.from_lists([[0, 2], [1]])
    >>> batch = RankedBatch.match(np.array([[2, 3], [0, -1]]), relevant, Catalog(train.items, train))
    >>> batch.hits.tolist()
    [[True, False], [False, False]]
    """

    indices: IndexArray
    matches: IndexArray
    relevant: Relevance
    catalog: Catalog
    tell_had: Callable[[], CSR] | None = None

    @classmethod
    def match(
        cls,
        indices: IndexArray,
        relevant: Relevance,
        catalog: Catalog,
        tell_had: Callable[[], CSR] | None = None,
    ) -> RankedBatch:
        """Find the relevant items in the lists: one binary search an entry, O(n_users k log(stored items))."""
        if indices.ndim != 2 or len(indices) != relevant.n_users:
            raise ShapeError(f"indices: expected shape ({relevant.n_users}, k), got {indices.shape}")
        # A (row, item) pair becomes one integer.  Rows are sorted by item, so the keys of all rows are sorted too.
        stride = 1 + max(int(indices.max(initial=0)), int(relevant.indices.max(initial=0)))
        keys = relevant.rows() * stride + relevant.indices
        wanted = np.arange(len(indices))[:, None] * stride + indices
        matches = np.where(indices >= 0, find_sorted(keys, wanted), -1)
        return cls(indices, matches, relevant, catalog, tell_had)

    @property
    def n_users(self) -> int:
        """How many lists there are."""
        return len(self.indices)

    @property
    def k(self) -> int:
        """How many places each list has, padded ones included."""
        return int(self.indices.shape[1])

    @property
    def valid(self) -> npt.NDArray[np.bool_]:
        """bool, shape (n_users, k): False where the list is padded."""
        return self.indices >= 0

    @property
    def hits(self) -> npt.NDArray[np.bool_]:
        """bool, shape (n_users, k): whether the recommended item is relevant to the user."""
        return self.matches >= 0

    @property
    def had(self) -> CSR:
        """CSR, shape (n_users, n_items): 1 where the user had the item before, in training or in the history told."""
        if self.tell_had is not None:
            return self.tell_had()
        import scipy.sparse as sp

        nothing = (np.zeros(0, np.float32), np.zeros(0, np.int32), np.zeros(self.n_users + 1, np.int32))
        return sp.csr_matrix(nothing, shape=(self.n_users, self.catalog.n_items))

    @property
    def weights(self) -> npt.NDArray[np.float64]:
        """float64, shape (n_users, k): the relevance weight of each hit, 0 for a miss."""
        weights = np.zeros(self.matches.shape)
        weights[self.hits] = self.relevant.weights[self.matches[self.hits]]
        return weights

    @property
    def n_relevant(self) -> IndexArray:
        """int64, shape (n_users,): how many items are relevant, those unknown to the model included."""
        return np.diff(self.relevant.indptr)

    @cached_property
    def ideal_weights(self) -> npt.NDArray[np.float64]:
        """float64, shape (n_users, k): the weights of the best list there could be, descending, padded with 0."""
        rows = self.relevant.rows()
        order = np.lexsort((-self.relevant.weights, rows))
        rank = np.arange(len(rows)) - self.relevant.indptr[rows]
        within = rank < self.k
        ideal = np.zeros((self.n_users, self.k))
        ideal[rows[within], rank[within]] = self.relevant.weights[order][within]
        return ideal

    def at(self, k: int) -> RankedBatch:
        """The same lists cut after k places; views, nothing is matched again."""
        return replace(self, indices=self.indices[:, :k], matches=self.matches[:, :k])


@dataclass(frozen=True)
class Population:
    """The lists of all users together, cut after k places.

    Attributes
    ----------
    k
        The cut-off.
    exposure
        int64, shape (n_items,): in how many lists each item stands.
    n_users
        How many lists there are.
    catalog
        What training tells about the items.
    """

    k: int
    exposure: IndexArray
    n_users: int
    catalog: Catalog
