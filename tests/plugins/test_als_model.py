from __future__ import annotations

import numpy as np
import pytest

from recsys_classic.als import Als
from recsys_core.errors import ConfigError


def objective(X, Y, R, alpha, regularization):
    X, Y, R = (np.asarray(a, np.float64) for a in (X, Y, R))
    return ((1 + alpha * R) * ((R > 0) - X @ Y.T) ** 2).sum() + regularization * ((X**2).sum() + (Y**2).sum())


@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_a_users_vector_is_what_their_history_gives(ratings, exponent) -> None:
    model = Als(n_factors=8, regularization=0.5 / 50**exponent, regularization_exponent=exponent, n_iterations=3).fit(
        ratings
    )
    everybody = np.arange(ratings.n_users)
    solved = model.form.encode(None, model.histories)
    np.testing.assert_allclose(solved, model.user_factors_, rtol=1e-4, atol=1e-5)
    known = model.recommend_indices(everybody, k=5)
    stranger = model.recommend_indices(histories=model.histories, k=5)
    np.testing.assert_allclose(stranger.scores, known.scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("solver", ["auto", "cholesky", "cg", "subspace"])
def test_reaches_a_minimum_of_the_objective(ratings, solver) -> None:
    model = Als(n_factors=4, regularization=2.0, alpha=0.7, n_iterations=300, solver=solver).fit(ratings)
    R = ratings.to_csr().toarray()
    X, Y = model.user_factors_, model.item_factors_
    residual = (1 + 0.7 * R) * (X.astype(np.float64) @ Y.T - (R > 0))
    scale = np.abs(residual).sum()
    assert np.abs(residual @ Y + 2.0 * X).max() < 1e-4 * scale
    assert np.abs(residual.T @ X + 2.0 * Y).max() < 1e-4 * scale
    assert objective(X, Y, R, 0.7, 2.0) < 0.8 * objective(0 * X, 0 * Y, R, 0.7, 2.0)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("weight", [1.0, 0.1])
@pytest.mark.parametrize("alpha", [0.5, 40.0])
def test_users_by_equation_4(ratings, alpha, weight, exponent) -> None:
    model = Als(
        n_factors=5,
        regularization=0.3 * 100**-exponent,
        regularization_exponent=exponent,
        alpha=alpha,
        unobserved_weight=weight,
        n_iterations=2,
    ).fit(ratings)
    R, Y = ratings.to_csr().toarray().astype(np.float64), model.item_factors_.astype(np.float64)
    for u in range(0, ratings.n_users, 7):
        C = np.diag(np.where(R[u] > 0, 1 + alpha * R[u], weight))
        ridge = 0.3 * (((R[u] > 0).sum() + weight * len(Y)) / 100) ** exponent
        expected = np.linalg.solve(Y.T @ C @ Y + ridge * np.eye(5), Y.T @ C @ (R[u] > 0))
        np.testing.assert_allclose(model.user_factors_[u], expected, rtol=1e-3, atol=1e-4)


def test_same_seed_same_model_whatever_the_threads(ratings) -> None:
    one = Als(n_factors=6, random_state=3, n_threads=1).fit(ratings)
    two = Als(n_factors=6, random_state=3, n_threads=2).fit(ratings)
    other = Als(n_factors=6, random_state=4).fit(ratings)
    np.testing.assert_array_equal(one.item_factors_, two.item_factors_)
    np.testing.assert_array_equal(one.user_factors_, two.user_factors_)
    assert np.abs(one.item_factors_ - other.item_factors_).max() > 1e-3


def test_the_tolerance_ends_the_training_early(ratings) -> None:
    seen = []
    Als(n_factors=3, regularization=1.0, n_iterations=200, tolerance=1e-3).fit(
        ratings, progress=lambda done, _: seen.append(done)
    )
    assert 3 < len(seen) < 100
    assert seen[-1] == 201


def test_a_regularization_that_outweighs_the_data_is_warned_of(ratings) -> None:
    with pytest.warns(UserWarning, match="regularization=1000 outweighs the data"):
        Als(n_factors=3, regularization=1000.0).fit(ratings)


def test_progress_ends_at_its_total_and_can_stop_the_training(ratings) -> None:
    seen = []
    Als(n_factors=3, n_iterations=4).fit(ratings, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]

    def stop(done: int, total: int) -> None:
        raise TimeoutError(f"{done} of {total}")

    with pytest.raises(TimeoutError, match="1 of 5"):
        Als(n_factors=3, n_iterations=4).fit(ratings, progress=stop)


@pytest.mark.parametrize(
    "settings", [{"n_factors": 0}, {"regularization": -1}, {"alpha": 0}, {"solver": "lu"}, {"n_iterations": 0}]
)
def test_settings_out_of_range(settings) -> None:
    with pytest.raises(ConfigError, match=f"Als.{next(iter(settings))}"):
        Als(**settings)
