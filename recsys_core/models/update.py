"""New interactions for a model that has been fitted: what they are, and the ids and histories that they grow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from recsys_core.data import Histories, IdMap, Interactions
from recsys_core.types import FloatArray, Index32Array, IndexArray

if TYPE_CHECKING:
    from recsys_core.models.fitted import FittedModel

__all__ = ["Update", "grow"]


@dataclass(frozen=True, eq=False)
class Update:
    """What a model is told by :meth:`Recommender.partial_fit <recsys_core.models.Recommender.partial_fit>`.

    Ids that the model knew keep their index; new ones come behind them, users and items each in the order of the new
    interactions' id maps.

    Attributes
    ----------
    before
        The model as it was.  Its arrays must not be written to: somebody may be asking it.
    users, items
        Grown ids.
    histories
        Everything that each user had, the new events behind the old ones.
    item_features
        Grown table, or None; new items that nobody describes have nulls.
    user_index, item_index
        int32 (n_events,): the new events, over the grown ids, oldest first.
    weight
        float32 (n_events,).
    """

    before: FittedModel
    users: IdMap
    items: IdMap
    histories: Histories
    item_features: pl.DataFrame | None
    user_index: Index32Array
    item_index: Index32Array
    weight: FloatArray

    @cached_property
    def touched_users(self) -> IndexArray:
        """Users of the new events, int64, ascending."""
        return np.unique(self.user_index).astype(np.int64)

    @cached_property
    def touched_items(self) -> IndexArray:
        """Items of the new events, int64, ascending."""
        return np.unique(self.item_index).astype(np.int64)

    def interactions(self) -> Interactions:
        """All events, old and new, in the order of each user's history and without their times."""
        users = np.repeat(np.arange(len(self.users), dtype=np.int32), self.histories.lengths)
        return Interactions(
            users=self.users,
            items=self.items,
            user_index=users,
            item_index=self.histories.indices,
            weight=self.histories.weights,
            item_features=self.item_features,
        )


def grow(before: FittedModel, interactions: Interactions) -> Update:
    """Take new interactions into the ids and histories of a fitted model.

    Parameters
    ----------
    before
        The model.
    interactions
        Events that came after those it was fitted on.

    Raises
    ------
    DTypeError
        The ids are of another type than the model's.

    Notes
    -----
    O(n log n) in the number of old and new events.
    """
    users, items = before.users.extended(interactions.users.ids), before.items.extended(interactions.items.ids)
    order = np.arange(len(interactions))
    if interactions.datetime is not None:
        order = np.argsort(interactions.datetime, kind="stable")
    user_index = users.index_of(interactions.users.ids)[interactions.user_index[order]].astype(np.int32)
    item_index = items.index_of(interactions.items.ids)[interactions.item_index[order]].astype(np.int32)
    weight = interactions.weight[order]
    return Update(
        before=before,
        users=users,
        items=items,
        histories=before.histories.extended(len(users), user_index, item_index, weight),
        item_features=_grown_features(before.item_features, items, interactions.item_features),
        user_index=user_index,
        item_index=item_index,
        weight=weight,
    )


def _grown_features(old: pl.DataFrame | None, items: IdMap, new: pl.DataFrame | None) -> pl.DataFrame | None:
    """A row an item: as it was for those that have one, from the new table for new items, null elsewhere."""
    if old is None:
        return None
    added = pl.DataFrame([items.ids.slice(len(old)).alias("item_id")])
    if new is not None:
        shared = ["item_id", *(name for name in old.columns[1:] if name in new.columns)]
        added = added.join(new.select(shared), on="item_id", how="left", maintain_order="left")
    return pl.concat([old, added], how="diagonal_relaxed")
