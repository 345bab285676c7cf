"""What is known about the items from training: popularity and the vectors of users who had them."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_core.metrics.similarity import ListSimilarity

if TYPE_CHECKING:
    import scipy.sparse as sp

    from recsys_core.data import IdMap, Interactions
    from recsys_core.types import IndexArray

__all__ = ["Catalog"]


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

    @cached_property
    def popularity(self) -> IndexArray:
        """int64, shape (n_items,): how many training users had the item; repeats by one user count once."""
        return np.diff(self.item_users.indptr).astype(np.int64)

    @cached_property
    def co_occurrence(self) -> ListSimilarity:
        """Cosine of the items' user vectors: ``|U_i & U_j| / sqrt(|U_i| |U_j|)``."""
        return ListSimilarity(self.item_users)
