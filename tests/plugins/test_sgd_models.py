from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from recsys_classic.bpr import Bpr
from recsys_classic.logistic_mf import LogisticMf
from recsys_classic.warp import Warp
from recsys_core import Interactions
from recsys_core.errors import ConfigError, DataError, NotFittedError

every_model = pytest.mark.parametrize("kind", [Bpr, Warp, LogisticMf])


def pairwise_accuracy(model, interactions) -> float:
    """Share of (had, not had) pairs of items that a user's scores order rightly."""
    had = interactions.to_csr("binary").toarray() > 0
    scores = model.user_factors_ @ model.item_factors_.T + model.item_bias_
    return float(np.mean([(row[mask][:, None] > row[~mask]).mean() for row, mask in zip(scores, had, strict=True)]))


@every_model
def test_learns_to_order_pairs(ratings, kind) -> None:
    early = kind(n_factors=8, n_epochs=1).fit(ratings)
    late = kind(n_factors=8, n_epochs=200, regularization=0.001).fit(ratings)
    assert pairwise_accuracy(late, ratings) > 0.9
    assert pairwise_accuracy(late, ratings) > pairwise_accuracy(early, ratings) + 0.1


def unweighted(ratings: Interactions) -> Interactions:
    return Interactions.from_arrays(ratings.users.labels(ratings.user_index), ratings.items.labels(ratings.item_index))


@every_model
def test_weights_do_not_count_by_default(ratings, kind) -> None:
    np.testing.assert_array_equal(
        kind(n_factors=4, n_epochs=3).fit(ratings).item_factors_,
        kind(n_factors=4, n_epochs=3).fit(unweighted(ratings)).item_factors_,
    )


def test_weights_count_in_logistic_factorization_if_asked(ratings) -> None:
    settings = {"n_factors": 4, "n_epochs": 3, "binary": False}
    assert not np.allclose(
        LogisticMf(**settings).fit(ratings).item_factors_, LogisticMf(**settings).fit(unweighted(ratings)).item_factors_
    )


@every_model
def test_same_seed_same_model_whatever_the_threads(ratings, kind) -> None:
    one = kind(n_factors=6, n_epochs=5, n_threads=1).fit(ratings)
    two = kind(n_factors=6, n_epochs=5, n_threads=2).fit(ratings)
    np.testing.assert_array_equal(one.user_factors_, two.user_factors_)
    np.testing.assert_array_equal(one.item_bias_, two.item_bias_)


@every_model
def test_strangers_are_refused(ratings, kind) -> None:
    model = kind(n_factors=2, n_epochs=1).fit(ratings)
    with pytest.raises(DataError, match="answers only for users it was trained on"):
        model.recommend(histories=[0])


@every_model
def test_progress_counts_epochs(ratings, kind) -> None:
    seen = []
    kind(n_factors=2, n_epochs=3).fit(ratings, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.fixture(scope="module")
def two_tastes() -> tuple[Interactions, pl.DataFrame]:
    """Users whose parity is their taste, items whose genre says which they are; two items that nobody had."""
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(200), 8)
    items = 2 * rng.integers(0, 15, len(users)) + users % 2
    goods = pl.DataFrame(
        {
            "item_id": np.arange(32),
            "genre": [("even", "odd")[item % 2] for item in range(32)],
            "title": list(map(str, range(32))),
        }
    )
    people = pl.DataFrame({"user_id": np.arange(200), "group": [("a", "b")[user % 2] for user in range(200)]})
    sales = Interactions.from_arrays(users, items)
    return sales.with_features(goods, people, cold_items=True), goods


@every_model
def test_a_new_item_is_recommended_by_its_features(two_tastes, kind) -> None:
    sales, goods = two_tastes
    model = kind(n_factors=8, item_features=["genre"], user_features=["group"]).fit(sales)
    ranked = model.recommend([0, 1], k=1, allow=[30, 31])
    assert ranked["item_id"].to_list() == [30, 31]
    assert model.item_encoder_.names == ("genre=even", "genre=odd")
    factors, bias = model.embed_items(goods.tail(2))
    np.testing.assert_allclose(factors, model.item_factors_[30:], rtol=1e-5)
    np.testing.assert_allclose(bias, model.item_bias_[30:], rtol=1e-5)


def test_features_must_be_there(ratings, two_tastes) -> None:
    with pytest.raises(DataError, match=r"item_features: expected a table with 'genre', .*with_features\(item_feat"):
        Bpr(item_features=["genre"]).fit(ratings)
    with pytest.raises(DataError, match="user_features: expected a table with 'age', got interactions without one"):
        Bpr(user_features=["age"]).fit(ratings)
    with pytest.raises(NotFittedError):
        Bpr().embed_items(two_tastes[1])
    with pytest.raises(DataError, match="trained without item features; set item_features to"):
        Bpr(n_epochs=1).fit(ratings).embed_items(two_tastes[1])


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (Bpr, {"learning_rate": 0}),
        (Bpr, {"n_epochs": 0}),
        (Bpr, {"regularization": -1}),
        (Warp, {"max_trials": 0}),
        (LogisticMf, {"n_negatives": 65}),
        (LogisticMf, {"alpha": 0}),
    ],
)
def test_settings_out_of_range(kind, settings) -> None:
    with pytest.raises(ConfigError, match=f"{kind.__name__}.{next(iter(settings))}"):
        kind(**settings)
