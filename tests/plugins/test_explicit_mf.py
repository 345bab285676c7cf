from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pytest

from recsys_classic.explicit_mf import ExplicitMf
from recsys_core import Interactions, create, runtime, save_bundle
from recsys_core.errors import ConfigError, DataError


def predictions(model):
    """Every score of the form, float64 (n_users, n_items)."""
    form = model.form
    scores = form.user_factors.astype(np.float64) @ form.item_factors.T
    return scores if form.item_bias is None else scores + form.item_bias


def objective(model, ratings, regularization):
    R = ratings.to_csr("last").toarray().astype(np.float64)
    stored = ratings.to_csr("binary").toarray() > 0 if model.config.observed else np.ones_like(R, bool)
    penalty = (model.user_factors_.astype(np.float64) ** 2).sum() + (model.item_factors_.astype(np.float64) ** 2).sum()
    if model.config.observed:
        mean = R[stored].mean()
        penalty += (model.user_bias_.astype(np.float64) ** 2).sum() + ((model.item_bias_ - mean) ** 2).sum()
    return ((R - predictions(model))[stored] ** 2).sum() + regularization * penalty


@pytest.mark.parametrize("observed", [True, False])
def test_the_objective_never_rises(ratings, observed) -> None:
    losses = [
        objective(
            ExplicitMf(n_factors=4, regularization=1.5, n_iterations=n, observed=observed).fit(ratings), ratings, 1.5
        )
        for n in (1, 2, 3, 5, 10, 40)
    ]
    assert all(later <= earlier * (1 + 1e-5) for earlier, later in itertools.pairwise(losses))
    assert losses[-1] < 0.99 * losses[0]


def test_observed_equals_plain_alternation_in_float64(ratings) -> None:
    f, regularization, n_iterations = 3, 0.8, 6
    R = ratings.to_csr("last").toarray().astype(np.float64)
    stored = ratings.to_csr("binary").toarray() > 0
    mean = R[stored].mean()
    start = np.random.default_rng(5).normal(scale=0.1 / np.sqrt(f), size=(ratings.n_items, f))

    def half(values, mask, other, other_bias):
        solved = np.zeros((len(values), f + 1))
        for row in range(len(values)):
            design = np.column_stack([other[mask[row]], np.ones(mask[row].sum())])
            target = values[row, mask[row]] - mean - other_bias[mask[row]]
            solved[row] = np.linalg.solve(design.T @ design + regularization * np.eye(f + 1), design.T @ target)
        return solved[:, :f], solved[:, f]

    Y, c = start, np.zeros(ratings.n_items)
    for _ in range(n_iterations):
        X, b = half(R, stored, Y, c)
        Y, c = half(R.T, stored.T, X, b)
    X, b = half(R, stored, Y, c)

    model = ExplicitMf(n_factors=f, regularization=regularization, n_iterations=n_iterations, random_state=5).fit(
        ratings
    )
    np.testing.assert_allclose(predictions(model), mean + b[:, None] + c + X @ Y.T, atol=1e-3)
    np.testing.assert_allclose(model.user_bias_, b, atol=1e-3)
    np.testing.assert_allclose(model.item_bias_, mean + c, atol=1e-3)
    assert model.user_factors_.shape == (ratings.n_users, f)
    assert model.item_factors_.shape == (ratings.n_items, f)


@pytest.mark.parametrize("regularization", [0.5, 4.0])
def test_over_all_pairs_the_minimum_is_the_shrunk_singular_value_decomposition(ratings, regularization) -> None:
    f = 5
    R = ratings.to_csr("last").toarray().astype(np.float64)
    U, s, Vt = np.linalg.svd(R, full_matrices=False)
    shrunk = np.maximum(s[:f] - regularization, 0)
    best = U[:, :f] * shrunk @ Vt[:f]
    # |X|^2 + |Y|^2 is twice the sum of the singular values of the product, when they are split evenly.
    minimum = ((R - best) ** 2).sum() + 2 * regularization * shrunk.sum()
    model = ExplicitMf(n_factors=f, regularization=regularization, n_iterations=400, observed=False).fit(ratings)
    assert objective(model, ratings, regularization) == pytest.approx(minimum, rel=1e-4)
    np.testing.assert_allclose(predictions(model), best, atol=0.02)
    assert model.user_bias_ is None
    assert model.item_bias_ is None


def test_scores_are_predicted_ratings(ratings) -> None:
    model = ExplicitMf(n_factors=2, regularization=1.0).fit(ratings)
    truth, stored = ratings.to_csr("last").toarray(), ratings.to_csr("binary").toarray() > 0
    error = np.sqrt(((predictions(model) - truth)[stored] ** 2).mean())
    assert error < 0.7 * truth[stored].std()
    top = model.recommend_indices(np.arange(5), k=3, filter_seen=False)
    np.testing.assert_allclose(
        top.scores, np.take_along_axis(predictions(model)[:5], top.indices, axis=1), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("observed", [True, False])
def test_a_users_vector_is_what_his_history_gives(ratings, observed) -> None:
    once = ratings.select(np.unique(ratings.user_index * 1000 + ratings.item_index, return_index=True)[1])
    model = ExplicitMf(n_factors=3, regularization=1.0, n_iterations=4, observed=observed).fit(once)
    solved = model.form.encode(None, model.histories)
    np.testing.assert_allclose(solved, model.form.user_factors, rtol=1e-4, atol=1e-4)


def test_a_stranger_without_history_gets_the_item_means(ratings) -> None:
    model = ExplicitMf(n_factors=3).fit(ratings)
    answer = model.recommend_indices(histories=type(model.histories).from_lists([[]]), k=ratings.n_items)
    np.testing.assert_allclose(answer.scores[0], np.sort(model.item_bias_)[::-1], rtol=1e-6)


def test_of_a_pair_rated_twice_the_last_counts() -> None:
    days = np.array(["2024-02-01", "2024-01-01", "2024-01-01"], "datetime64[us]")
    twice = Interactions.from_arrays(["ann", "ann", "bob"], ["tea", "tea", "rum"], [4.0, 1.0, 2.0], days)
    once = Interactions.from_arrays(["ann", "bob"], ["tea", "rum"], [4.0, 2.0])
    ours, expected = (predictions(ExplicitMf(n_factors=1).fit(data)) for data in (twice, once))
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("settings", [{"n_factors": 0}, {"regularization": 0}, {"n_iterations": 0}])
def test_settings_out_of_range(settings) -> None:
    with pytest.raises(ConfigError, match=f"ExplicitMf.{next(iter(settings))}"):
        ExplicitMf(**settings)


@pytest.mark.parametrize("observed", [True, False])
def test_a_history_with_repeats_is_read_as_training_read_it(observed, tmp_path):
    rows = Interactions.from_arrays(list("aaabbcc"), [1, 1, 2, 1, 3, 2, 3], [5, 1, 3, 4, 2, 5, 1])
    model = create("explicit_mf", n_factors=2, regularization=0.1, observed=observed).fit(rows)
    own = rows.to_frame().filter(pl.col("user_id") == "a")
    loaded = runtime.load(save_bundle(model, tmp_path / "bundle"))
    known = model.recommend("a", filter_seen=False)
    for answering in (model, loaded):
        stranger = answering.recommend(histories=own, filter_seen=False)
        assert stranger["item_id"].to_list() == known["item_id"].to_list()
        np.testing.assert_allclose(stranger["score"], known["score"], rtol=1e-4)


def test_an_item_without_a_rating_counts_as_rated_with_the_mean():
    rows = Interactions.from_arrays(list("aabbcc"), [1, 2, 1, 3, 2, 3], [5, 1, 4, 2, 5, 1])
    model = create("explicit_mf", n_factors=2).fit(rows)
    rated = pl.DataFrame({"user_id": [0, 0], "item_id": [1, 3], "weight": [3.0, 3.0]})
    assert model.recommend(histories=[[1, 3]])["score"].to_list() == model.recommend(histories=rated)["score"].to_list()
    listed = model.recommend(histories=rated.drop("weight"))
    assert listed["score"].to_list() == model.recommend(histories=[[1, 3]])["score"].to_list()


def test_similar_items_are_told_by_what_varies():
    rng = np.random.default_rng(0)
    rows = Interactions.from_arrays(rng.integers(0, 40, 600), rng.integers(0, 12, 600), rng.integers(1, 6, 600))
    model = create("explicit_mf", n_factors=4).fit(rows)
    unit = model.item_factors_ / np.linalg.norm(model.item_factors_, axis=1, keepdims=True)
    cosine = unit @ unit[0]
    cosine[0] = -np.inf
    alike = model.similar_items(rows.items.ids[0], k=3)
    assert alike["similar_item_id"].to_list() == rows.items.ids[np.argsort(-cosine)[:3]].to_list()


def test_gradient_steps_lead_to_the_same_objective(ratings) -> None:
    by_steps, exact = (
        objective(ExplicitMf(n_factors=3, regularization=2.0, **how).fit(ratings), ratings, 2.0)
        for how in ({"solver": "sgd", "n_iterations": 500}, {"n_iterations": 100})
    )
    assert by_steps < 1.02 * exact


@pytest.mark.parametrize("observed", [True, False])
def test_non_negative_factors_meet_the_optimality_conditions(ratings, observed) -> None:
    regularization = 1.0
    model = ExplicitMf(
        n_factors=4, regularization=regularization, n_iterations=300, observed=observed, non_negative=True
    ).fit(ratings)
    R = ratings.to_csr("last").toarray().astype(np.float64)
    seen = ratings.to_csr("binary").toarray() > 0 if observed else np.ones_like(R, bool)
    X, Y = model.user_factors_.astype(np.float64), model.item_factors_.astype(np.float64)
    assert (X >= 0).all()
    assert (Y >= 0).all()
    assert (X == 0).any()
    residual = (X @ Y.T - R) * seen
    scale = np.abs(R).sum(axis=1).max()
    for gradient, factors in ((residual @ Y + regularization * X, X), (residual.T @ X + regularization * Y, Y)):
        assert (gradient > -1e-3 * scale).all()
        assert np.abs(gradient[factors > 0]).max() < 1e-3 * scale
    assert model.user_bias_ is None
    assert model.item_bias_ is None


def test_the_non_negative_objective_never_rises(ratings) -> None:
    settings = {"n_factors": 4, "regularization": 1.5, "observed": False, "non_negative": True}
    losses = [
        objective(ExplicitMf(n_iterations=n, **settings).fit(ratings), ratings, 1.5) for n in (1, 2, 3, 5, 10, 40)
    ]
    assert all(later <= earlier * (1 + 1e-5) for earlier, later in itertools.pairwise(losses))
    assert losses[-1] < losses[0]


def test_a_stranger_is_refused_where_factors_are_not_negative(ratings, tmp_path) -> None:
    model = create("explicit_mf", n_factors=3, regularization=1.0, non_negative=True).fit(ratings)
    loaded = runtime.load(save_bundle(model, tmp_path / "bundle"))
    user = ratings.users.labels(np.array([0]))[0]
    assert loaded.recommend(user)["item_id"].to_list() == model.recommend(user)["item_id"].to_list()
    with pytest.raises(DataError, match="answers only for users it was trained on"):
        model.recommend(histories=[[]])


@pytest.mark.parametrize("other", [{"observed": False}, {"non_negative": True}])
def test_gradient_steps_are_for_observed_ratings_of_any_sign(other) -> None:
    with pytest.raises(ConfigError, match="expected solver 'als' with"):
        ExplicitMf(solver="sgd", **other)
