"""What this plugin offers: descriptions only, so that listing the models imports none of them."""

from __future__ import annotations

from recsys_core.registry import MetricSpec, RecommenderSpec, RerankerSpec, hookimpl

_KNOWN_USERS = frozenset({"known-users"})
_HISTORIES = frozenset({"known-users", "histories", "similar-items"})
_UPDATABLE = frozenset({"partial-fit"})
_FEATURES = frozenset({"item-features", "user-features"})


@hookimpl
def recsys_recommenders() -> list[RecommenderSpec]:
    """The classical recommenders."""
    return [
        RecommenderSpec(
            "popularity",
            "recsys_classic.popularity:Popularity",
            "recsys_classic.popularity:PopularityConfig",
            "The most popular items, of all time or of late.",
            frozenset({"known-users", "histories", "cold-start"}) | _UPDATABLE,
        ),
        RecommenderSpec(
            "item_knn",
            "recsys_classic.item_knn:ItemKnn",
            "recsys_classic.item_knn:ItemKnnConfig",
            "Nearest items by cosine, tf-idf or BM25.",
            _HISTORIES | _UPDATABLE,
        ),
        RecommenderSpec(
            "ease",
            "recsys_classic.ease:Ease",
            "recsys_classic.ease:EaseConfig",
            "Linear item-item autoencoder in closed form (Steck 2019).",
            _HISTORIES,
        ),
        RecommenderSpec(
            "slim",
            "recsys_classic.slim:Slim",
            "recsys_classic.slim:SlimConfig",
            "Sparse linear item-item model (Ning and Karypis 2011).",
            _HISTORIES,
        ),
        RecommenderSpec(
            "als",
            "recsys_classic.als:Als",
            "recsys_classic.als:AlsConfig",
            "Matrix factorization of implicit feedback (Hu et al. 2008).",
            _HISTORIES | _UPDATABLE | _FEATURES,
        ),
        RecommenderSpec(
            "explicit_mf",
            "recsys_classic.explicit_mf:ExplicitMf",
            "recsys_classic.explicit_mf:ExplicitMfConfig",
            "Regularized matrix factorization that predicts ratings.",
            _HISTORIES,
        ),
        RecommenderSpec(
            "bpr",
            "recsys_classic.bpr:Bpr",
            "recsys_classic.bpr:BprConfig",
            "Matrix factorization trained on pairs (Rendle et al. 2009).",
            _KNOWN_USERS | _UPDATABLE | _FEATURES | {"similar-items"},
        ),
        RecommenderSpec(
            "warp",
            "recsys_classic.warp:Warp",
            "recsys_classic.warp:WarpConfig",
            "Matrix factorization for the top of the list (Weston et al. 2011).",
            _KNOWN_USERS | _UPDATABLE | _FEATURES | {"similar-items"},
        ),
        RecommenderSpec(
            "logistic_mf",
            "recsys_classic.logistic_mf:LogisticMf",
            "recsys_classic.logistic_mf:LogisticMfConfig",
            "Matrix factorization of the probability to have an item (Johnson 2014).",
            _KNOWN_USERS | _UPDATABLE | _FEATURES | {"similar-items"},
        ),
    ]


@hookimpl
def recsys_rerankers() -> list[RerankerSpec]:
    """The classical re-rankers."""
    return [
        RerankerSpec(
            "calibrated",
            "recsys_classic.calibrated:Calibrated",
            "recsys_classic.calibrated:CalibratedConfig",
            "Lists that mirror the mix of what their readers chose (Steck 2018).",
        ),
        RerankerSpec(
            "mmr",
            "recsys_classic.mmr:Mmr",
            "recsys_classic.mmr:MmrConfig",
            "Relevant items that are unlike each other (Carbonell and Goldstein 1998).",
        ),
    ]


@hookimpl
def recsys_metrics() -> list[MetricSpec]:
    """The standard metrics of recsys_core, under the names that its evaluator gives them."""
    return [
        MetricSpec(
            "coverage", "recsys_core.metrics:Coverage", summary="Share of the catalogue recommended to anybody."
        ),
        MetricSpec("diversity", "recsys_core.metrics:Diversity", summary="Mean distance between the items of a list."),
        MetricSpec("gini", "recsys_core.metrics:Gini", summary="How unequally recommendations fall on items."),
        MetricSpec("hit_rate", "recsys_core.metrics:HitRate", summary="Share of users with any relevant item."),
        MetricSpec("mae", "recsys_core.metrics:MAE", summary="Mean absolute error of predicted ratings."),
        MetricSpec("map", "recsys_core.metrics:MAP", summary="Mean average precision."),
        MetricSpec("mean_popularity", "recsys_core.metrics:MeanPopularity", summary="Mean popularity of the items."),
        MetricSpec(
            "miscalibration",
            "recsys_core.metrics:Miscalibration",
            summary="Distance of a list's popularity mix from the user's own.",
        ),
        MetricSpec("mrr", "recsys_core.metrics:MRR", summary="Reciprocal place of the first relevant item."),
        MetricSpec("ndcg", "recsys_core.metrics:NDCG", summary="Normalized discounted cumulative gain."),
        MetricSpec("novelty", "recsys_core.metrics:Novelty", summary="Mean self-information of the items."),
        MetricSpec(
            "popularity_lift",
            "recsys_core.metrics:PopularityLift",
            summary="How much more popular lists are than what their users chose.",
        ),
        MetricSpec("precision", "recsys_core.metrics:Precision", summary="Share of the list that is relevant."),
        MetricSpec("recall", "recsys_core.metrics:Recall", summary="Share of the relevant items that are in the list."),
        MetricSpec("rmse", "recsys_core.metrics:RMSE", summary="Root mean squared error of predicted ratings."),
        MetricSpec(
            "stratified_recall",
            "recsys_core.metrics:StratifiedRecall",
            summary="Recall in which rare items count for more.",
        ),
    ]
