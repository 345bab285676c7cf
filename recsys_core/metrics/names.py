"""The metrics of this package by name."""

from __future__ import annotations

from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING

from recsys_core.errors import ConfigError
from recsys_core.metrics.accuracy import MAP, MRR, NDCG, HitRate, Precision, Recall
from recsys_core.metrics.beyond_accuracy import Coverage, Diversity, Gini, MeanPopularity, Novelty
from recsys_core.metrics.calibration import Miscalibration
from recsys_core.metrics.popularity_bias import PopularityLift, StratifiedRecall
from recsys_core.metrics.rating import MAE, RMSE

if TYPE_CHECKING:
    from collections.abc import Callable

    from recsys_core.metrics.contract import Metric

__all__ = ["DEFAULT_METRICS", "metric", "split_name", "standard_metrics"]

DEFAULT_METRICS = ("ndcg", "recall", "precision", "map", "mrr", "hit_rate", "novelty", "coverage")

_STANDARD: dict[str, Callable[..., Metric]] = {
    "coverage": Coverage,
    "diversity": Diversity,
    "gini": Gini,
    "hit_rate": HitRate,
    "mae": MAE,
    "map": MAP,
    "mean_popularity": MeanPopularity,
    "miscalibration": Miscalibration,
    "mrr": MRR,
    "ndcg": NDCG,
    "ndcg_exponential": partial(NDCG, gain="exponential"),
    "ndcg_linear": partial(NDCG, gain="linear"),
    "novelty": Novelty,
    "popularity_lift": PopularityLift,
    "precision": Precision,
    "recall": Recall,
    "recall_capped": partial(Recall, capped=True),
    "rmse": RMSE,
    "stratified_recall": StratifiedRecall,
}


def standard_metrics() -> tuple[str, ...]:
    """Names that :func:`metric` knows, in alphabetical order."""
    return tuple(_STANDARD)


def metric(name: str, k: int | None = None) -> Metric:
    """Make one of the standard metrics.

    Parameters
    ----------
    name
        One of :func:`standard_metrics`, with or without a cut-off: ``"ndcg"`` or ``"ndcg@10"``.
    k
        The cut-off, at least 1, if the name has none; with neither, the metric is reported at every cut-off
        that ``evaluate`` was asked for.

    Raises
    ------
    ConfigError
        If the name is unknown, or the cut-off is malformed or given twice.

    Examples
    --------
    >>> metric("ndcg@10")
    NDCG(k=10, gain='binary')
    >>> metric("recall", 20).label(20)
    'recall@20'
    """
    base, cut_off = split_name(name)
    if cut_off is not None and k is not None:
        raise ConfigError(f"k: the name {name!r} has a cut-off already, got {k} besides; give one of the two")
    try:
        make = _STANDARD[base]
    except KeyError:
        near = get_close_matches(base, _STANDARD, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"metric: unknown name {base!r}; {hint}Known: {', '.join(_STANDARD)}") from None
    return make(k=cut_off if k is None else k)


def split_name(name: str) -> tuple[str, int | None]:
    """Split ``"ndcg@10"`` into ``("ndcg", 10)``, ``"ndcg"`` into ``("ndcg", None)``; for resolvers of names.

    Raises
    ------
    ConfigError
        If what follows the ``@`` is not a positive integer.
    """
    base, at, cut_off = name.partition("@")
    if not at:
        return base, None
    if not (cut_off.isascii() and cut_off.isdigit() and int(cut_off) > 0):
        raise ConfigError(f"metric: expected a cut-off like 'ndcg@10', got {name!r}")
    return base, int(cut_off)
