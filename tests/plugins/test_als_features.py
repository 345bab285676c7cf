"""ALS with side features: the minimum it finds, and items that nobody has had."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys_classic.als import Als
from recsys_classic.side_features import FeatureMeans, prepare_features
from recsys_core import Interactions, create, load_dataset, runtime, save_bundle
from recsys_core.errors import ConfigError, DataError
from recsys_core.testing import block_interactions
from recsys_core.testing.checks import check_user_features
from recsys_core.testing.subject import Subject

HAS_MOVIELENS = (Path(os.environ.get("RECSYS_DATA_DIR", "absent")) / "ml-latest-small").is_dir()
N_BLOCKS = 4


def described(n_items: int = 44, **options: int) -> Interactions:
    """Users of four tastes and 40 items; items 40 and above are new, one of each block."""
    interactions = block_interactions(80, 40, N_BLOCKS, events_a_user=10.0, **options)
    items = np.random.default_rng(0).permutation(n_items)
    goods = pl.DataFrame({"item_id": items, "block": [f"b{item % N_BLOCKS}" for item in items]})
    people = pl.DataFrame({"user_id": interactions.users.ids, "town": [f"t{u % N_BLOCKS}" for u in range(80)]})
    return interactions.with_features(goods, people, cold_items=True)


@pytest.mark.parametrize(("weight", "exponent"), [(1.0, 0.0), (0.3, 0.0), (0.3, 0.5)])
def test_the_result_is_a_minimum_of_the_objective(weight: float, exponent: float) -> None:
    interactions = described()
    settings = {"n_factors": 3, "regularization": 2.0 * 30**-exponent, "alpha": 0.7, "feature_regularization": 3.0}
    model = Als(
        **settings,
        regularization_exponent=exponent,
        unobserved_weight=weight,
        n_iterations=400,
        item_features=("block",),
        user_features=("town",),
    ).fit(interactions)
    X, Y = (factors.astype(np.float64) for factors in (model.user_factors_, model.item_factors_))
    R = interactions.to_csr().toarray().astype(np.float64)
    had = R.sum(axis=0) > 0
    F, G = (
        prepare_features(table, (column,), "item")[1].toarray().astype(np.float64)
        for table, column in ((interactions.item_features, "block"), (interactions.user_features, "town"))
    )
    of_users, of_items = (
        2.0 * (((R > 0).sum(axis=axis) + weight * R.shape[axis])[:, None] / 30) ** exponent for axis in (1, 0)
    )
    B, A = (
        np.linalg.solve(features.T @ (ridge * features) + 3.0 * np.eye(5), features.T @ (ridge * factors))
        for features, factors, ridge in ((F[had], Y[had], of_items[had]), (G, X, of_users))
    )
    residual = (np.where(R > 0, 1 + 0.7 * R, weight) * (X @ Y.T - (R > 0)))[:, had]
    scale = np.abs(residual).sum()
    assert np.abs(residual @ Y[had] + of_users * (X - G @ A)).max() < 1e-4 * scale
    assert np.abs(residual.T @ X + (of_items * (Y - F @ B))[had]).max() < 1e-4 * scale
    np.testing.assert_allclose(Y[~had], (F @ B)[~had], rtol=1e-3, atol=1e-4)


def test_a_new_item_is_recommended_to_those_who_like_its_kind() -> None:
    interactions = described()
    model = create("als", n_factors=8, regularization=1.0, item_features=("block",)).fit(interactions)
    first = model.recommend(interactions.users.ids.to_list(), k=1, allow=[40, 41, 42, 43])
    assert (first["item_id"] % N_BLOCKS == first["user_id"] % N_BLOCKS).mean() > 0.9
    stranger = model.recommend(histories=[[2, 6, 10]], k=1, allow=[40, 41, 42, 43])
    assert stranger["item_id"].to_list() == [42]


def test_user_features_draw_users_of_one_kind_together() -> None:
    # A single event, of an item that all like, says nothing; the town does.
    few = pl.DataFrame({"user_id": [900, 901], "item_id": [0, 0], "weight": [1.0, 1.0]})
    whole = described(40)
    frame = pl.concat([whole.to_frame().drop("datetime"), few.with_columns(pl.col("weight").cast(pl.Float32))])
    towns = [f"t{user % N_BLOCKS}" for user in range(80)]
    people = pl.DataFrame({"user_id": [*range(80), 900, 901], "town": [*towns, "t1", "t2"]})
    interactions = Interactions.from_frame(frame, user_features=people)
    model = create("als", n_factors=8, regularization=5.0, feature_regularization=1.0, user_features=("town",)).fit(
        interactions
    )
    best = model.recommend([900, 901], k=3)
    share = (best["item_id"] % N_BLOCKS == best["user_id"].replace_strict({900: 1, 901: 2})).mean()
    assert share > 0.6


@pytest.mark.parametrize(("weight", "exponent"), [(1.0, 0.0), (0.3, 0.5)])
def test_a_stranger_is_answered_as_a_user_with_the_same_features_and_history(weight: float, exponent: float) -> None:
    interactions = described(40)
    model = create(
        "als",
        n_factors=6,
        regularization=2.0 * 30**-exponent,
        regularization_exponent=exponent,
        unobserved_weight=weight,
        user_features=("town",),
    ).fit(interactions)
    known = model.recommend_indices(np.arange(80), k=10)
    told = model.recommend_indices(histories=model.histories, user_features=interactions.user_features, k=10)
    np.testing.assert_allclose(told.scores, known.scores, rtol=1e-4, atol=1e-5)
    untold = model.recommend_indices(histories=model.histories, k=10)
    assert np.abs(untold.scores - known.scores).max() > 0.01


def test_a_stranger_with_features_alone_is_given_what_their_kind_likes(tmp_path: Path) -> None:
    model = create("als", n_factors=8, regularization=1.0, user_features=("town",)).fit(described(40))
    people = [{"town": f"t{town}"} for town in range(N_BLOCKS)]
    best = model.recommend(user_features=people, k=5)
    assert (best["item_id"] % N_BLOCKS == best["user_id"]).all()
    save_bundle(model, tmp_path / "towns")
    for backend in ("core", "onnx"):
        served = runtime.load(tmp_path / "towns", backend=backend)
        assert served.recommend(user_features=people, k=5)["item_id"].to_list() == best["item_id"].to_list()


def test_als_passes_the_check_of_models_that_read_features_of_askers() -> None:
    check_user_features(Subject.of("als", {"n_factors": 4, "user_features": ("town", "age")}))


def test_new_items_join_a_served_model(tmp_path: Path) -> None:
    interactions = described(40)
    model = create("als", n_factors=8, regularization=1.0, item_features=("block",)).fit(interactions)
    save_bundle(model, tmp_path / "goods")
    goods = pl.DataFrame({"item_id": [50, 51], "block": ["b2", "b3"]})
    news = Interactions.from_arrays([2], [6]).with_features(goods, cold_items=True)
    served = runtime.load(tmp_path / "goods").update(news)
    answers = served.recommend([2, 3, 6, 7], k=1, allow=[50, 51])["item_id"].to_list()
    assert answers == [50, 51, 50, 51]


def test_features_without_a_table_or_column_are_refused() -> None:
    model = create("als", n_factors=2, item_features=("block",))
    with pytest.raises(DataError, match=r"item_features: expected a table with 'block'.*with_features"):
        model.fit(block_interactions())
    with pytest.raises(DataError, match="expected a column 'kind'"):
        create("als", n_factors=2, item_features=("kind",)).fit(described())
    with pytest.raises(ConfigError, match="expected regularization above 0"):
        create("als", regularization=0.0, item_features=("block",))


def test_an_update_needs_what_the_model_keeps() -> None:
    model = create("als", n_factors=2, user_features=("town",)).fit(described())
    with pytest.raises(DataError, match="expected no user_features"):
        model.partial_fit(block_interactions())


def test_means_are_a_ridge_regression() -> None:
    rng = np.random.default_rng(0)
    _, features = prepare_features(described().item_features, ("block",), "item")
    factors, known = rng.normal(size=(44, 3)).astype(np.float32), np.arange(10, 44)
    dense = features.toarray()
    weights = np.linalg.solve(
        dense[known].T @ dense[known] + 0.5 * np.eye(dense.shape[1]), dense[known].T @ factors[known]
    )
    got = FeatureMeans(features, known, 0.5).means(factors)
    np.testing.assert_allclose(got, dense @ weights, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not HAS_MOVIELENS, reason="RECSYS_DATA_DIR has no ml-latest-small")
def test_on_movielens_new_films_are_ranked_better_than_by_popularity_or_chance() -> None:
    ratings = load_dataset("ml-latest-small")
    rng = np.random.default_rng(0)
    new = rng.random(ratings.n_items) < 0.2
    train, test = ratings.select(~new[ratings.item_index]), ratings.select(new[ratings.item_index])
    # In an order that says nothing: the ids of MovieLens rise with the age of a film.
    table = ratings.item_features.sample(fraction=1.0, shuffle=True, seed=1)
    described_train = train.with_features(table, cold_items=True)
    new_ids = ratings.items.ids.filter(pl.Series(new)).to_list()
    users = [user for user in test.users.ids if user in train.users]
    had = set(zip(test.users.ids.gather(test.user_index), test.items.ids.gather(test.item_index), strict=True))

    def precision(name: str, **settings: object) -> float:
        model = create(name, **settings).fit(described_train)
        best = model.recommend(users, k=10, allow=new_ids)
        return float(np.mean([pair in had for pair in best.select("user_id", "item_id").rows()]))

    chance = len(had) / (test.n_users * len(new_ids))
    features = precision("als", n_factors=16, n_iterations=8, item_features=("genres", "year"))
    assert features > 3 * chance
    assert features > 2 * precision("popularity")
