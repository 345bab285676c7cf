"""Mean cosine similarity of the pairs of items within a list, from sparse item vectors.

For unit vectors v and a list L of n items the mean over ordered pairs is

    s(L) = sum_{i != j in L} v_i . v_j / (n (n - 1))

The vectors of popular items are long (one entry for every training user), and the same popular items fill most
lists, so the inner products are kept: each pair of items is multiplied out once, not once a list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    import scipy.sparse as sp

    from recsys_core.types import CSR, IndexArray

__all__ = ["ListSimilarity", "dense_list_similarity", "unit_rows"]


def unit_rows(vectors: CSR) -> sp.csr_array[Any]:
    """The rows scaled to length 1, float64; a row of zeros stays so."""
    import scipy.sparse as sp

    # Built from its arrays: the library's matrices mix index widths, which many scipy methods refuse.
    parts = (np.array(vectors.data, dtype=np.float64), vectors.indices, vectors.indptr)
    scaled: sp.csr_array[Any] = sp.csr_array(parts, shape=vectors.shape)
    norms = np.sqrt(np.asarray(scaled.multiply(scaled).sum(axis=1)).ravel())
    norms[norms == 0.0] = 1.0
    scaled.data /= np.repeat(norms, np.diff(scaled.indptr))
    return scaled


class ListSimilarity:
    """Mean pairwise cosine within lists, with a bounded memory of the products computed so far.

    Parameters
    ----------
    vectors
        CSR, shape (n_items, n_dimensions): one row an item, of any length; a zero row has cosine 0 with all others.
    max_items
        How many items' mutual products are kept (float32, ``4 * max_items**2`` bytes: 256 MiB by default, twice that
        while the memory grows).
    """

    def __init__(self, vectors: CSR, *, max_items: int = 8192) -> None:
        self._vectors = unit_rows(vectors)
        self._max_items = max_items
        self._slot = np.full(self._vectors.shape[0], -1, dtype=np.int64)
        self._held: IndexArray = np.empty(0, dtype=np.int64)
        self._products: npt.NDArray[np.float32] = np.empty((0, 0), dtype=np.float32)

    def mean_per_list(self, lists: IndexArray) -> npt.NDArray[np.float64]:
        """Mean cosine over the pairs of each list.

        Parameters
        ----------
        lists
            int64, shape (n_lists, k): item indices, -1 where padded.

        Returns
        -------
        float64, shape (n_lists,); NaN where a list has fewer than two items.
        """
        items = np.unique(lists[lists >= 0])
        if not len(items):
            return np.full(len(lists), np.nan)
        if len(items) > self._max_items and len(lists) > 1:
            middle = len(lists) // 2
            return np.concatenate([self.mean_per_list(lists[:middle]), self.mean_per_list(lists[middle:])])
        self._hold(items)
        return np.concatenate([self._of_held(part) for part in _parts(lists, lists.shape[1] ** 2)])

    def _of_held(self, lists: IndexArray) -> npt.NDArray[np.float64]:
        valid = lists >= 0
        slots = np.where(valid, self._slot[lists], 0)
        products = self._products[slots[:, :, None], slots[:, None, :]]
        if not valid.all():
            products *= valid[:, :, None] & valid[:, None, :]
        totals = products.sum(axis=(1, 2), dtype=np.float64) - np.einsum("bii->b", products, dtype=np.float64)
        return _per_pair(totals, valid.sum(axis=1))

    def _hold(self, items: IndexArray) -> None:
        """Make the products among ``items`` available, forgetting older ones where there is no room for both."""
        fresh = items[self._slot[items] < 0]
        if not len(fresh):
            return
        if len(self._held) + len(fresh) > self._max_items:
            self._slot[self._held] = -1
            self._held = self._held[:0]
            self._products = self._products[:0, :0]
            fresh = items
        n_old = len(self._held)
        held = np.concatenate([self._held, fresh])
        grown = np.empty((len(held), len(held)), dtype=np.float32)
        grown[:n_old, :n_old] = self._products
        held_vectors = self._vectors[held]
        for start in range(0, len(fresh), 512):  # in stripes, since a sparse product takes more room than its values
            stripe = held_vectors @ self._vectors[fresh[start : start + 512]].T
            grown[:, n_old + start : n_old + start + stripe.shape[1]] = stripe.toarray()
        grown[n_old:, :n_old] = grown[:n_old, n_old:].T
        self._slot[fresh] = np.arange(n_old, len(held))
        self._held, self._products = held, grown


def dense_list_similarity(vectors: npt.NDArray[Any], lists: IndexArray) -> npt.NDArray[np.float64]:
    """The same mean from dense vectors: ``|sum v|^2 - sum |v|^2`` over the list, O(k d) a list and nothing kept.

    Parameters
    ----------
    vectors
        Shape (n_items, d), of any length.
    lists
        int64, shape (n_lists, k), -1 where padded.
    """
    return np.concatenate([_of_dense(vectors, part) for part in _parts(lists, lists.shape[1] * vectors.shape[1])])


def _of_dense(vectors: npt.NDArray[Any], lists: IndexArray) -> npt.NDArray[np.float64]:
    valid = lists >= 0
    gathered = np.asarray(vectors[lists], dtype=np.float64)
    norms = np.linalg.norm(gathered, axis=2, keepdims=True)
    gathered /= np.where(norms == 0.0, 1.0, norms)
    gathered *= valid[:, :, None]
    total = gathered.sum(axis=1)
    totals = np.einsum("bd,bd->b", total, total) - np.einsum("bkd,bkd->b", gathered, gathered)
    return _per_pair(totals, valid.sum(axis=1))


def _parts(lists: IndexArray, numbers_per_list: int) -> list[IndexArray]:
    """The lists in parts whose intermediate arrays stay in the low tens of megabytes."""
    step = max(1, 2_000_000 // max(1, numbers_per_list))
    return [lists[start : start + step] for start in range(0, max(1, len(lists)), step)]


def _per_pair(totals: npt.NDArray[np.float64], lengths: IndexArray) -> npt.NDArray[np.float64]:
    pairs = lengths * (lengths - 1)
    means = np.full(len(totals), np.nan)
    np.divide(totals, pairs, out=means, where=pairs > 0)
    return means
