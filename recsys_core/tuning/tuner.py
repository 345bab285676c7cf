"""Looking for a model's best settings: :func:`tune`."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from recsys_core.data import Interactions, Split, split_global_time
from recsys_core.errors import ConfigError, DataError, RecsysError
from recsys_core.metrics import RatingMetric
from recsys_core.models import FittedModel, SearchChoices, SearchRange, search_space
from recsys_core.registry import create, default_registry, resolve
from recsys_core.registry.evaluation import evaluate, find_metric
from recsys_core.tuning.result import Trial, Tuning
from recsys_core.tuning.study import Study

if TYPE_CHECKING:
    import optuna

    from recsys_core.metrics import Evaluation, RankingModel

__all__ = ["tune"]

_FIRST_LOOK = 4  # steps before the first look at a model that learns in steps; the next are after twice as many


def tune(
    model: str,
    interactions: Interactions,
    *,
    validation: Callable[[Interactions], Split] = split_global_time,
    metric: str = "ndcg@10",
    n_trials: int = 50,
    max_seconds: float | None = None,
    settings: Mapping[str, Any] | None = None,
    space: Mapping[str, SearchRange | SearchChoices] | None = None,
    study: str | os.PathLike[str] | None = None,
    prune: bool = True,
    filter_seen: bool = True,
    random_state: int = 0,
    n_threads: int = 0,
    on_trial: Callable[[Trial], object] | None = None,
) -> Tuning:
    """Look for the settings of a model that rank best on a validation part of the training data.

    The first trial has the default settings, the next ten are drawn at random, and from then on Optuna's TPE draws
    where trials did well.

    Parameters
    ----------
    model
        Name of a registered recommender.
    interactions
        The training data.  Nothing else is looked at: what is to be the test part must not be in it.
    validation
        Makes the part to fit on and the part to measure on: a split function, with its settings bound by
        ``functools.partial`` or a lambda.  It should be of the kind that the model will be tested by.
    metric
        Name of a metric with its cut-off, such as ``"ndcg@10"``, or of one of ratings without, such as ``"rmse"``;
        those that plugins register, too.
    n_trials
        Trials that the study shall have in the end, at least 1, those found in its file included.
    max_seconds
        No trial is begun after so many seconds; None for no limit.
    settings
        Settings to hold; they are not searched.
    space
        Setting to where to look, instead of where the model's config says.
    study
        File that remembers the trials.  A call with the same arguments and an existing file goes on where the last
        one ended, also if that was killed.  One process at a time may use it.  None remembers nothing.
    prune
        Whether to give up on trials that are worse than the median of the earlier ones at the same step, after 4, 8,
        16, ... steps; for models that learn in steps and pass their form to ``progress``.
    filter_seen
        As in :func:`recsys_core.evaluate`.
    random_state
        Seed of the draws.  The model's own seed is a setting of the model.
    n_threads
        Threads of ranking, 0 for all.  For training see the model's settings.
    on_trial
        Called with each trial as it ends; what it raises stops the tuning.

    Returns
    -------
    Tuning

    Raises
    ------
    UnknownModelError
        No plugin registers the name.
    ConfigError
        Optuna is missing, an argument is out of range, nothing is left to search, or ``study`` is the file of another
        tuning: other data, model, metric, settings or space.
    DataError
        The data cannot be split, or the model cannot be fitted on them.
    FormatError
        ``study`` is not a study.

    Notes
    -----
    The best of many trials is better on the validation part than it will be elsewhere.  Report what
    :func:`recsys_core.evaluate` says on a test part that was held out before.

    An error of a trial is recorded with it and the tuning goes on, unless no trial has gone well before.

    References
    ----------
    T. Akiba et al., "Optuna: A Next-generation Hyperparameter Optimization Framework", KDD 2019.  J. Bergstra et al.,
    "Algorithms for Hyper-Parameter Optimization", NIPS 2011, section 4 (TPE).  S. Watanabe, A. Bansal and F. Hutter,
    "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces", IJCAI 2023.
    """
    if n_trials < 1:
        raise ConfigError(f"n_trials: expected at least 1, got {n_trials}.")
    fixed = dict(settings or {})
    entry = default_registry().find(model)
    config_class = resolve(entry.spec.factory).config_class
    searched = search_space(config_class, fixed, space)
    if not searched:
        raise ConfigError(f"space: expected settings of {model} to search, got none; name some with space=.")
    parts = validation(interactions)
    measured = find_metric(metric)
    if measured.k is None and not isinstance(measured, RatingMetric):
        raise ConfigError(f"metric: expected a cut-off, such as {metric}@10, got {metric!r}.")
    about = {
        "model": f"{entry.qualified_name} {entry.version}".strip(),
        "metric": metric,
        "filter_seen": filter_seen,
        "settings": {name: repr(value) for name, value in sorted(fixed.items())},
        "space": {name: repr(search) for name, search in searched.items()},
        "random_state": random_state,
        "data": [_digest(part) for part in (parts.train, parts.test)],
    }
    memory = Study(
        study,
        about,
        config_class,
        searched,
        higher_is_better=measured.higher_is_better,
        random_state=random_state,
    )

    def measure(fitted: RankingModel) -> Evaluation:
        return evaluate(fitted, parts, metrics=measured, filter_seen=filter_seen, n_threads=n_threads)

    def run() -> None:
        trial, values = memory.ask()
        started = time.perf_counter()
        monitor = _Pruner(trial, measure) if prune else None
        try:
            evaluation = measure(create(model, **{**fixed, **values}).fit(parts.train, monitor=monitor))
            [value] = evaluation.values.values()
            if math.isnan(value):
                raise DataError(f"metric: {metric} is undefined for every user of the validation part.")
        except _PrunedError:
            memory.tell(trial, "pruned", seconds=time.perf_counter() - started)
        except RecsysError as fault:
            memory.tell(trial, "failed", seconds=time.perf_counter() - started, error=str(fault))
            if all(one.state == "failed" for one in memory.trials()):
                raise  # not the fault of one choice of settings
        else:
            seconds = time.perf_counter() - started
            [std_error] = evaluation.to_frame()["std_error"]
            memory.tell(trial, "complete", value=value, std_error=std_error, seconds=seconds)

    deadline = math.inf if max_seconds is None else time.perf_counter() + max_seconds
    while memory.n_finished < n_trials and time.perf_counter() < deadline:
        run()
        if on_trial is not None:
            on_trial(memory.trials()[-1])
    return Tuning(
        model=model,
        metric=metric,
        higher_is_better=measured.higher_is_better,
        fixed=fixed,
        space=searched,
        trials=memory.trials(),
        importance=memory.importance(),
    )


class _PrunedError(Exception):
    """Ends the training of a trial that leads nowhere."""


class _Pruner:
    """A monitor that measures a model in training now and then, and ends it when it lags behind."""

    def __init__(self, trial: optuna.Trial, measure: Callable[[RankingModel], Evaluation]) -> None:
        self._trial = trial
        self._measure = measure

    def __call__(self, done: int, total: int, model: Callable[[], FittedModel]) -> None:
        if done < _FIRST_LOOK or done >= total or done & (done - 1):
            return
        [value] = self._measure(model()).values.values()
        self._trial.report(value, done)
        if self._trial.should_prune():
            raise _PrunedError


def _digest(part: Interactions) -> str:
    state = hashlib.sha256(f"{part.users.digest} {part.items.digest}".encode())
    for column in (part.user_index, part.item_index, part.weight, part.datetime):
        state.update(b"-" if column is None else column.tobytes())
    return state.hexdigest()
