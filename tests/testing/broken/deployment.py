"""Recommenders that answer otherwise once they are exported, saved or served."""

from __future__ import annotations

from typing import Any

import numpy as np

from broken.healthy import Neighbors
from recsys_core import Interactions, Recommender, StaticForm
from recsys_core.types import Ranking


class CubedForm(StaticForm):
    """Ranks by another score than the one the graph is built from."""

    def rank(self, user_index, histories, k, *options):
        return StaticForm(self.scores**3).rank(user_index, histories, k, *options)


class OwnForm(Recommender):
    """Changes what a form computes, which no graph knows about."""

    def fit_form(self, interactions: Interactions, progress: Any):
        return CubedForm(np.asarray(interactions.to_csr("binary").sum(axis=0), np.float32).ravel())


class BoostsOutsideItsForm(Neighbors):
    """Adds to the scores where a bundle cannot see it."""

    def recommend_indices(self, user_index=None, **options):
        ranking = super().recommend_indices(user_index, **options)
        return Ranking(ranking.indices, ranking.scores * np.float32(2))


class BoostsItsTables(Neighbors):
    """Changes scores in the table only, which a bundle cannot see either."""

    def recommend(self, users: Any = None, **options: Any):
        table = super().recommend(users, **options)
        return table.with_columns(table["score"] * 2)
