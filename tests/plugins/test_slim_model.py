from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from recsys_classic.slim import Slim
from recsys_core.errors import ConfigError


def objective(w, A, target, l1, l2):
    return 0.5 * ((target - A @ w) ** 2).sum() + 0.5 * l2 * (w**2).sum() + l1 * np.abs(w).sum()


@pytest.mark.parametrize("binary", [True, False])
def test_columns_are_what_a_general_optimizer_finds(ratings, binary) -> None:
    l1, l2 = 0.8, 2.0
    X = ratings.to_csr("binary" if binary else "sum").toarray().astype(np.float64)
    model = Slim(l1=l1, l2=l2, binary=binary).fit(ratings)
    W = model.item_weights_.toarray()
    assert (W >= 0).all()
    assert (np.diag(W) == 0).all()
    for j in range(0, X.shape[1], 6):
        A = np.delete(X, j, axis=1)
        # With w >= 0 the penalty is smooth, so a bounded quasi-Newton method solves it.
        best = minimize(
            lambda w, A=A, j=j: objective(w, A, X[:, j], l1, l2),
            np.zeros(A.shape[1]),
            jac=lambda w, A=A, j=j: A.T @ (A @ w - X[:, j]) + l2 * w + l1,
            bounds=[(0, None)] * A.shape[1],
            method="L-BFGS-B",
            options={"ftol": 1e-15, "gtol": 1e-9},
        )
        np.testing.assert_allclose(np.delete(W[:, j], j), best.x, atol=2e-3)
        assert objective(np.delete(W[:, j], j).astype(np.float64), A, X[:, j], l1, l2) <= best.fun * (1 + 1e-4)


def test_negative_weights_on_request(ratings) -> None:
    model = Slim(l1=0.05, l2=1.0, positive_only=False).fit(ratings)
    assert (model.item_weights_.data < 0).any()


@pytest.mark.filterwarnings("ignore:slim. all weights are zero")
def test_a_larger_l1_keeps_fewer_weights(ratings) -> None:
    kept = [Slim(l1=l1, l2=1.0).fit(ratings).item_weights_.nnz for l1 in (0.01, 1.0, 3.0, 1e6)]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] > kept[2]
    assert kept[-1] == 0


def test_progress_counts_items(ratings) -> None:
    seen = []
    Slim().fit(ratings, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (ratings.n_items, ratings.n_items)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize("settings", [{"l1": -1}, {"l2": -0.1}, {"n_iterations": 0}])
def test_settings_out_of_range(settings) -> None:
    with pytest.raises(ConfigError, match=f"Slim.{next(iter(settings))}"):
        Slim(**settings)
