"""Evaluation by full ranking: metrics, the evaluator, intervals and comparisons.

Rank every item for every test user with :func:`evaluate`, see how sure a value is with
:meth:`Evaluation.interval`, and compare two models with :func:`compare`.  A new metric derives from
:class:`ListMetric`, :class:`PopulationMetric` or :class:`RatingMetric`.
"""

from __future__ import annotations

from recsys_core.metrics.accuracy import MAP, MRR, NDCG, HitRate, Precision, Recall
from recsys_core.metrics.batch import Population, RankedBatch, Relevance
from recsys_core.metrics.beyond_accuracy import Coverage, Diversity, Gini, MeanPopularity, Novelty
from recsys_core.metrics.calibration import Miscalibration, category_mix, category_shares, divergence
from recsys_core.metrics.catalog import Catalog, popularity_strata
from recsys_core.metrics.comparison import Comparison, Difference, compare
from recsys_core.metrics.contract import ListMetric, Metric, PopulationMetric, RatingMetric
from recsys_core.metrics.evaluation import Evaluation
from recsys_core.metrics.evaluator import evaluate
from recsys_core.metrics.groups import GroupComparison, GroupValue, activity_groups, compare_groups
from recsys_core.metrics.names import metric, split_name, standard_metrics
from recsys_core.metrics.popularity_bias import PopularityLift, StratifiedRecall
from recsys_core.metrics.queries import RankingModel
from recsys_core.metrics.rating import MAE, RMSE
from recsys_core.metrics.resampling import Interval

__all__ = [
    "MAE",
    "MAP",
    "MRR",
    "NDCG",
    "RMSE",
    "Catalog",
    "Comparison",
    "Coverage",
    "Difference",
    "Diversity",
    "Evaluation",
    "Gini",
    "GroupComparison",
    "GroupValue",
    "HitRate",
    "Interval",
    "ListMetric",
    "MeanPopularity",
    "Metric",
    "Miscalibration",
    "Novelty",
    "PopularityLift",
    "Population",
    "PopulationMetric",
    "Precision",
    "RankedBatch",
    "RankingModel",
    "RatingMetric",
    "Recall",
    "Relevance",
    "StratifiedRecall",
    "activity_groups",
    "category_mix",
    "category_shares",
    "compare",
    "compare_groups",
    "divergence",
    "evaluate",
    "metric",
    "popularity_strata",
    "split_name",
    "standard_metrics",
]
