from __future__ import annotations

import numpy as np
import pytest

from recsys_classic import ease
from recsys_classic.ease import Ease
from recsys_core.errors import ConfigError, DataError


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("regularization", [0.5, 10.0, 300.0])
def test_closed_form(ratings, regularization, binary, precision) -> None:
    X = ratings.to_csr("binary" if binary else "sum").toarray().astype(np.float64)
    P = np.linalg.inv(X.T @ X + regularization * np.eye(X.shape[1]))
    expected = -P / np.diag(P)
    np.fill_diagonal(expected, 0.0)
    model = Ease(regularization=regularization, binary=binary, precision=precision).fit(ratings)
    assert model.item_weights_.dtype == np.float32
    np.testing.assert_allclose(model.item_weights_, expected, rtol=1e-6, atol=1e-6 if precision == "float64" else 2e-4)


def test_the_solution_meets_its_optimality_condition(ratings) -> None:
    # Off the diagonal the gradient of the objective, (X'X + lambda I) B - X'X, is zero; on it sits the multiplier.
    X = ratings.to_csr("binary").toarray().astype(np.float64)
    B = Ease(regularization=4.0).fit(ratings).item_weights_.astype(np.float64)
    gradient = X.T @ X @ B + 4.0 * B - X.T @ X
    np.fill_diagonal(gradient, 0.0)
    assert np.abs(gradient).max() < 1e-5
    assert (np.diag(B) == 0).all()


@pytest.mark.parametrize("rows", [1, 7, 24, 25])
def test_the_gram_matrix_does_not_depend_on_the_block(ratings, monkeypatch, rows) -> None:
    whole = Ease().fit(ratings).item_weights_
    monkeypatch.setattr(ease, "_GRAM_ROWS", rows)
    np.testing.assert_array_equal(Ease().fit(ratings).item_weights_, whole)


def test_a_matrix_that_is_not_positive_definite_is_refused(ratings) -> None:
    # 1e-30 vanishes beside counts, and 40 users cannot tell apart what they rank below full.
    duplicated = ratings.select(ratings.user_index < 10)
    with pytest.raises(DataError, match="positive definite in float32, got 1e-30; raise it"):
        Ease(regularization=1e-30, precision="float32").fit(duplicated)


def test_too_many_items_for_the_memory_is_a_data_error(ratings, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(ease, "_gram", full)
    with pytest.raises(DataError, match="dense item-item matrix, got 25"):
        Ease().fit(ratings)


@pytest.mark.parametrize("settings", [{"regularization": 0}, {"precision": "float16"}])
def test_settings_out_of_range(settings) -> None:
    with pytest.raises(ConfigError, match=f"Ease.{next(iter(settings))}"):
        Ease(**settings)
