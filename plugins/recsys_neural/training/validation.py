"""Validation by full ranking: the last item of some users is held out and looked for among all items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recsys_core import ops
from recsys_core.data import Histories
from recsys_core.types import CSR, FloatArray, IndexArray

__all__ = ["HeldOut", "hold_out_last"]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Users whose last item is to be found.

    Parameters
    ----------
    histories
        What they had before it, one row a user.
    targets
        int64 (n_users,): the held-out items.
    users
        int64 (n_users,): their rows in the training data.
    n_items
        Number of items.
    """

    histories: Histories
    targets: IndexArray
    users: IndexArray
    n_items: int

    @property
    def seen(self) -> CSR:
        """What not to recommend, (n_users, n_items): the history, but never the target itself."""
        had = self.histories.to_csr(self.n_items)
        rows = np.repeat(np.arange(len(self.targets)), np.diff(had.indptr))
        keep = had.indices != self.targets[rows]
        ones = np.ones(int(keep.sum()), np.float32)
        return sp.csr_matrix((ones, (rows[keep], had.indices[keep])), shape=had.shape)

    def ndcg(
        self,
        queries: FloatArray,
        item_factors: FloatArray,
        item_bias: FloatArray | None = None,
        *,
        k: int = 10,
        n_threads: int = 0,
    ) -> float:
        """NDCG@k of ranking all items by their inner products with the queries.

        Parameters
        ----------
        queries
            float32 (n_users, n_factors).
        item_factors
            float32 (n_items, n_factors).
        item_bias
            float32 (n_items,), or None.
        k
            Length of the lists.
        n_threads
            Threads, 0 for all.
        """
        index = ops.ItemIndex(item_factors, item_bias)
        ranking = index.topk(queries, min(k, self.n_items), exclude=self.seen, n_threads=n_threads)
        return self.ndcg_of(ranking.indices)

    def ndcg_of(self, ranked: IndexArray) -> float:
        """NDCG of lists of items, int64 (n_users, k): a target at place r from 0 gains 1 / log2(r + 2)."""
        hit = ranked == self.targets[:, None]
        return float((hit / np.log2(np.arange(ranked.shape[1]) + 2)).sum(1).mean())


def hold_out_last(
    histories: Histories, n_items: int, share: float, random_state: int
) -> tuple[Histories, HeldOut | None]:
    """Hold out the last item of some users.

    Parameters
    ----------
    histories
        All of the training data, oldest first.
    n_items
        Number of items.
    share
        Share of the users with two items or more to hold out from, in [0, 1]; at least one of them unless it is 0.
    random_state
        Seed of the choice.

    Returns
    -------
    training
        The histories without the held-out items, one row a user as before.
    held_out
        None if nobody was chosen.
    """
    candidates = np.flatnonzero(histories.lengths > 1)
    n_chosen = min(max(round(share * len(candidates)), 1), len(candidates)) if share > 0 else 0
    if not n_chosen:
        return histories, None
    rng = np.random.default_rng(random_state)
    users = np.sort(rng.choice(candidates, n_chosen, replace=False))
    last = histories.indptr[users + 1] - 1
    keep = np.ones(len(histories.indices), dtype=bool)
    keep[last] = False
    lengths = histories.lengths.copy()
    lengths[users] -= 1
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    training = Histories(indptr, histories.indices[keep], histories.weights[keep])
    return training, HeldOut(training.rows(users), histories.indices[last].astype(np.int64), users, n_items)
