"""On real data, the models rank at least as well as the same models of another library under the same settings."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest

from recsys_core import DotForm, Interactions, ItemItemForm, create, evaluate, load_dataset
from recsys_core.data import Split, split_random
from recsys_core.models import FittedModel, Form

implicit = pytest.importorskip("implicit", reason="implicit is not installed")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (Path(os.environ.get("RECSYS_DATA_DIR", "absent")) / "ml-latest-small").is_dir(),
        reason="RECSYS_DATA_DIR names no folder with ml-latest-small/ in it",
    ),
]
# Two trainings of one model from different random starts differ by this much in NDCG@10 here.
NOISE = 0.005


@pytest.fixture(scope="module")
def split() -> Split:
    return split_random(load_dataset("ml-latest-small"), test_fraction=0.2, random_state=0)


def ndcg(model: FittedModel, split: Split) -> float:
    return evaluate(model, split, k=10, metrics="ndcg").values["ndcg@10"]


def fitted(form: Form, train: Interactions) -> FittedModel:
    return FittedModel(form, train.users, train.items, train.histories())


def test_als(split: Split) -> None:
    from implicit.cpu.als import AlternatingLeastSquares

    matrix = split.train.to_csr().copy()
    matrix.data = 1.0 + matrix.data  # the stored value is implicit's whole confidence
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = AlternatingLeastSquares(64, regularization=20.0, iterations=15, random_state=0, use_cg=False)
        theirs.fit(matrix, show_progress=False)
    other = fitted(DotForm(theirs.item_factors, user_factors=theirs.user_factors), split.train)
    ours = create("als", n_factors=64, regularization=20.0, alpha=1.0, n_iterations=15).fit(split.train)
    assert ndcg(ours.fitted, split) >= ndcg(other, split) - NOISE


@pytest.mark.parametrize(("similarity", "name"), [("cosine", "CosineRecommender"), ("tfidf", "TFIDFRecommender")])
def test_item_knn(split: Split, similarity: str, name: str) -> None:
    import implicit.nearest_neighbours

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = getattr(implicit.nearest_neighbours, name)(K=51)  # an item is among its own neighbours there
        theirs.fit(split.train.to_csr().copy(), show_progress=False)
    other = fitted(ItemItemForm(theirs.similarity.astype(np.float32).tocsr(), binary=False), split.train)
    ours = create("item_knn", similarity=similarity, n_neighbors=50).fit(split.train)
    assert ndcg(ours.fitted, split) >= ndcg(other, split) - 1e-3


def test_ease_beats_the_neighbours(split: Split) -> None:
    ease = create("ease", precision="float32").fit(split.train)
    knn = create("item_knn").fit(split.train)
    assert ndcg(ease.fitted, split) > ndcg(knn.fitted, split) + 0.03
