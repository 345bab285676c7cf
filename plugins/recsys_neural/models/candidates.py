"""What a second stage learns from: lists of candidates, each with the items of it that were taken from then on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from recsys_core import Interactions
from recsys_core.data import Histories
from recsys_core.models import standardized_scores
from recsys_core.types import FloatArray, IndexArray, Ranking
from recsys_neural.training import Batch, RowBatches
from recsys_neural.training.batches import left_padded

if TYPE_CHECKING:
    import polars as pl

__all__ = ["CandidateBatches", "CandidateLists", "Retriever", "without_newest"]

_LISTS_AT_ONCE = 1024
BoolArray: TypeAlias = npt.NDArray[np.bool_]


class Retriever(Protocol):
    """What finds candidates: a fitted recommender or model."""

    def recommend_indices(self, *, histories: Histories, user_features: Any, k: int) -> Ranking:
        """The best items for each history, but for those in it; what else is known of their owners may be None."""
        ...


@dataclass(frozen=True, eq=False)
class CandidateLists:
    """What a retriever found before an event, and what of it the user took, in that event or later.

    Parameters
    ----------
    histories
        Of all users, oldest first.
    events
        int64 (n,): places in ``histories.indices``; a list was found by what comes before.
    users
        int64 (n,): whose they are.
    items
        int64 (n, C): what the retriever found, best first, -1 behind them.
    scores
        float32 (n, C): its scores, as :func:`~recsys_core.models.standardized_scores` gives them.
    taken
        bool (n, C): what the user took, in the event or later; at least one of each list.
    """

    histories: Histories
    events: IndexArray
    users: IndexArray
    items: IndexArray
    scores: FloatArray
    taken: BoolArray

    def __len__(self) -> int:
        return len(self.events)

    @classmethod
    def find(
        cls,
        retriever: Retriever,
        histories: Histories,
        share: float,
        k: int,
        per_user: int,
        users: IndexArray | None = None,
        user_features: pl.DataFrame | None = None,
    ) -> CandidateLists:
        """Ask a retriever what comes in the newest part of each user's history, by what was before.

        Parameters
        ----------
        retriever
            Should not have been fitted on those events of those users.
        histories
            Of all users, oldest first.
        share
            Of each user's events; see :func:`without_newest`.
        k
            Candidates of a list.
        per_user
            Lists of a user, at most: before the first of the newest events, and evenly spaced behind it.
        users
            int64: whose lists; everybody's if None.
        user_features
            Of all users, to tell a retriever that reads them.

        Returns
        -------
        CandidateLists
            Without the lists of which nothing was taken: there is nothing to rank first.
        """
        chosen = np.arange(len(histories)) if users is None else users
        events = _spaced(_newest_counts(histories.lengths[chosen], share), histories.indptr[chosen + 1], per_user)
        users = np.searchsorted(histories.indptr, events, side="right") - 1
        parts = [_found(retriever, histories, user_features, events[:0], users[:0], k)]
        for start in range(0, len(events), _LISTS_AT_ONCE):
            part = slice(start, start + _LISTS_AT_ONCE)
            parts.append(_found(retriever, histories, user_features, events[part], users[part], k))
        return cls(histories, *(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    @classmethod
    def joined(cls, parts: Sequence[CandidateLists]) -> CandidateLists:
        """The lists of several parts, at least one, of the same histories and as many candidates."""
        names = ("events", "users", "items", "scores", "taken")
        columns = (np.concatenate([getattr(part, name) for part in parts]) for name in names)
        return cls(parts[0].histories, *columns)

    def gain(self) -> float:
        """What the scores are best multiplied by to be the logarithms of probabilities, of a few choices."""
        there = self.items >= 0

        def loss(gain: float) -> float:
            logits = np.where(there, gain * self.scores, -np.inf)
            log_sum = np.log(np.exp(logits).sum(axis=1))
            taken = np.where(self.taken, logits, 0).sum(axis=1) / self.taken.sum(axis=1)
            return float((log_sum - taken).sum())

        return min((2.0**power for power in range(-6, 3)), key=loss)

    def rows(self, chosen: IndexArray) -> CandidateLists:
        """Some of the lists."""
        events, users, items = self.events[chosen], self.users[chosen], self.items[chosen]
        return CandidateLists(self.histories, events, users, items, self.scores[chosen], self.taken[chosen])

    def hold_out(self, share: float, random_state: int) -> tuple[CandidateLists, CandidateLists]:
        """Split the lists by users, since those of one user have much in common.

        Parameters
        ----------
        share
            Share of the users with a list to hold out, in [0, 1]; one is always left.
        random_state
            Seed of the choice.

        Returns
        -------
        training, held_out
            The latter may be empty.
        """
        users = np.unique(self.users)
        n_held_out = min(round(share * len(users)), len(users) - 1)
        chosen = np.random.default_rng(random_state).choice(users, n_held_out, replace=False)
        is_held_out = np.isin(self.users, chosen)
        return self.rows(np.flatnonzero(~is_held_out)), self.rows(np.flatnonzero(is_held_out))


class CandidateBatches:
    """Lists of candidates in a random order.

    A batch is (user, history, items, scores, taken): int64 (n_rows,), int64 (n_rows, T) right-aligned and padded with
    -1, and the rest as in :class:`CandidateLists`.

    Parameters
    ----------
    lists
        At least one.
    max_length
        Longest history; of longer ones the newest part is taken.
    batch_size
        Lists in a step, over all processes.
    """

    def __init__(self, lists: CandidateLists, *, max_length: int, batch_size: int) -> None:
        self._lists, self._max_length, self._batch_size = lists, max_length, batch_size
        self._rows = RowBatches(torch.arange(len(lists)), batch_size=batch_size)

    def __len__(self) -> int:
        return len(self._rows)

    def epoch(self, rng: np.random.Generator, rank: int, world_size: int) -> Iterator[Batch]:
        """Yield the lists in a random order; see :class:`Batches <recsys_neural.training.Batches>`."""
        for (rows,) in self._rows.epoch(rng, rank, world_size):
            yield self.of(rows.numpy())

    def in_order(self) -> Iterator[Batch]:
        """Yield the lists in their own order."""
        size = self._batch_size
        for start in range(0, len(self._lists), size):
            yield self.of(np.arange(start, min(start + size, len(self._lists))))

    def of(self, rows: IndexArray) -> Batch:
        """The batch of some lists."""
        lists = self._lists
        events, users = lists.events[rows], lists.users[rows]
        lengths = np.minimum(events - lists.histories.indptr[users], self._max_length)
        history = left_padded(np.asarray(lists.histories.indices, np.int64), events, lengths)
        columns = (lists.items[rows], lists.scores[rows], lists.taken[rows])
        return torch.from_numpy(users), history, *map(torch.from_numpy, columns)


def without_newest(interactions: Interactions, share: float, users: IndexArray | None = None) -> Interactions:
    """The interactions without the newest events of users, with all ids.

    Parameters
    ----------
    interactions
        At least one event.
    share
        Of each user's events, in (0, 1): rounded, at least one of two or more, and never a user's first.
    users
        int64: whose; everybody's if None.
    """
    histories = interactions.histories()
    counts = _newest_counts(histories.lengths, share)
    if users is not None:
        counts = np.where(np.isin(np.arange(len(counts)), users), counts, 0)
    from_end = np.repeat(histories.indptr[1:], histories.lengths) - np.arange(len(histories.indices))
    kept = np.sort(interactions.time_order()[from_end > np.repeat(counts, histories.lengths)])
    times = interactions.datetime
    return replace(
        interactions,
        user_index=interactions.user_index[kept],
        item_index=interactions.item_index[kept],
        weight=interactions.weight[kept],
        datetime=None if times is None else times[kept],
    )


def _newest_counts(lengths: IndexArray, share: float) -> IndexArray:
    """How many events of each user are among the newest, by the rule of :func:`without_newest`."""
    return np.minimum(np.maximum(np.round(share * lengths), 1), lengths - 1).clip(0).astype(np.int64)


def _spaced(counts: IndexArray, ends: IndexArray, per_user: int) -> IndexArray:
    """Places of some of the newest events of each user: the first, and others as far apart as they can be."""
    chosen = np.minimum(counts, per_user)
    user = np.repeat(np.arange(len(counts)), chosen)
    number = np.arange(len(user)) - np.repeat(np.cumsum(chosen) - chosen, chosen)
    places: IndexArray = ends[user] - counts[user] + number * counts[user] // chosen[user]
    return places


def _found(
    retriever: Retriever,
    histories: Histories,
    user_features: pl.DataFrame | None,
    events: IndexArray,
    users: IndexArray,
    k: int,
) -> tuple[IndexArray, IndexArray, IndexArray, FloatArray, BoolArray]:
    """The columns of the lists of which something was taken."""
    starts = histories.indptr[users]
    lengths = events - starts
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    entries = np.arange(indptr[-1]) + np.repeat(starts - indptr[:-1], lengths)
    before = Histories(indptr, histories.indices[entries], histories.weights[entries])
    told = None if user_features is None else user_features[users]
    found = retriever.recommend_indices(histories=before, user_features=told, k=k)
    is_taken = _is_taken(histories, events, users, found.indices)
    rows = np.flatnonzero(is_taken.any(axis=1))
    scores = standardized_scores(found.scores[rows])
    return events[rows], users[rows], found.indices[rows], scores, is_taken[rows]


def _is_taken(histories: Histories, events: IndexArray, users: IndexArray, found: IndexArray) -> BoolArray:
    """Which of the items found, (n, C), the user has in the event or later."""
    n_items = 1 + max(int(histories.indices.max(initial=-1)), int(found.max(initial=-1)))
    had = np.repeat(np.arange(len(histories)), histories.lengths) * n_items + histories.indices
    # Of each pair of a user and an item its last event: later than which question was it answered?
    order = np.argsort(had, kind="stable")
    pairs = had[order]
    asked = users[:, None] * n_items + found
    last = np.searchsorted(pairs, asked, side="right") - 1
    is_known = (found >= 0) & (last >= 0) & (pairs[last] == asked)
    taken: BoolArray = is_known & (order[last] >= events[:, None])
    return taken
