"""Ragged rows of items in time order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_core.data.order import stable_order
from recsys_core.errors import DataError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import scipy.sparse as sp

    from recsys_core.data.matrix import Aggregate
    from recsys_core.types import FloatArray, Index32Array, IndexArray

__all__ = ["Histories"]


@dataclass(frozen=True, eq=False)
class Histories:
    """What each of some users interacted with, oldest first; repeats are allowed.

    Row ``u`` is ``indices[indptr[u]:indptr[u + 1]]``.

    Parameters
    ----------
    indptr
        int64, shape (n_rows + 1,): where each row starts; the last value is the number of entries.
    indices
        int32, shape (n_entries,): item indices, not negative.
    weights
        float32, shape (n_entries,).

    Raises
    ------
    ShapeError
        If the lengths disagree.
    DataError
        If ``indptr`` falls, or an index is negative.

    Examples
    --------
    >>> histories = Histories.from_lists([[3, 1, 3], [], [0]])
    >>> len(histories)
    3
    >>> histories.to_csr(4).toarray()
    array([[0., 1., 0., 2.],
           [0., 0., 0., 0.],
           [1., 0., 0., 0.]], dtype=float32)
    >>> histories.rows([2, 0]).indices
    array([0, 3, 1, 3], dtype=int32)
    """

    indptr: IndexArray
    indices: Index32Array
    weights: FloatArray

    def __post_init__(self) -> None:
        indptr = np.asarray(self.indptr, dtype=np.int64)
        indices = np.asarray(self.indices, dtype=np.int32)
        weights = np.asarray(self.weights, dtype=np.float32)
        if indptr.ndim != 1 or not len(indptr) or indptr[0] != 0 or indptr[-1] != len(indices):
            raise ShapeError(
                f"indptr: expected shape (n_rows + 1,), from 0 to the number of entries, {len(indices)}; "
                f"got shape {indptr.shape}" + (f" from {indptr.flat[0]} to {indptr.flat[-1]}" if indptr.size else "")
            )
        if indices.ndim != 1 or weights.shape != indices.shape:
            raise ShapeError(f"weights: expected one for each of the {indices.shape} indices, got {weights.shape}")
        if (np.diff(indptr) < 0).any():
            raise DataError(f"indptr: expected no falling value, got one at row {int(np.diff(indptr).argmin())}")
        if len(indices) and indices.min() < 0:
            raise DataError(f"indices: expected item indices of at least 0, got {indices.min()}; drop unknown items")
        for name, array in (("indptr", indptr), ("indices", indices), ("weights", weights)):
            object.__setattr__(self, name, array)

    @classmethod
    def from_lists(cls, rows: Iterable[Sequence[int]], weights: Iterable[Sequence[float]] | None = None) -> Histories:
        """Build from one sequence of item indices a row, and one of weights, all 1 if None."""
        parts = [np.zeros(0, np.int32), *(np.asarray(row, np.int32) for row in rows)]
        indptr = np.cumsum([len(part) for part in parts], dtype=np.int64)
        indices = np.concatenate(parts)
        if weights is None:
            flat = np.ones(len(indices), dtype=np.float32)
        else:
            flat = np.concatenate([np.zeros(0, np.float32), *(np.asarray(row, np.float32) for row in weights)])
        return cls(indptr, indices, flat)

    @property
    def lengths(self) -> IndexArray:
        """Number of entries of each row, int64, shape (n_rows,)."""
        return np.diff(self.indptr)

    def rows(self, selection: Any) -> Histories:
        """Return some rows, in the order asked for.

        Parameters
        ----------
        selection
            Row indices, a boolean mask of shape (n_rows,), or a slice.

        Raises
        ------
        IndexError
            If a row does not exist.
        """
        chosen = self._chosen(selection)
        lengths = self.lengths[chosen]
        indptr = np.zeros(len(chosen) + 1, dtype=np.int64)
        np.cumsum(lengths, out=indptr[1:])
        # Entry j of the result sits in the source at the start of its row plus its distance from the row's start.
        source = np.arange(indptr[-1]) + np.repeat(self.indptr[chosen] - indptr[:-1], lengths)
        return Histories(indptr, self.indices[source], self.weights[source])

    def _chosen(self, selection: Any) -> IndexArray:
        """Positions of the rows that :meth:`rows` is asked for."""
        if isinstance(selection, list):  # an empty list would otherwise be an array of floats
            selection = np.asarray(selection, dtype=None if selection else np.int64)
        chosen: IndexArray = np.arange(len(self), dtype=np.int64)[selection]
        return chosen

    def newest(self, length: int) -> IndexArray:
        """Return the newest items of each row as a matrix, right-aligned, the way that sequence models read them.

        Parameters
        ----------
        length
            Items to keep of a row, at least 1.

        Returns
        -------
        numpy.ndarray
            int64 (n_rows, T), oldest first, with -1 in front of shorter rows; T is the length of the longest row,
            at least 1 and at most ``length``.

        Examples
        --------
        >>> Histories.from_lists([[3, 1, 3], [], [0]]).newest(2)
        array([[ 1,  3],
               [-1, -1],
               [-1,  0]])
        """
        kept = np.minimum(self.lengths, length)
        columns = np.arange(-max(1, int(kept.max(initial=0))), 0)
        source = self.indptr[1:, None] + columns
        filled = columns >= -kept[:, None]
        newest = np.full(filled.shape, -1, np.int64)
        newest[filled] = self.indices[source[filled]]
        return newest

    def extended(self, n_rows: int, rows: Index32Array, indices: Index32Array, weights: FloatArray) -> Histories:
        """Return the histories with further entries behind those of their rows.

        Parameters
        ----------
        n_rows
            Rows of the result, at least as many as now; those behind the present ones start empty.
        rows
            Integers (n_entries,): the row of each further entry.
        indices
            int32 (n_entries,): their items, oldest first.
        weights
            float32 (n_entries,).

        Raises
        ------
        ShapeError
            If the lengths disagree.
        DataError
            If ``n_rows`` is too small, or a row is out of range.

        Notes
        -----
        O(n_rows + n_entries), those that there are included.

        Examples
        --------
        >>> Histories.from_lists([[3], [1]]).extended(3, [0, 2], [5, 4], [1.0, 1.0]).rows([0, 2]).indices
        array([3, 5, 4], dtype=int32)
        """
        rows = np.asarray(rows, np.int64)
        if n_rows < len(self) or (rows.size and (rows.min() < 0 or rows.max() >= n_rows)):
            raise DataError(f"n_rows: expected at least {len(self)}, and rows in [0, n_rows), got {n_rows}")
        if not rows.shape == np.shape(indices) == np.shape(weights):
            raise ShapeError(
                f"rows, indices, weights: expected one length, got {rows.shape}, {np.shape(indices)}, "
                f"{np.shape(weights)}"
            )
        every = np.concatenate([np.repeat(np.arange(len(self)), self.lengths), rows])
        order = stable_order(every, n_rows)
        indptr = np.zeros(n_rows + 1, dtype=np.int64)
        np.cumsum(np.bincount(every, minlength=n_rows), out=indptr[1:])
        return Histories(
            indptr,
            np.concatenate([self.indices, np.asarray(indices, np.int32)])[order],
            np.concatenate([self.weights, np.asarray(weights, np.float32)])[order],
        )

    def to_csr(self, n_items: int, aggregate: Aggregate = "sum") -> sp.csr_matrix[Any]:
        """Return the rows as a CSR matrix, one entry for each distinct item of a row.

        Parameters
        ----------
        n_items
            Number of columns, above the largest item index.
        aggregate
            What the weights of a repeated item become, as in :meth:`Interactions.to_csr`.

        Returns
        -------
        scipy.sparse.csr_matrix
            (n_rows, n_items): float32 data, sorted unique indices, indptr and indices of one width.

        Raises
        ------
        DataError
            If an item index is ``n_items`` or more.
        """
        from recsys_core.data.matrix import build_csr

        if len(self.indices) and self.indices.max() >= n_items:
            raise DataError(f"n_items: expected more than the largest item index, {self.indices.max()}, got {n_items}")
        rows = np.repeat(np.arange(len(self), dtype=np.int32), self.lengths)
        return build_csr(rows, self.indices, self.weights, (len(self), n_items), aggregate)

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __repr__(self) -> str:
        return f"Histories({len(self)} rows, {len(self.indices)} entries)"
