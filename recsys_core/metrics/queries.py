"""Which users of a split a model can be asked about, how to ask, and what is relevant to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from recsys_core.data import Histories
from recsys_core.metrics.batch import Relevance, find_sorted

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    import polars as pl

    from recsys_core.data import IdMap, Interactions, Split
    from recsys_core.metrics.catalog import Catalog
    from recsys_core.types import CSR, IndexArray, Ranking

__all__ = ["Queries", "RankingModel", "prepare_queries"]


class RankingModel(Protocol):
    """All that evaluation asks of a model."""

    @property
    def users(self) -> IdMap:
        """External ids of the users it was trained on."""
        ...

    @property
    def items(self) -> IdMap:
        """External ids of the items it can recommend; position = the index in its rankings."""
        ...

    def recommend_indices(
        self,
        user_index: IndexArray | None = None,
        *,
        histories: Histories | None = None,
        k: int = 10,
        filter_seen: bool = True,
        n_threads: int = 0,
    ) -> Ranking:
        """Rank all items for known users or for histories."""
        ...


@dataclass(frozen=True)
class Queries:
    """The test users that a model can be asked about, ready to be asked in batches.

    Attributes
    ----------
    user_ids
        External ids, shape (n_users,).
    relevant
        Their test items.
    user_index
        int64, shape (n_users,): row in the model, -1 for users that are asked about by history.
    histories
        What to tell the model about each user (rows of users with a ``user_index`` are not used), or None if every
        user is asked about by index.
    n_had_before
        Pairs of such a user and a test item that the user had in the history; or, without one, in training or in the
        model's own histories.
    n_trained_on
        Pairs of such a user and a test item that the model's own histories hold, and neither training nor the history.
    n_skipped
        Test users left out: unknown to the model, and without a history that holds an item it knows.
    n_history_unknown
        Events of the histories dropped because the model does not know the item.
    """

    user_ids: pl.Series
    relevant: Relevance
    user_index: IndexArray
    histories: Histories | None
    n_had_before: int
    n_trained_on: int
    n_skipped: int
    n_history_unknown: int

    def batches(self, size: int) -> Iterator[tuple[IndexArray, dict[str, Any]]]:
        """Positions of up to ``size`` users, with the arguments that ask a model about them."""
        by_index = np.flatnonzero(self.user_index >= 0)
        for start in range(0, len(by_index), size):
            positions = by_index[start : start + size]
            yield positions, {"user_index": self.user_index[positions]}
        if self.histories is not None:
            by_history = np.flatnonzero(self.user_index < 0)
            for start in range(0, len(by_history), size):
                positions = by_history[start : start + size]
                yield positions, {"histories": self.histories.rows(positions)}

    def had(self, positions: IndexArray, catalog: Catalog) -> CSR:
        """CSR (n_positions, n_items): 1 where the user had the item; ``positions`` are those of one of the batches."""
        if self.histories is None or self.user_index[positions[0]] >= 0:
            return catalog.had_by(self.user_ids.gather(positions))
        told = self.histories.rows(positions).to_csr(catalog.n_items)
        told.data[:] = 1.0
        return told


def prepare_queries(model: RankingModel, split: Split) -> Queries:
    """Translate a split's test set into the model's indices.

    A user with a history is asked about by that history; without one, or when none of its items is known to the
    model, by index if the model knows the user; otherwise the user is left out and counted.
    """
    test = split.test
    relevant = _relevance(test, model.items)
    tested = np.diff(relevant.indptr) > 0
    user_index = model.users.index_of(test.users.ids)
    in_train = _holds(split.train.users, split.train.items, split.train.to_csr(), test)
    own = getattr(model, "histories", None)
    in_own = np.zeros_like(in_train)
    if isinstance(own, Histories):
        in_own = _holds(model.users, model.items, own.to_csr(len(model.items)), test)
    had_before, trained_on = in_train | in_own, in_own & ~in_train
    pair_user = _pair_users(test)
    histories, n_unknown = None, 0
    if split.history is not None:
        known, n_unknown = _in_model_items(split.history, model.items)
        row = split.history.users.index_of(test.users.ids)
        histories = _rows_or_empty(known, row)
        told = histories.lengths > 0
        user_index[told] = -1
        in_history = _holds(split.history.users, split.history.items, split.history.to_csr(), test)
        had_before = np.where(told[pair_user], in_history, had_before)
        trained_on &= ~in_history
    askable = user_index >= 0
    if histories is not None:
        askable |= histories.lengths > 0
    kept = np.flatnonzero(tested & askable)
    return Queries(
        user_ids=test.users.ids.gather(kept),
        relevant=relevant.take(kept),
        user_index=user_index[kept],
        histories=None if histories is None else histories.rows(kept),
        n_had_before=int(np.isin(pair_user[had_before], kept).sum()),
        n_trained_on=int(np.isin(pair_user[trained_on], kept).sum()),
        n_skipped=int(np.count_nonzero(tested & ~askable)),
        n_history_unknown=n_unknown,
    )


def _relevance(test: Interactions, items: IdMap) -> Relevance:
    """The test items of every test user by model index; repeats count once, with their largest weight."""
    matrix = test.to_csr("max")
    column = items.index_of(test.items.ids)
    unknown = np.flatnonzero(column < 0)
    column[unknown] = len(items) + np.arange(len(unknown))
    indptr = matrix.indptr.astype(np.int64)
    indices = column[matrix.indices]
    order = np.lexsort((indices, np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))))
    return Relevance(indptr, indices[order], matrix.data[order])


def _pair_users(test: Interactions) -> IndexArray:
    """The test user of each distinct pair of the test part."""
    return np.repeat(np.arange(test.n_users), np.diff(test.to_csr("max").indptr))


def _holds(users: IdMap, items: IdMap, pairs: CSR, test: Interactions) -> npt.NDArray[np.bool_]:
    """Whether a matrix over some users and items stores each distinct pair of the test part."""
    row = users.index_of(test.users.ids)[_pair_users(test)]
    column = items.index_of(test.items.ids)[test.to_csr("max").indices]
    # One integer a pair; the rows of a CSR matrix are sorted, so those of the stored pairs ascend.
    keys = np.repeat(np.arange(len(users)), np.diff(pairs.indptr)) * len(items) + pairs.indices
    return (row >= 0) & (column >= 0) & (find_sorted(keys, row * len(items) + column) >= 0)


def _in_model_items(history: Interactions, items: IdMap) -> tuple[Histories, int]:
    """The histories by model index without the items it does not know, and how many events that left out."""
    rows = history.histories()
    index = items.index_of(history.items.ids)[rows.indices]
    known = index >= 0
    before = np.concatenate([[0], np.cumsum(known)])
    kept = Histories(before[rows.indptr], index[known].astype(np.int32), rows.weights[known])
    return kept, int(np.count_nonzero(~known))


def _rows_or_empty(histories: Histories, row: IndexArray) -> Histories:
    """One history for each entry of ``row``, empty where it is -1."""
    lengths = np.zeros(len(row), dtype=np.int64)
    found = row >= 0
    lengths[found] = histories.lengths[row[found]]
    present = histories.rows(row[found])
    return Histories(np.concatenate([[0], np.cumsum(lengths)]), present.indices, present.weights)
