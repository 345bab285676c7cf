"""How well the classical models rank, next to the ``implicit`` package on the same split and settings.

Run with RECSYS_DATA_DIR set to a folder that holds ml-latest-small, or let it be downloaded:

    python benchmarks/quality_classic.py [--seeds 1]

Every model ranks all items that the user has not had.  The first table is by default settings.  In the second, each
model stands beside implicit's with the same number of factors, regularization and confidences, or the same neighbors;
implicit keeps an item among its own neighbors, so it is given one more.  EASE and SLIM have no counterpart there.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import time
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import implicit.als
import implicit.bpr
import implicit.nearest_neighbours
import implicit.utils
import numpy as np

import recsys_core
from recsys_core import DotForm, Interactions, ItemItemForm, create, evaluate, load_dataset
from recsys_core.data import Split, split_leave_last, split_random
from recsys_core.models import FittedModel, Form

FACTORS, REGULARIZATION, ALPHA, ITERATIONS = 64, 20.0, 1.0, 15
NEIGHBORS = 50
DEFAULTS = (
    "popularity",
    "item_knn",
    "ease",
    "slim",
    "als",
    "bpr",
    "warp",
    "logistic_mf",
    "explicit_mf",
    "explicit_mf observed=False",
)
METRICS = ("ndcg", "recall", "coverage")
Fit: TypeAlias = Callable[[Interactions, int], FittedModel]


def fitted(form: Form, train: Interactions) -> FittedModel:
    return FittedModel(form, train.users, train.items, train.histories())


def implicit_als(train: Interactions, seed: int) -> FittedModel:
    matrix = train.to_csr().copy()
    # implicit's stored value is the whole confidence of a cell; ours is 1 + alpha times the weight.
    matrix.data = 1.0 + ALPHA * matrix.data
    model = implicit.als.AlternatingLeastSquares(
        FACTORS, regularization=REGULARIZATION, iterations=ITERATIONS, use_gpu=False, random_state=seed, use_cg=False
    )
    model.fit(matrix, show_progress=False)
    return fitted(DotForm(model.item_factors, user_factors=model.user_factors), train)


def implicit_bpr(train: Interactions, seed: int) -> FittedModel:
    model = implicit.bpr.BayesianPersonalizedRanking(
        FACTORS, learning_rate=0.05, regularization=0.01, iterations=100, use_gpu=False, random_state=seed
    )
    model.fit(train.to_csr("binary").copy(), show_progress=False)
    # Its factors hold the item bias as their last column, against a constant 1.
    return fitted(DotForm(model.item_factors, user_factors=model.user_factors), train)


def implicit_neighbors(kind: str) -> Fit:
    def fit(train: Interactions, seed: int) -> FittedModel:
        model = getattr(implicit.nearest_neighbours, kind)(K=NEIGHBORS + 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", implicit.utils.ParameterWarning)  # it converts its own matrix to CSR
            model.fit(train.to_csr().copy(), show_progress=False)
        return fitted(ItemItemForm(model.similarity.astype(np.float32).tocsr(), binary=False), train)

    return fit


def ours(name: str, **settings: Any) -> Fit:
    def fit(train: Interactions, seed: int) -> FittedModel:
        random = {"random_state": seed} if name in ("als", "bpr", "warp", "logistic_mf", "explicit_mf") else {}
        return create(name, **settings, **random).fit(train).fitted

    return fit


PAIRS: dict[str, Fit] = {
    "als": ours("als", n_factors=FACTORS, regularization=REGULARIZATION, alpha=ALPHA, n_iterations=ITERATIONS),
    "als, implicit": implicit_als,
    "bpr": ours("bpr", n_factors=FACTORS, learning_rate=0.05, regularization=0.01, popularity_power=0.0, n_epochs=100),
    "bpr, implicit": implicit_bpr,
    "item_knn cosine": ours("item_knn", similarity="cosine", n_neighbors=NEIGHBORS),
    "cosine, implicit": implicit_neighbors("CosineRecommender"),
    "item_knn tfidf": ours("item_knn", similarity="tfidf", n_neighbors=NEIGHBORS),
    "tfidf, implicit": implicit_neighbors("TFIDFRecommender"),
    "item_knn bm25": ours("item_knn", similarity="bm25", n_neighbors=NEIGHBORS),
    "bm25, implicit": implicit_neighbors("BM25Recommender"),
}


def by_default(text: str) -> Fit:
    name, *settings = text.split()
    return ours(name, **dict(setting.split("=") for setting in settings))


def report(title: str, models: dict[str, Fit], splits: list[Split]) -> None:
    print(f"\n{title}, mean of {len(splits)} run(s)")
    print(f"{'model':28s} {'ndcg@10':>8s} {'recall@10':>10s} {'coverage@10':>12s} {'fit s':>7s}")
    for name, fit in models.items():
        values, seconds = [], []
        for seed, split in enumerate(splits):
            started = time.perf_counter()
            model = fit(split.train, seed)
            seconds.append(time.perf_counter() - started)
            result = evaluate(model, split, k=10, metrics=METRICS).values
            values.append([result[f"{metric}@10"] for metric in METRICS])
        ndcg, recall, coverage = np.mean(values, axis=0)
        print(f"{name:28s} {ndcg:8.4f} {recall:10.4f} {coverage:12.3f} {np.median(seconds):7.2f}", flush=True)


def rating_error(splits: list[Split]) -> None:
    """Root mean squared error of explicit_mf on the held-out ratings of items and users seen in training."""
    errors = [
        evaluate(create("explicit_mf").fit(split.train), split, metrics="rmse").values["rmse"] for split in splits
    ]
    print(f"\nexplicit_mf, random split: RMSE {np.mean(errors):.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="splits and model seeds to average over")
    seeds = parser.parse_args().seeds
    interactions = load_dataset("ml-latest-small")
    versions = {name: importlib.metadata.version(name) for name in ("implicit", "numpy", "scipy")}
    print(f"{interactions}\nrecsys_core {recsys_core.__version__}, {versions}")
    random = [split_random(interactions, test_fraction=0.2, random_state=seed) for seed in range(seeds)]
    last = [split_leave_last(interactions)]
    for title, splits in (("random 20% of each user", random), ("last event of each user", last)):
        report(f"Default settings, {title}", {name: by_default(name) for name in DEFAULTS}, splits)
        report(f"Side by side, {title}", PAIRS, splits)
    rating_error(random)


if __name__ == "__main__":
    main()
