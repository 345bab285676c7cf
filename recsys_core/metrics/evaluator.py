"""Evaluate a model by full ranking: every item is a candidate for every test user, none is sampled away."""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from recsys_core.data import Split
from recsys_core.errors import ConfigError, DataError, DTypeError, ShapeError
from recsys_core.metrics.batch import Population, RankedBatch
from recsys_core.metrics.catalog import Catalog
from recsys_core.metrics.contract import ListMetric, Metric, PopulationMetric, RatingMetric
from recsys_core.metrics.evaluation import Evaluation
from recsys_core.metrics.names import DEFAULT_METRICS, metric
from recsys_core.metrics.queries import prepare_queries

if TYPE_CHECKING:
    import numpy.typing as npt

    from recsys_core.data import Interactions
    from recsys_core.metrics.queries import Queries, RankingModel
    from recsys_core.types import FloatArray, IndexArray

__all__ = ["evaluate"]


class _Measure(NamedTuple):
    """A metric at one cut-off."""

    label: str
    metric: Metric
    k: int


def evaluate(
    model: RankingModel,
    split: Split,
    *,
    k: int | Iterable[int] = 10,
    metrics: str | Metric | Iterable[str | Metric] | None = None,
    filter_seen: bool = True,
    batch_size: int = 1024,
    n_threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
    resolve: Callable[[str], Metric] = metric,
    name: str | None = None,
) -> Evaluation:
    """Rank the whole catalogue for every test user and measure the lists.

    Parameters
    ----------
    model
        A fitted model, trained on ``split.train``: anything with ``users``, ``items`` and ``recommend_indices``, and
        with ``score_indices`` for metrics of ratings.  Where it has ``histories``, they are looked through for the test
        part.
    split
        Train and test interactions.  Where it has a ``history`` (a hold-out of users), a user found there is asked
        about by what the history holds, not by id.
    k
        Cut-off or cut-offs, each at least 1; may exceed the number of items.
    metrics
        Names, with a cut-off of their own (``"ndcg@10"``) or without (``"ndcg"``: at every ``k``), and metric
        objects.  By default ndcg, recall, precision, map, mrr, hit_rate, novelty and coverage.  Metrics of ratings,
        rmse and mae, take scores for predictions of the test weights, and say something only of models that predict
        them.
    filter_seen
        Do not recommend what the user had in training (or in the history).  A test item that the user had in
        training can then only be missed (the result counts them): pass False where people come back to the same
        items.
    batch_size
        Users ranked at a time.  Memory grows with ``batch_size * max(k)``.
    n_threads
        Threads of the model's ranking, 0 for all.
    progress
        Called as ``progress(users done, users in all)`` after each batch.
    resolve
        From a name to a metric, for names beyond the standard ones; the registry passes its own.
    name
        Name of the model in the report; by default the one it was created by, else its class.

    Returns
    -------
    Evaluation

    Raises
    ------
    ConfigError
        If ``k``, ``batch_size`` or a metric is unknown or out of range, or two different metrics have one label.
    DTypeError
        If ``split`` is something else, such as interactions.
    DataError
        If the model knows no test user, or cannot answer the histories of held-out ones, has been fitted on all of the
        test part, returns an item twice or one that does not exist, or cannot score pairs for a metric of ratings, or
        if a metric gives an infinite value.
    ShapeError
        If the model or a metric returns an array of another shape than agreed.

    Notes
    -----
    A ``UserWarning`` tells how many test items the model has been fitted on, if there are any that ``split.train`` does
    not hold.

    Test items of a user count once, with their largest weight.  Those that the model does not know stay in the
    denominators, as misses.  Test users that the model does not know, and about whom no history tells, are left out
    and counted.  Sampling negatives instead would be faster and can reverse the order of models: Krichene and
    Rendle, "On sampled metrics for item recommendation", KDD 2020.

    Examples
    --------
    >>> from recsys_core.data import Interactions, Split
    >>> from recsys_core.types import Ranking
    >>> class Alphabetical:
    ...     def __init__(self, train):
    ...         self.users, self.items = train.users, train.items
    ...
    ...     def recommend_indices(self, user_index=None, *, histories=None, k=10, filter_seen=True, n_threads=0):
    ...         order = np.pad(np.arange(len(self.items))[:k], (0, max(0, k - len(self.items))), constant_values=-1)
    ...         indices = np.tile(order, (len(user_index), 1))
    ...         return Ranking(indices, -indices.astype(np.float32))
    >>> train = Interactions.from_arrays(["u", "v", "v"], ["a", "b", "c"])
    >>> test = Interactions.from_arrays(["u", "v"], ["b", "a"])
    >>> result = evaluate(Alphabetical(train), Split(train, test, None), k=2, metrics=("recall", "mrr@1"))
    >>> dict(result.values)
    {'recall@2': 1.0, 'mrr@1': 0.5}
    """
    started = time.perf_counter()
    if not isinstance(split, Split):
        raise DTypeError(
            f"split: expected a Split, got {type(split).__name__}; make one, such as by split_random(interactions), "
            "and fit the model on its train part."
        )
    measures = _plan(metrics, k, resolve)
    if batch_size < 1:
        raise ConfigError(f"batch_size: expected at least 1, got {batch_size}")
    queries = prepare_queries(model, split)
    n_users = len(queries.user_ids)
    if n_users == 0:
        raise DataError(
            f"split.test: expected at least one user that the model knows or that split.history tells about, got "
            f"{queries.n_skipped} users and none such; train on split.train, or evaluate a split with a history"
        )
    _check_answers_histories(model, queries)
    n_relevant_unknown = int(np.count_nonzero(queries.relevant.indices >= len(model.items)))
    _check_not_trained_on(queries, len(queries.relevant.indices) - n_relevant_unknown)
    catalog = Catalog(model.items, split.train)
    ranked = [measure for measure in measures if not isinstance(measure.metric, RatingMetric)]
    per_user = pl.DataFrame({"user_id": queries.user_ids.alias("user_id")})
    exposure: dict[int, IndexArray] = {}
    n_undecided = 0
    if ranked:
        per_user, exposure, n_undecided = _measure(
            model, queries, catalog, ranked, filter_seen=filter_seen, batch_size=batch_size, n_threads=n_threads,
            progress=progress,
        )  # fmt: skip
    predicted = actual = np.zeros(0, np.float32)
    if len(ranked) < len(measures):
        predicted, actual = _predict(model, queries, batch_size=batch_size, n_threads=n_threads)
    values: dict[str, float] = {}
    for label, one, cut_off in measures:
        if isinstance(one, PopulationMetric):
            values[label] = float(one.value(Population(cut_off, exposure[cut_off], n_users, catalog)))
        elif isinstance(one, RatingMetric):
            values[label] = float(one.value(predicted, actual)) if len(predicted) else float("nan")
        else:
            mean = per_user[label].mean()
            values[label] = float("nan") if mean is None else float(mean)  # type: ignore[arg-type]  # a float column
    return Evaluation(
        model=_model_name(model) if name is None else name,
        values=values,
        per_user=per_user,
        higher_is_better={label: one.higher_is_better for label, one, _ in measures},
        n_users=n_users,
        n_users_skipped=queries.n_skipped,
        n_relevant=len(queries.relevant.indices),
        n_relevant_unknown=n_relevant_unknown,
        n_relevant_filtered=queries.n_had_before if filter_seen else 0,
        n_history_unknown=queries.n_history_unknown,
        seconds=time.perf_counter() - started,
        test_digest=_digest(split.test),
        n_relevant_trained_on=queries.n_trained_on,
        n_users_undecided=n_undecided,
        n_predicted=len(predicted),
        predicted_deviation=float(actual.std(dtype=np.float64)) if len(actual) else float("nan"),
    )


def _digest(test: Interactions) -> str:
    state = hashlib.sha256(f"{test.users.digest} {test.items.digest}".encode())
    for column in (test.user_index, test.item_index, test.weight):
        state.update(column.tobytes())
    return state.hexdigest()


def _plan(
    metrics: str | Metric | Iterable[str | Metric] | None,
    k: int | Iterable[int],
    resolve: Callable[[str], Metric],
) -> list[_Measure]:
    """Each metric at each of its cut-offs, in the order asked for, once."""
    cut_offs = [k] if isinstance(k, int | np.integer) else list(k)
    if not cut_offs or any(isinstance(one, bool) or int(one) != one or one < 1 for one in cut_offs):
        raise ConfigError(f"k: expected cut-offs of at least 1, such as 10 or (5, 10), got {k!r}")
    asked = DEFAULT_METRICS if metrics is None else [metrics] if isinstance(metrics, str | Metric) else list(metrics)
    if not asked:
        raise ConfigError("metrics: expected at least one name or metric, got none; leave it out for the default ones")
    plan: dict[str, _Measure] = {}
    for one in asked:
        made = resolve(one) if isinstance(one, str) else one
        if not isinstance(made, ListMetric | PopulationMetric | RatingMetric):
            raise ConfigError(
                f"metrics: expected names and instances of ListMetric, PopulationMetric or RatingMetric, got {made!r}"
                f"{'; pass an instance of the class' if isinstance(made, type) else ''}"
            )
        for cut_off in cut_offs if made.k is None else [made.k]:
            measure = _Measure(made.label(int(cut_off)), made, int(cut_off))
            known = plan.setdefault(measure.label, measure)
            if replace(known.metric, k=None) != replace(made, k=None):
                raise ConfigError(f"metrics: two different metrics are called {measure.label!r}; rename one")
    return list(plan.values())


def _check_answers_histories(model: RankingModel, queries: Queries) -> None:
    """Refuse a hold-out of users where the model's form, if it has one, answers only for users of training."""
    if getattr(getattr(model, "form", None), "accepts_histories", True) or (queries.user_index >= 0).all():
        return
    raise DataError(
        f"split: expected one that holds out no users, since {_model_name(model)} answers only for users it was "
        "trained on; split at random, by time or the last events off."
    )


def _check_not_trained_on(queries: Queries, n_known: int) -> None:
    """Refuse a model that was fitted on all of the test part, and warn of one that was on some of it."""
    n = queries.n_trained_on
    if n and n == n_known:
        raise DataError(
            f"model: expected one fitted on split.train, got one that was fitted on all {n:,} test interactions of "
            "items that it knows; fit it on split.train alone."
        )
    if n:
        warnings.warn(
            f"model: it was fitted on {n:,} of {n_known:,} test interactions that split.train does not hold; fit it on "
            "split.train alone, or its values mean nothing.",
            UserWarning,
            stacklevel=4,  # whoever calls recsys_core.evaluate
        )


def _predict(
    model: RankingModel, queries: Queries, *, batch_size: int, n_threads: int
) -> tuple[FloatArray, FloatArray]:
    """Scores of the test pairs, and their weights; without those of which the model says nothing."""
    if not hasattr(model, "score_indices"):
        raise DataError(
            f"model: expected one with score_indices for metrics of ratings, got {type(model).__name__}; leave such "
            "metrics out."
        )
    parts = [(np.zeros(0, np.float32), np.zeros(0, np.float32))]
    for positions, who in queries.batches(batch_size):
        relevant = queries.relevant.take(positions)
        known = relevant.indices < len(model.items)
        row, item = relevant.rows()[known], relevant.indices[known]
        asked = {"user_index": who["user_index"][row]} if "user_index" in who else {**who, "row": row}
        scores = model.score_indices(**asked, item_index=item, n_threads=n_threads)
        said = ~np.isnan(scores)
        parts.append((scores[said], relevant.weights[known][said]))
    predicted, actual = (np.concatenate(part) for part in zip(*parts, strict=True))
    return predicted, actual


def _measure(
    model: RankingModel,
    queries: Queries,
    catalog: Catalog,
    measures: list[_Measure],
    *,
    filter_seen: bool,
    batch_size: int,
    n_threads: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[pl.DataFrame, dict[int, IndexArray], int]:
    """Rank in batches.

    Returns the values of every user, the exposure of the items at each cut-off that needs it, and the number of users
    whose list says nothing.
    """
    n_users, longest = len(queries.user_ids), max(measure.k for measure in measures)
    lists = [(label, one, cut_off) for label, one, cut_off in measures if isinstance(one, ListMetric)]
    columns = {label: np.empty(n_users) for label, _, _ in lists}
    exposure = {
        cut_off: np.zeros(catalog.n_items, dtype=np.int64)
        for _, one, cut_off in measures
        if isinstance(one, PopulationMetric)
    }
    done = n_undecided = 0
    for positions, who in queries.batches(batch_size):
        ranking = model.recommend_indices(**who, k=longest, filter_seen=filter_seen, n_threads=n_threads)
        indices = _checked(ranking.indices, (len(positions), longest), catalog.n_items)
        n_undecided += _n_undecided(indices, ranking.scores)
        # Told once for all metrics and cut-offs, and only where one asks.
        had = cache(partial(queries.had, positions, catalog))
        batch = RankedBatch.match(indices, queries.relevant.take(positions), catalog, had)
        cuts = {cut_off: batch.at(cut_off) for _, _, cut_off in measures}
        for label, one, cut_off in lists:
            columns[label][positions] = _checked_values(one.per_user(cuts[cut_off]), label, len(positions))
        for cut_off, counts in exposure.items():
            shown = cuts[cut_off].indices
            counts += np.bincount(shown[shown >= 0], minlength=catalog.n_items)
        done += len(positions)
        if progress is not None:
            progress(done, n_users)
    table = pl.DataFrame({"user_id": queries.user_ids.alias("user_id"), **columns})
    return table.with_columns(pl.col(list(columns)).fill_nan(None)), exposure, n_undecided


def _n_undecided(indices: IndexArray, scores: FloatArray) -> int:
    """Rows that are empty, or hold two items or more, all of one score."""
    listed = indices >= 0
    n_listed = listed.sum(axis=1)
    highest = np.where(listed, scores, -np.inf).max(axis=1)
    lowest = np.where(listed, scores, np.inf).min(axis=1)
    return int(np.count_nonzero((n_listed == 0) | ((n_listed > 1) & (highest == lowest))))


def _checked(indices: npt.NDArray[np.integer], shape: tuple[int, int], n_items: int) -> IndexArray:
    """The ranking as int64, refused where it would make the metrics wrong without a word."""
    if indices.shape != shape:
        raise ShapeError(
            f"model.recommend_indices: expected indices of shape {shape}, one row a user padded with -1, "
            f"got {indices.shape}"
        )
    checked: IndexArray = indices.astype(np.int64, copy=False)
    if checked.min() < -1 or checked.max() >= n_items:
        raise DataError(
            f"model.recommend_indices: expected item indices from -1 to {n_items - 1}, "
            f"got {checked.min()} to {checked.max()}"
        )
    ordered = np.sort(checked, axis=1)
    repeated = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if repeated.any():
        row, column = np.argwhere(repeated)[0]
        raise DataError(
            f"model.recommend_indices: expected each item once in a list, got item index {ordered[row, column]} twice"
        )
    return checked


def _checked_values(values: npt.NDArray[np.float64], label: str, n_users: int) -> npt.NDArray[np.float64]:
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (n_users,):
        raise ShapeError(f"{label}: expected per_user() to return shape ({n_users},), got {values.shape}")
    if np.isinf(values).any():
        raise DataError(f"{label}: expected finite values, or NaN where undefined, got an infinite one")
    return values


def _model_name(model: RankingModel) -> str:
    provenance = getattr(model, "provenance", None)
    return str(getattr(provenance, "name", "") or type(model).__name__)
