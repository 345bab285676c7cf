"""Recommenders whose settings or training break a promise."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field, field_validator

from broken.healthy import Neighbors, NeighborsConfig
from recsys_core import Config, ItemItemForm
from recsys_core.models import SearchRange


class NeedsASetting(Neighbors):
    """Cannot be made without settings."""

    class config_class(NeighborsConfig):  # noqa: N801
        shrinkage: float = Field(ge=0, description="Added to the denominator of a similarity.")


class DescribesNothing(Neighbors):
    """A setting that nobody explains."""

    class config_class(Config):  # noqa: N801
        shrinkage: float = 1.0


class ScalesItsSettings(Neighbors):
    """A validator that changes the value each time it sees it."""

    class config_class(NeighborsConfig):  # noqa: N801
        @field_validator("shrinkage")
        @classmethod
        def _percent(cls, value: float) -> float:
            return value / 100


class TakesAnySetting(Neighbors):
    """Swallows misspelt settings."""

    class config_class(NeighborsConfig, extra="ignore"):  # noqa: N801
        pass


class SearchesTooFar(Neighbors):
    """Looks for good values where none is allowed."""

    class config_class(NeighborsConfig):  # noqa: N801
        shrinkage: Annotated[float, SearchRange(-1.0, 10.0)] = Field(1.0, ge=0, description="Added below.")


class AnswersUnfitted(Neighbors):
    """Gives an empty table before it is fitted."""

    def recommend(self, users: Any = None, **options: Any):
        if not hasattr(self, "fitted_"):
            return None
        return super().recommend(users, **options)


class FitReturnsNothing(Neighbors):
    """Forgets to return itself."""

    def fit(self, interactions, **options):
        super().fit(interactions, **options)


class Unseeded(Neighbors):
    """Draws from a generator without a seed."""

    def similarities(self, interactions, progress):
        weights = super().similarities(interactions, progress)
        return weights * np.random.default_rng().uniform(0.9, 1.1, weights.shape).astype(np.float32)


class RemembersTheFirstFit(Neighbors):
    """Goes on from what it learned before where the sizes agree, and scales by the number of fits."""

    n_fits = 0

    def similarities(self, interactions, progress):
        self.n_fits += 1
        return super().similarities(interactions, progress) * np.float32(self.n_fits)


class WritesIntoItsInput(Neighbors):
    """Weighs events in the matrix that it was lent."""

    def similarities(self, interactions, progress):
        weights = super().similarities(interactions, progress)
        matrix = interactions.to_csr()
        matrix.data.flags.writeable = True
        matrix.data *= 2
        return weights


class ProgressFalls(Neighbors):
    """Counts down."""

    def similarities(self, interactions, progress):
        weights = super().similarities(interactions, lambda done, total: None)
        for done in (2, 1, 0):
            progress(done, 2)
        return weights


class ProgressOvershoots(Neighbors):
    """Is more than done."""

    def similarities(self, interactions, progress):
        return super().similarities(interactions, lambda done, total: progress(done + 1, total))


class ProgressMovesItsGoal(Neighbors):
    """Finds more to do on the way."""

    def similarities(self, interactions, progress):
        return super().similarities(interactions, lambda done, total: progress(done, total + done))


class ProgressInShares(Neighbors):
    """Counts in fractions."""

    def similarities(self, interactions, progress):
        return super().similarities(interactions, lambda done, total: progress(done / total, 1))


class LearnsFromLooks(Neighbors):
    """Counts who looks, and scores by it."""

    def fit_form(self, interactions, progress):
        looks = []
        weights = self.similarities(interactions, progress)

        def form():
            looks.append(1)
            return ItemItemForm(weights)

        progress(2, 2, form)
        return ItemItemForm(weights * np.float32(1 + len(looks)))


class StopsLate(Neighbors):
    """Finishes before it lets an exception out."""

    def similarities(self, interactions, progress):
        raised = []

        def quiet(done, total):
            try:
                progress(done, total)
            except Exception as fault:
                raised.append(fault)

        weights = super().similarities(interactions, quiet)
        if raised:
            raise raised[0]
        return weights


class SwallowsStops(Neighbors):
    """Catches everything that its progress callback raises."""

    def similarities(self, interactions, progress):
        def quiet(done, total):
            try:
                progress(done, total)
            except Exception:
                return

        return super().similarities(interactions, quiet)


class NeedsTwoItems(Neighbors):
    """Divides by the number of other items."""

    def similarities(self, interactions, progress):
        1 / (interactions.n_items - 1)
        return super().similarities(interactions, progress)


class NeedsEventsOfAllUsers(Neighbors):
    """Divides by the number of events of each user."""

    def similarities(self, interactions, progress):
        n_events = np.diff(interactions.to_csr().indptr)
        for n in n_events.tolist():
            1 / n
        return super().similarities(interactions, progress)


class CalculatesWithIds(Neighbors):
    """Takes ids for numbers."""

    def similarities(self, interactions, progress):
        sum(interactions.items.ids.to_list())
        return super().similarities(interactions, progress)
