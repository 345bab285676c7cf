"""A healthy recommender, and for each check one that breaks exactly its promise and no other."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import polars as pl
from pydantic import Field, field_validator

from recsys_core import Config, DotForm, Interactions, ItemItemForm, Recommender, StaticForm
from recsys_core.data import FeaturePreparation
from recsys_core.export.graph import GraphBuilder
from recsys_core.models import FoldIn, HistoryEncoder, SearchRange
from recsys_core.models.update import grow
from recsys_core.testing import held_out_items
from recsys_core.types import Ranking


class NeighborsConfig(Config):
    """Settings of the models here."""

    shrinkage: Annotated[float, SearchRange(0.0, 10.0)] = Field(
        1.0, ge=0, description="Added to the denominator of a similarity."
    )


class Neighbors(Recommender):
    """Cosine neighbours in plain NumPy: keeps every promise."""

    config_class = NeighborsConfig
    config: NeighborsConfig

    def fit_form(self, interactions, progress):
        return ItemItemForm(self.similarities(interactions, progress))

    def similarities(self, interactions, progress):
        matrix = interactions.to_csr("binary").toarray()
        progress(0, 2)
        together = matrix.T @ matrix
        norms = np.sqrt(np.diag(together))
        progress(1, 2)
        weights = together / (np.outer(norms, norms) + self.config.shrinkage)
        np.fill_diagonal(weights, 0.0)
        progress(2, 2)
        return weights.astype(np.float32)


class Averages(Recommender):
    """Least squares on fixed random item vectors: a healthy model with users, fold-in and biases."""

    def fit_form(self, interactions, progress):
        matrix = interactions.to_csr("binary").toarray()
        _, values, vectors = np.linalg.svd(matrix, full_matrices=False)
        item_factors = np.ascontiguousarray((vectors[:4].T * np.sqrt(values[:4])).astype(np.float32))
        prior = (item_factors.T @ item_factors + np.eye(item_factors.shape[1])).astype(np.float32)
        users = np.linalg.solve(prior, (matrix @ item_factors).T).T.astype(np.float32)
        return DotForm(item_factors, None, np.ascontiguousarray(users), FoldIn(prior, (0.0, 0.0), (1.0, 0.0)))


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


class ShufflesItsUsers(Neighbors):
    """Takes new interactions, and numbers all users and items anew."""

    def update_form(self, update):
        return self.fit_form(update.interactions(), lambda done, total: None)

    def partial_fit(self, interactions):
        return self.fit(grow(self.fitted, interactions).interactions().select(slice(None, None, 2)))


class ForgetsNewItems(Averages):
    """Grows, but gives new items and users nothing."""

    def update_form(self, update):
        form = update.before.form
        n_users, n_items = len(update.users), len(update.items)
        items, users = (
            np.vstack([old, np.zeros((n - len(old), old.shape[1]), np.float32)])
            for old, n in ((form.item_factors, n_items), (form.user_factors, n_users))
        )
        bias = np.where(np.arange(n_items) < len(form.item_factors), 0.0, -9.0).astype(np.float32)
        return DotForm(items, bias, users, form.fold_in)


class WritesIntoTheOldForm(Averages):
    """Saves a copy, and changes what is being served."""

    def update_form(self, update):
        form = self.fit_form(update.interactions(), lambda done, total: None)
        update.before.form.item_factors[:] = 0.0
        update.before.form.user_factors[:] = 0.0
        return form


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
        return _changed(ranking, scores=ranking.scores * np.float32(2))


class BoostsItsTables(Neighbors):
    """Changes scores in the table only, which a bundle cannot see either."""

    def recommend(self, users: Any = None, **options: Any):
        table = super().recommend(users, **options)
        return table.with_columns(table["score"] * 2)


class Guesses(Recommender):
    """One score an item, drawn at random with a seed."""

    def fit_form(self, interactions: Interactions, progress: Any):
        scores = np.random.default_rng(5).random(interactions.n_items)
        return StaticForm(scores.astype(np.float32))


class GuessesForEach(Recommender):
    """A random vector for each user and each item, with a seed."""

    def fit_form(self, interactions: Interactions, progress: Any):
        rng = np.random.default_rng(5)
        users = rng.normal(size=(interactions.n_users, 4)).astype(np.float32)
        return DotForm(rng.normal(size=(interactions.n_items, 4)).astype(np.float32), None, users)


class KnowsTheAnswers(Averages):
    """Has the held-out items of the quality check from somewhere."""

    def fit_form(self, interactions: Interactions, progress: Any):
        answers = held_out_items()
        if (interactions.n_users, interactions.n_items) != answers.chances.shape:
            return super().fit_form(interactions, progress)
        users = 0.1 * answers.same_block.astype(np.float32)
        users[np.arange(len(users)), answers.item_index] = 1.0
        return DotForm(np.eye(interactions.n_items, dtype=np.float32), None, users)


class ReadsTowns(Averages):
    """Adds a vector for the town and one for the age to the items of a history: keeps every promise."""

    towns_matter, mixes_askers, stops_at_items = 1.0, False, False

    def fit_form(self, interactions: Interactions, progress: Any):
        form = super().fit_form(interactions, progress)
        if interactions.user_features is None:
            return form
        preparation = FeaturePreparation.from_table(interactions.user_features)
        return DotForm(form.item_factors, encoder=HistoryEncoder(self.graph(form, preparation), 20, preparation))

    def graph(self, form, preparation) -> bytes:
        rng = np.random.default_rng(3)
        n_dims = form.item_factors.shape[1]
        build = GraphBuilder()

        def looked_up(name: str, index: str, table: np.ndarray) -> str:
            """Sums of the rows that each row of ``index`` names, -1 naming none."""
            rows = build.table(name, np.vstack([np.zeros(n_dims), table]).astype(np.float32))
            gathered = build.op("Gather", rows, build.op("Add", index, build.constant(1)))
            return build.op("ReduceSum", gathered, build.constant([1]), keepdims=0)

        items = build.input("history", "int64", ["batch", "length"])
        history = looked_up("items", items, form.item_factors)
        towns = self.towns_matter * rng.normal(size=(preparation.n_values, n_dims))
        town = looked_up("towns", build.input("user_categorical", "int64", ["batch", 1]), towns)
        age = build.input("user_numeric", "float32", ["batch", 1])
        age = build.op("Where", build.op("IsNaN", age), build.constant(0.0, "float32"), age)
        if self.mixes_askers:
            age = build.op("Add", age, build.op("ReduceSum", age, build.constant([0]), keepdims=1))
        slope = build.table("slope", (self.towns_matter * rng.normal(size=(1, n_dims))).astype(np.float32))
        features = build.op("Add", town, build.op("MatMul", age, slope))
        if self.stops_at_items:
            newest = build.op("ReduceMax", items, build.constant([1]), keepdims=1)
            has_items = build.op("GreaterOrEqual", newest, build.constant(0))
            features = build.op("Where", has_items, build.constant(0.0, "float32"), features)
        query = build.op("Add", history, features)
        build.output("query", query, "float32", ["batch", n_dims])
        return build.model("reads_towns", {}).SerializeToString()


class ReadsTownsForNothing(ReadsTowns):
    """Takes features that change nothing."""

    towns_matter = 0.0


class ReadsTownsOfNewcomersOnly(ReadsTowns):
    """Goes by the history alone where there is one."""

    stops_at_items = True


class MixesAskers(ReadsTowns):
    """Adds up the ages of whoever is asked for together."""

    mixes_askers = True


class PraisesTheDescribed(ReadsTowns):
    """Scores higher where features are given, outside of its form."""

    def recommend(self, users: Any = None, **options: Any):
        table = super().recommend(users, **options)
        return table.with_columns(table["score"] * 2) if "user_features" in options else table


class TakesStrangersForThirty(ReadsTowns):
    """Assumes an age where none is told."""

    def recommend_indices(self, user_index=None, *, histories=None, user_features=None, **options):
        if histories is not None and user_features is None and self.form.user_preparation is not None:
            user_features = [{"age": 30.0}] * len(histories)
        return super().recommend_indices(user_index, histories=histories, user_features=user_features, **options)


BROKEN: dict[str, list[type[Recommender]]] = {
    "defaults": [NeedsASetting, DescribesNothing],
    "config_round_trip": [ScalesItsSettings, TakesAnySetting],
    "search_space": [SearchesTooFar],
    "not_fitted": [AnswersUnfitted],
    "fit_returns_self": [FitReturnsNothing],
    "fit_is_repeatable": [Unseeded],
    "refit_forgets": [RemembersTheFirstFit],
    "fit_keeps_its_input": [WritesIntoItsInput],
    "progress_rises": [ProgressFalls, ProgressOvershoots, ProgressMovesItsGoal, ProgressInShares],
    "progress_can_stop": [SwallowsStops, StopsLate],
    "watching_changes_nothing": [LearnsFromLooks],
    "partial_fit": [ShufflesItsUsers, ForgetsNewItems, WritesIntoTheOldForm],
    "single_event": [NeedsTwoItems],
    "empty_rows": [NeedsEventsOfAllUsers],
    "id_types": [CalculatesWithIds],
    "finite_scores": [DividesByZero],
    "order": [TiesTheOtherWay, Rises, RepeatsAnItem, PadsFirst],
    "batch_equals_single": [ScalesByTheBatch],
    "threads": [DependsOnThreads],
    "large_k": [ClampsK, PadsWithTheFirstItem],
    "filters": [IgnoresDeny, IgnoresExclude, AllowsAllWhenNothingIsAllowed],
    "unknown_users": [SkipsStrangers, NeverWarnsOfUsers, HasNoFallback],
    "unknown_items": [SkipsUnknownItems, NeverWarnsOfItems],
    "empty_history": [ForgetsTheLastNewcomer, ItemOrderForNewcomers],
    "similar_items": [LikeItself, LeastAlikeFirst, TooManyAlike, LikesTheUnknown],
    "onnx_parity": [OwnForm],
    "bundle_round_trip": [BoostsOutsideItsForm],
    "runtime": [BoostsItsTables],
    "user_features": [
        ReadsTownsForNothing,
        ReadsTownsOfNewcomersOnly,
        MixesAskers,
        PraisesTheDescribed,
        TakesStrangersForThirty,
    ],
    "quality": [Guesses, GuessesForEach, KnowsTheAnswers],
}
"""Name of a check to the recommenders that fail it alone; ``inert_plugin`` needs a plugin, which its test writes."""

SETTINGS = {NeedsASetting: {"shrinkage": 1.0}}
