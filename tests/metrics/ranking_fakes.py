"""A model whose lists are written down, to evaluate without training anything."""

from __future__ import annotations

import numpy as np

from recsys_core.data import Histories, IdMap, Interactions
from recsys_core.metrics import Catalog
from recsys_core.types import Ranking


class ListModel:
    """Recommends each known user the item ids listed for them, in that order, padded to k.

    A history is answered with the listed items, or for the items of the catalogue in order, whichever is given.
    Every call is recorded in ``calls``.
    """

    def __init__(self, lists, items, *, for_histories=()):
        self.users, self.items = IdMap(list(lists)), IdMap(items)
        self._lists = [self.items.index_of(list(ranked)) for ranked in lists.values()]
        self._for_histories = self.items.index_of(list(for_histories))
        self.calls = []

    def recommend_indices(self, user_index=None, *, histories=None, k=10, filter_seen=True, n_threads=0):
        self.calls.append(
            {"user_index": user_index, "histories": histories, "k": k, "filter_seen": filter_seen, "threads": n_threads}
        )
        if user_index is not None:
            return padded_ranking([self._lists[row] for row in user_index], k)
        assert isinstance(histories, Histories)
        return padded_ranking([self._for_histories] * len(histories), k)


def padded_ranking(lists, k):
    indices = np.full((len(lists), k), -1, dtype=np.int64)
    for row, ranked in enumerate(lists):
        indices[row, : min(k, len(ranked))] = ranked[:k]
    scores = np.where(indices >= 0, -np.arange(k, dtype=np.float32), -np.inf).astype(np.float32)
    return Ranking(indices, scores)


def catalog_of(users_of):
    """Catalogue of items 0..n-1 with the training users of each given as a set."""
    pairs = [(user, item) for item, users in enumerate(users_of) for user in sorted(users)]
    train = Interactions.from_arrays([user for user, _ in pairs], [item for _, item in pairs])
    return Catalog(IdMap(np.arange(len(users_of))), train)
