"""Fit models on one split and measure them: what ``evaluate``, ``compare`` and ``quickstart`` share."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recsys_core import metrics
from recsys_core.errors import ConfigError
from recsys_core.registry import create
from recsys_core.registry.evaluation import find_metric

if TYPE_CHECKING:
    from recsys_core.cli.output import Output
    from recsys_core.cli.reranking import Reranking
    from recsys_core.cli.run_config import EvaluateSection, ModelRequest
    from recsys_core.data import Split
    from recsys_core.models import Recommender

__all__ = [
    "Trial",
    "leading_metric",
    "measure",
    "metric_rows",
    "paired_text",
    "predicted_note",
    "run_trials",
    "trial_rows",
    "undecided_note",
]

_SHOWN_COLUMNS = 5


@dataclass(frozen=True)
class Trial:
    """One model, fitted on the training part and measured on the test part."""

    request: ModelRequest
    model: Recommender
    fit_seconds: float
    evaluation: metrics.Evaluation

    def to_dict(self, confidence: float) -> dict[str, Any]:
        """Plain values for JSON, intervals included."""
        return {
            "label": self.request.label,
            "name": self.request.name,
            "settings": self.model.config.model_dump(mode="json"),
            "fit_seconds": self.fit_seconds,
            "evaluation": self.evaluation.to_dict(),
            "metrics": metric_rows(self.evaluation, confidence),
        }


def run_trials(
    out: Output,
    split: Split,
    requests: Iterable[ModelRequest],
    section: EvaluateSection,
    n_threads: int,
    reranking: Reranking | None = None,
) -> list[Trial]:
    """Fit and measure each model, with a re-ranker behind it if one is given; best first by the leading metric.

    Every model and metric is made before the first model is fitted, so that a wrong setting or name shows at once.
    """
    models = [(request, create(request.name, **request.settings)) for request in requests]
    for name in section.metrics or ():
        find_metric(name)
    trials = []
    for request, model in models:
        started = time.perf_counter()
        with out.progress(f"fit {request.label}") as progress:
            model.fit(split.train, progress=progress)
        seconds = time.perf_counter() - started
        measured = model if reranking is None else reranking.behind(model)
        evaluation = measure(out, measured, split, section, label=request.label, n_threads=n_threads)
        out.note(f"  {request.label}: fitted in {seconds:.1f} s, evaluated in {evaluation.seconds:.1f} s")
        trials.append(Trial(request, model, seconds, evaluation))
    metric = leading_metric(trials[0].evaluation)
    sign = -1.0 if trials[0].evaluation.higher_is_better[metric] else 1.0
    return sorted(trials, key=lambda trial: sign * trial.evaluation.values[metric])


def measure(
    out: Output, model: metrics.RankingModel, split: Split, section: EvaluateSection, *, label: str, n_threads: int
) -> metrics.Evaluation:
    """Evaluate a fitted model as an ``[evaluate]`` table says."""
    with out.progress(f"evaluate {label}") as progress:
        return metrics.evaluate(
            model,
            split,
            k=section.k,
            metrics=section.metrics,
            filter_seen=section.filter_seen,
            n_threads=n_threads,
            progress=progress,
            resolve=find_metric,
            name=label,
        )


def leading_metric(evaluation: metrics.Evaluation) -> str:
    """The metric that decides which model is best: the first that has a value for each user, or the first of ratings.

    Raises
    ------
    ConfigError
        There is none.
    """
    names = [name for name in evaluation.values if name in evaluation.per_user.columns]
    if not names and evaluation.n_predicted:
        names = list(evaluation.values)
    if not names:
        raise ConfigError(
            f"evaluate.metrics: expected at least one with a value for each user, such as ndcg, to order models by, "
            f"got {', '.join(evaluation.values)}."
        )
    return names[0]


def undecided_note(evaluation: metrics.Evaluation) -> str:
    """How many lists say nothing, and whose."""
    return (
        f"{evaluation.model}: {evaluation.n_users_undecided:,} of {evaluation.n_users:,} users got an empty list, or "
        "one whose items all have one score, in the order of the catalogue: it tells no items apart for them."
    )


def predicted_note(evaluation: metrics.Evaluation) -> str:
    """What the values of metrics of ratings are of, and what they are to be compared with."""
    return (
        f"Scores were taken for predicted ratings of {evaluation.n_predicted:,} of the relevant items. "
        f"To predict their mean has an rmse of {evaluation.predicted_deviation:.4f}; a model far above it predicts no "
        "ratings."
    )


def metric_rows(evaluation: metrics.Evaluation, confidence: float) -> list[dict[str, Any]]:
    """One row a metric: ``metric, value, std_error, low, high``."""
    return evaluation.to_frame(confidence).to_dicts()


def trial_rows(trials: list[Trial], confidence: float) -> list[dict[str, Any]]:
    """The comparison table: a row a model, the leading metric with its interval, then the other metrics."""
    metric = leading_metric(trials[0].evaluation)
    others = [name for name in trials[0].evaluation.values if name != metric][: _SHOWN_COLUMNS - 1]
    rows = []
    for trial in trials:
        interval = None
        if metric in trial.evaluation.per_user.columns:
            low, high = trial.evaluation.interval(metric, confidence)
            interval = f"{low:.4f} - {high:.4f}"
        rows.append(
            {
                "model": trial.request.label,
                metric: trial.evaluation.values[metric],
                f"{100 * confidence:g}% interval": interval,
                **{name: trial.evaluation.values[name] for name in others},
                "fit (s)": f"{trial.fit_seconds:.2f}",
            }
        )
    return rows


def paired_text(comparison: metrics.Comparison, metric: str) -> str:
    """A paired comparison in a sentence."""
    one = comparison[metric]
    better, worse = (comparison.model_a, comparison.model_b)
    if one.verdict == "-":
        opening = f"{better} and {worse} cannot be told apart on {metric}"
    else:
        better, worse = (better, worse) if one.verdict == "a" else (worse, better)
        opening = f"{better} beats {worse} on {metric}"
    return (
        f"{opening}: {one.difference:+.4f} for {comparison.model_a}, {100 * comparison.confidence:g}% interval "
        f"{one.low:+.4f} to {one.high:+.4f}, p = {one.p_adjusted:.4f}, "
        f"{one.wins} users better, {one.ties} equal, {one.losses} worse (paired randomisation test)."
    )
