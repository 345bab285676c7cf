"""What is known about the items from training: popularity and the vectors of users who had them."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_core.metrics.similarity import ListSimilarity

if TYPE_CHECKING:
    import polars as pl
    import scipy.sparse as sp

    from recsys_core.data import IdMap, Interactions
    from recsys_core.types import CSR, IndexArray

__all__ = ["Catalog", "popularity_strata"]


class Catalog:
    """The items a model can recommend, in the model's own order, and their training interactions.

    Parameters
    ----------
    items
        The model's items; position = the item index in rankings.
    train
        The training interactions.  Items in it that the model does not know play no part; items of the model
        that are not in it have popularity 0.

    Examples
    --------
    >>> from recsys_core.data import Interactions
    >>> train = Interactions.from_arrays(["u", "u", "v"], ["a", "b", "a"])
    >>> Catalog(train.items, train).popularity.tolist()
    [2, 1]
    """

    def __init__(self, items: IdMap, train: Interactions) -> None:
        self.items = items
        self.train = train

    @property
    def n_items(self) -> int:
        """How many items the model can recommend."""
        return len(self.items)

    @property
    def n_users(self) -> int:
        """How many users the training interactions have."""
        return self.train.n_users

    @cached_property
    def item_users(self) -> sp.csr_array[Any]:
        """CSR, shape (n_items, n_users): 1 where the training user had the item, rows in the model's order."""
        import scipy.sparse as sp

        pairs = self.train.to_csr()  # the aggregate a model has most likely asked for; only structure counts
        user = np.repeat(np.arange(self.n_users), np.diff(pairs.indptr))
        item = self.items.index_of(self.train.items.ids)[pairs.indices]
        known = item >= 0
        ones = np.ones(np.count_nonzero(known), dtype=np.float32)
        return sp.csr_array((ones, (item[known], user[known])), shape=(self.n_items, self.n_users))

    def had_by(self, user_ids: pl.Series) -> CSR:
        """CSR, shape (n_user_ids, n_items): 1 where they had the item in training; a row of zeros for a stranger."""
        import scipy.sparse as sp

        row = self.train.users.index_of(user_ids)
        known = np.flatnonzero(row >= 0)
        pick = sp.csr_array((np.ones(len(known), np.float32), (known, row[known])), shape=(len(row), self.n_users))
        return sp.csr_array(pick @ self._user_items)

    @cached_property
    def _user_items(self) -> sp.csr_array[Any]:
        return self.item_users.T.tocsr()

    @cached_property
    def popularity(self) -> IndexArray:
        """int64, shape (n_items,): how many training users had the item; repeats by one user count once."""
        return np.diff(self.item_users.indptr).astype(np.int64)

    @cached_property
    def strata(self) -> CSR:
        """The items' :func:`popularity_strata`."""
        return popularity_strata(self.popularity)

    @cached_property
    def co_occurrence(self) -> ListSimilarity:
        """Cosine of the items' user vectors: ``|U_i & U_j| / sqrt(|U_i| |U_j|)``."""
        return ListSimilarity(self.item_users)


def popularity_strata(popularity: IndexArray) -> CSR:
    """Head, middle and tail of a catalogue, CSR (n_items, 3) with a single one a row.

    The most popular items that together have a fifth of all interactions are the head, the least popular that have a
    fifth the tail (Abdollahpouri et al. 2021, section 3); an item on a border belongs to the smaller stratum.

    Parameters
    ----------
    popularity
        int64 (n_items,): training users of each item.

    Examples
    --------
    >>> popularity_strata(np.array([1, 50, 4, 20, 25])).toarray().argmax(axis=1).tolist()
    [2, 0, 2, 1, 1]
    """
    import scipy.sparse as sp

    order = np.argsort(-popularity, kind="stable")
    before = np.cumsum(popularity[order]) - popularity[order]
    total = max(1, int(popularity.sum()))
    stratum = np.ones(len(popularity), np.int64)
    stratum[order[before < 0.2 * total]] = 0
    stratum[order[before >= 0.8 * total]] = 2
    return sp.csr_array((np.ones(len(stratum)), stratum, np.arange(len(stratum) + 1)), shape=(len(stratum), 3))
