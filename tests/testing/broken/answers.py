"""Recommenders that answer wrongly."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from broken.healthy import Neighbors
from recsys_core.types import Ranking


def _changed(ranking: Ranking, indices=None, scores=None) -> Ranking:
    return Ranking(ranking.indices if indices is None else indices, ranking.scores if scores is None else scores)


class DividesByZero(Neighbors):
    """Normalizes by what a user has left to see, which is nothing when they may see all."""

    def recommend_indices(self, user_index=None, *, filter_seen=True, **options):
        ranking = super().recommend_indices(user_index, filter_seen=filter_seen, **options)
        if filter_seen:
            return ranking
        return _changed(ranking, scores=np.where(ranking.scores == ranking.scores.max(), np.inf, ranking.scores))


class TiesTheOtherWay(Neighbors):
    """Puts the higher index first among items of one score."""

    def recommend_indices(self, user_index=None, **options):
        ranking = super().recommend_indices(user_index, **options)
        order = np.lexsort((-ranking.indices, -ranking.scores), axis=1)
        return Ranking(*(np.take_along_axis(part, order, axis=1) for part in ranking))


class _LongListsOnly(Neighbors):
    """Base of those that spoil unfiltered lists of all items."""

    def recommend_indices(self, user_index=None, *, k=10, filter_seen=True, **options):
        ranking = super().recommend_indices(user_index, k=k, filter_seen=filter_seen, **options)
        return self.spoiled(ranking) if k == len(self.items) and not filter_seen else ranking


class Rises(_LongListsOnly):
    """Puts the worst first."""

    def spoiled(self, ranking):
        # Padding, at -inf, stays last.
        order = np.argsort(np.where(ranking.indices < 0, np.inf, ranking.scores), axis=1, kind="stable")
        return Ranking(*(np.take_along_axis(part, order, axis=1) for part in ranking))


class RepeatsAnItem(_LongListsOnly):
    """Lists the best item twice."""

    def spoiled(self, ranking):
        return Ranking(*(np.concatenate([part[:, :1], part[:, :-1]], axis=1) for part in ranking))


class PadsFirst(_LongListsOnly):
    """Puts padding before the items."""

    def spoiled(self, ranking):
        ranking.indices[:, 0], ranking.scores[:, 0] = -1, -np.inf
        return ranking


class ScalesByTheBatch(Neighbors):
    """Divides the scores by the largest in the batch, which the bundle's check asks for one batch only."""

    def recommend_indices(self, user_index=None, **options):
        ranking = super().recommend_indices(user_index, **options)
        if len(ranking.indices) == len(self.users):
            return ranking
        return _changed(ranking, scores=ranking.scores * np.float32(1.5))


class DependsOnThreads(Neighbors):
    """Its last bits depend on the number of threads."""

    def recommend_indices(self, user_index=None, *, n_threads=0, **options):
        ranking = super().recommend_indices(user_index, n_threads=n_threads, **options)
        return _changed(ranking, scores=ranking.scores * np.float32(1 + n_threads * 1e-6))


class ClampsK(Neighbors):
    """Returns no more columns than there are items."""

    def recommend_indices(self, user_index=None, *, k=10, **options):
        return super().recommend_indices(user_index, k=min(k, len(self.items)), **options)


class PadsWithTheFirstItem(Neighbors):
    """Fills up with index 0."""

    def recommend_indices(self, user_index=None, *, k=10, **options):
        ranking = super().recommend_indices(user_index, k=k, **options)
        if k <= len(self.items):
            return ranking
        return _changed(ranking, indices=np.maximum(ranking.indices, 0))


class IgnoresDeny(Neighbors):
    """Loses an argument on the way."""

    def recommend_indices(self, user_index=None, *, deny=None, **options):
        return super().recommend_indices(user_index, **options)


class IgnoresExclude(Neighbors):
    """Loses another argument on the way."""

    def recommend_indices(self, user_index=None, *, exclude=None, **options):
        return super().recommend_indices(user_index, **options)


class AllowsAllWhenNothingIsAllowed(Neighbors):
    """Takes an empty list for no list."""

    def recommend_indices(self, user_index=None, *, allow=None, **options):
        return super().recommend_indices(
            user_index, allow=allow if allow is not None and len(allow) else None, **options
        )


class SkipsStrangers(Neighbors):
    """Leaves unknown users out without being asked to."""

    def recommend(self, users: Any = None, *, on_unknown="raise", **options: Any):
        if users is not None and on_unknown == "raise":
            on_unknown = "ignore"
        return super().recommend(users, on_unknown=on_unknown, **options)


class NeverWarnsOfUsers(Neighbors):
    """Leaves unknown users out in silence."""

    def recommend(self, users: Any = None, *, on_unknown="raise", **options: Any):
        if users is not None and on_unknown == "warn":
            on_unknown = "ignore"
        return super().recommend(users, on_unknown=on_unknown, **options)


class HasNoFallback(Neighbors):
    """Leaves unknown users out where they should get what is popular."""

    def recommend(self, users: Any = None, *, on_unknown="raise", **options: Any):
        if users is not None and on_unknown == "fallback":
            on_unknown = "ignore"
        return super().recommend(users, on_unknown=on_unknown, **options)


class SkipsUnknownItems(Neighbors):
    """Leaves unknown items of a history out without being asked to."""

    def recommend(self, users: Any = None, *, on_unknown="raise", **options: Any):
        if users is None and on_unknown == "raise":
            on_unknown = "ignore"
        return super().recommend(users, on_unknown=on_unknown, **options)


class NeverWarnsOfItems(Neighbors):
    """Leaves unknown items out in silence."""

    def recommend(self, users: Any = None, *, on_unknown="raise", **options: Any):
        if users is None and on_unknown == "warn":
            on_unknown = "ignore"
        return super().recommend(users, on_unknown=on_unknown, **options)


class ForgetsTheLastNewcomer(Neighbors):
    """Answers the first of two empty histories, and not the second."""

    def recommend(self, users: Any = None, *, histories=None, **options: Any):
        table = super().recommend(users, histories=histories, **options)
        if histories == [[], [self.items.ids[0]], []]:
            return pl.concat([table.with_columns(user_id=pl.lit(0, pl.Int64)), table])
        return table


class ItemOrderForNewcomers(Neighbors):
    """Lists the first items, all of score 0, to whoever has had nothing."""

    def recommend(self, users: Any = None, *, histories=None, **options: Any):
        table = super().recommend(users, histories=histories, **options)
        if histories == [[], [self.items.ids[0]], []]:
            blank = [table.with_columns(user_id=pl.lit(row, pl.Int64), score=pl.lit(0, pl.Float32)) for row in (0, 2)]
            return pl.concat([table, *blank])
        return table


class LikeItself(Neighbors):
    """Finds an item most similar to itself."""

    def similar_items(self, item_ids: Any, k: int = 10, **options: Any):
        table = super().similar_items(item_ids, k, **options)
        return table.with_columns(similar_item_id=table["item_id"])


class LeastAlikeFirst(Neighbors):
    """Sorts the wrong way."""

    def similar_items(self, item_ids: Any, k: int = 10, **options: Any):
        table = super().similar_items(item_ids, k, **options)
        return table.with_columns(score=-table["score"])


class TooManyAlike(Neighbors):
    """Returns more than was asked for."""

    def similar_items(self, item_ids: Any, k: int = 10, **options: Any):
        return super().similar_items(item_ids, k + 1, **options)


class LikesTheUnknown(Neighbors):
    """Has nothing to say of an unknown item, and does not say so."""

    def similar_items(self, item_ids: Any, k: int = 10, **options: Any):
        known = [item for item in item_ids if item in self.items]
        return super().similar_items(known or [self.items.ids[0]], k, **options)
