from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from recsys_classic.bpr import Bpr
from recsys_classic.logistic_mf import LogisticMf
from recsys_classic.warp import Warp
from recsys_core import Interactions, create, evaluate, runtime, save_bundle
from recsys_core.data import split_users
from recsys_core.errors import ConfigError, DataError, NotFittedError
from recsys_core.testing import block_interactions

every_model = pytest.mark.parametrize("kind", [Bpr, Warp, LogisticMf])


def pairwise_accuracy(model, histories) -> float:
    """Share of (had, not had) pairs of items that a user's scores order rightly."""
    had = histories.to_csr(len(model.items)).toarray() > 0
    scores = model.user_factors_ @ model.item_factors_.T + model.item_bias_
    return float(np.mean([(row[mask][:, None] > row[~mask]).mean() for row, mask in zip(scores, had, strict=True)]))


@every_model
def test_learns_to_order_pairs(ratings, kind) -> None:
    early = kind(n_factors=8, n_epochs=1).fit(ratings)
    late = kind(n_factors=8, n_epochs=200, regularization=0.001).fit(ratings)
    assert pairwise_accuracy(late, late.histories) > 0.9
    assert pairwise_accuracy(late, late.histories) > pairwise_accuracy(early, early.histories) + 0.1


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
    split = split_users(ratings, test_fraction=0.3)
    with pytest.raises(DataError, match=r"split: expected one that holds out no users, since .* answers only for"):
        evaluate(kind(n_factors=2, n_epochs=1).fit(split.train), split)


@every_model
def test_progress_counts_epochs(ratings, kind) -> None:
    seen = []
    kind(n_factors=2, n_epochs=3).fit(ratings, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


@every_model
def test_looking_on_sees_the_model_so_far_and_changes_nothing(ratings, kind) -> None:
    seen = []
    watched = kind(n_factors=4, n_epochs=3).fit(ratings, monitor=lambda done, total, model: seen.append(model()))
    assert len(seen) == 3
    np.testing.assert_array_equal(seen[-1].form.item_factors, watched.item_factors_)
    assert not np.allclose(seen[0].form.item_factors, seen[1].form.item_factors)
    np.testing.assert_array_equal(watched.item_bias_, kind(n_factors=4, n_epochs=3).fit(ratings).item_bias_)


@every_model
@pytest.mark.parametrize("item_features", [(), ("block",)])
def test_updates_stay_as_good_as_a_fit_on_everything(kind, item_features) -> None:
    interactions = block_interactions(200, 100, events_a_user=20.0)
    blocks = pl.DataFrame({"item_id": range(100), "block": [f"b{item % 4}" for item in range(100)]})
    rows = np.argsort(interactions.datetime, kind="stable")
    early, *late = (interactions.select(np.sort(part)).with_features(blocks) for part in np.array_split(rows, 6))
    refitted = kind(n_factors=8, item_features=item_features).fit(interactions.with_features(blocks))
    updated = kind(n_factors=8, item_features=item_features).fit(early)
    before = updated.fitted
    for part in late:
        updated.partial_fit(part)
    assert len(updated.users) == interactions.n_users
    assert len(before.users) < interactions.n_users  # who holds the old one still does
    assert pairwise_accuracy(updated, updated.histories) > pairwise_accuracy(refitted, refitted.histories) - 0.02


@every_model
def test_an_update_is_repeatable_and_refused_with_user_features(two_tastes, kind) -> None:
    sales, _ = two_tastes
    new = Interactions.from_arrays([0, 999], [1, 998])
    first, second = (kind(n_factors=4, n_epochs=20).fit(unweighted(sales)).partial_fit(new) for _ in range(2))
    np.testing.assert_array_equal(first.user_factors_, second.user_factors_)
    assert first.recommend(999, k=1, filter_seen=False)["item_id"].len() == 1
    with pytest.raises(DataError, match="partial_fit: expected no user_features"):
        kind(n_factors=4, n_epochs=1, user_features=["group"]).fit(sales).partial_fit(new)


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


@pytest.mark.parametrize("name", ["bpr", "warp", "logistic_mf"])
def test_items_that_are_new_to_an_update_are_recommended_by_their_features(two_tastes, name, tmp_path) -> None:
    sales, _ = two_tastes
    model = create(name, item_features=["genre"])
    save_bundle(model.fit(sales), tmp_path / "shop")
    goods = pl.DataFrame({"item_id": [40, 41], "genre": ["even", "odd"]})
    new = Interactions.from_arrays([0, 1, 0], [2, 3, 30]).with_features(goods, cold_items=True)
    served = runtime.load(tmp_path / "shop").update(new)
    assert served.recommend([0, 1], k=1, allow=[40, 41])["item_id"].to_list() == [40, 41]
    model.partial_fit(new)
    for ours, theirs in zip(model.fitted.form.state()[0].values(), served.form.state()[0].values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    factors, bias = model.embed_items(goods)
    cold = model.items.index_of([40, 41])
    np.testing.assert_allclose(factors, model.item_factors_[cold], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(bias, model.item_bias_[cold], rtol=1e-5, atol=1e-6)


def test_an_update_begins_at_the_vectors_as_they_are(two_tastes) -> None:
    sales, _ = two_tastes
    settings = {"n_factors": 4, "n_epochs": 20, "item_features": ["genre"]}
    before = Bpr(**settings).fit(sales).fitted
    # Steps too small to be seen: known items stay, and a new one lies where the vectors of its genre do.
    goods = pl.DataFrame({"item_id": [40], "genre": ["odd"]})
    new = Interactions.from_arrays([0], [2]).with_features(goods, cold_items=True)
    after = Bpr(**settings, learning_rate=1e-12).adopt(before).partial_fit(new)
    np.testing.assert_allclose(after.item_factors_[:32], before.form.item_factors, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after.item_bias_[:32], before.form.item_bias, rtol=1e-5, atol=1e-6)
    odd = before.form.item_factors[1::2]
    np.testing.assert_allclose(after.item_factors_[32], odd.sum(axis=0) / (len(odd) + 1), rtol=1e-4, atol=1e-6)


@every_model
def test_items_that_nobody_had_are_held_by_updates(two_tastes, kind) -> None:
    sales, _ = two_tastes
    model = kind(n_factors=4, n_epochs=40, item_features=["genre"], popularity_power=0.0).fit(sales)
    before = model.fitted.form
    after = model.partial_fit(Interactions.from_arrays([0, 7], [2, 30])).form
    assert not np.allclose(after.item_factors[:31], before.item_factors[:31])
    np.testing.assert_array_equal(after.item_factors[31], before.item_factors[31])
    assert after.item_bias[31] == before.item_bias[31]


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
