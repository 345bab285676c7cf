"""Gradient steps to the squared error of ratings."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from factorization_data import DIMENSIONS, long_tailed

from recsys_core import ops
from recsys_core.errors import ConfigError, DataError, ShapeError
from recsys_core.ops import SgdFactors
from recsys_core.ops import _reference_factorization as reference

NAMES = ("user_factors", "item_factors", "item_bias", "user_bias")


def some_ratings(n_users: int = 80, n_items: int = 50) -> sp.csr_matrix:
    """Ratings of two factors with biases, observed in part."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(n_users, 2)) @ rng.normal(size=(2, n_items))
    values += rng.normal(size=(n_users, 1)) + rng.normal(size=n_items)
    return sp.csr_matrix(np.where(rng.random(values.shape) < 0.5, values, 0).astype(np.float32))


def predicted(fitted: SgdFactors) -> np.ndarray:
    return fitted.user_factors @ fitted.item_factors.T + fitted.item_bias + fitted.user_bias[:, None]


def objective(ratings: sp.csr_matrix, fitted: SgdFactors, regularization: float) -> float:
    coo = ratings.tocoo()
    squares = sum(float((getattr(fitted, name).astype(np.float64) ** 2).sum()) for name in NAMES)
    return float(((coo.data - predicted(fitted)[coo.row, coo.col]) ** 2).sum() + regularization * squares)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
@pytest.mark.parametrize("n_factors", DIMENSIONS)
def test_steps_follow_the_float64_specification(n_factors, optimizer):
    # One rating, so that each epoch is one known step; a second user and item share nothing with it.
    ratings = sp.csr_matrix(np.array([[2.5, 0.0], [0.0, 0.0]], dtype=np.float32))
    rng = np.random.default_rng(1)
    shapes = {"user_factors": (2, n_factors), "item_factors": (2, n_factors), "item_bias": 2, "user_bias": 2}
    start = {name: rng.normal(scale=0.5, size=shape).astype(np.float32) for name, shape in shapes.items()}
    losses: list[float] = []
    result = ops.explicit_mf(
        ratings, n_factors, initial=SgdFactors(**start), n_epochs=4, learning_rate=0.1, regularization=0.2,
        optimizer=optimizer, callback=lambda _, loss: losses.append(loss),
    )  # fmt: skip
    values = {name: value[:1].astype(np.float64) for name, value in start.items()}
    squares = {name: np.zeros(1) for name in values} if optimizer == "adagrad" else None
    for epoch, loss in enumerate(losses):
        x, y, b, a = (values[name][0] for name in NAMES)
        error = 2.5 - (x @ y + b + a)
        assert loss == pytest.approx(error**2, rel=1e-4, abs=1e-6)
        gradients = {
            "user_factors": error * y[None, :],
            "item_factors": error * x[None, :],
            "item_bias": np.array([error]),
            "user_bias": np.array([error]),
        }
        reference.sgd_step_reference(values, squares, gradients, rate=0.1 * (1 - epoch / 4), regularization=0.2)
    assert len(losses) == 4
    for name in NAMES:
        np.testing.assert_allclose(getattr(result, name)[:1], values[name], rtol=2e-4, atol=2e-5, err_msg=name)
        np.testing.assert_array_equal(getattr(result, name)[1:], start[name][1:], err_msg=name)


def test_it_comes_close_to_the_minimum_that_alternating_solves_reach():
    ratings, regularization = some_ratings(), 2.0
    fitted = ops.explicit_mf(ratings, 2, regularization=regularization, n_epochs=1000, learning_rate=0.3)
    f, users, items = 2, np.zeros((80, 4), np.float32), np.zeros((50, 4), np.float32)
    # Columns: factors, own bias, the other side's, of which each side solves its own.
    items[:, :f] = np.random.default_rng(0).normal(scale=0.1, size=(50, f))

    def solve(rows, other):
        design = np.column_stack([other[:, :f], np.ones(len(other), np.float32)])
        return ops.solve_rows(
            rows, design, prior=regularization * np.eye(f + 1), confidence=(1, 0), target=(0, 1),
            item_offset=other[:, f],
        )  # fmt: skip

    item_users = ratings.T.tocsr()
    for _ in range(300):
        users = solve(ratings, items)
        items = solve(item_users, users)
    exact = SgdFactors(users[:, :f], items[:, :f], items[:, f], user_bias=users[:, f])
    assert objective(ratings, fitted, regularization) < 1.01 * objective(ratings, exact, regularization)


@pytest.mark.usefixtures("isa")
def test_the_same_bits_for_any_number_of_threads_and_every_run():
    ratings = long_tailed(400, 300, 20_000)
    one, two, again = (ops.explicit_mf(ratings, 9, n_epochs=3, n_threads=n) for n in (1, 2, 2))
    for name in NAMES:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
        np.testing.assert_array_equal(getattr(two, name), getattr(again, name))


def test_a_user_who_rated_everything_takes_part():
    ratings = sp.csr_matrix(np.array([[3.0, -3.0]], dtype=np.float32))
    fitted = ops.explicit_mf(ratings, 2, regularization=0.01, n_epochs=300)
    np.testing.assert_allclose(predicted(fitted), [[3.0, -3.0]], atol=0.1)


def test_bad_input():
    ratings = some_ratings(4, 4)
    with pytest.raises(ConfigError, match="learning_rate must be above 0"):
        ops.explicit_mf(ratings, learning_rate=0.0)
    with pytest.raises(ShapeError, match=r"initial.user_bias must be given with explicit_mf, .* got None"):
        ops.explicit_mf(ratings, 2, initial=ops.bpr(abs(ratings), 2, n_epochs=1))
    with pytest.raises(ShapeError, match=r"initial.user_bias must be given with explicit_mf, .* got an array"):
        ops.bpr(abs(ratings), 2, initial=ops.explicit_mf(ratings, 2, n_epochs=1))
    ratings.data[0] = np.nan
    with pytest.raises(DataError, match="interactions"):
        ops.explicit_mf(ratings)
