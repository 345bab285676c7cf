from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from factorization_data import DIMENSIONS, long_tailed
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from recsys_core import ops
from recsys_core.errors import ConfigError, DataError, DTypeError, ShapeError
from recsys_core.ops import _reference_factorization as reference


def item_factors_of(n_items: int, n_factors: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, n_factors**-0.5, (n_items, n_factors)).astype(np.float32)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("n_factors", DIMENSIONS)
@pytest.mark.parametrize(
    ("confidence", "target"), [((0.0, 2.0), (1.0, 2.0)), ((1.0, 0.0), (0.0, 1.0)), ((0.5, 1.0), (2.0, -1.0))]
)
def test_rows_follow_the_float64_specification(n_factors, confidence, target):
    # 300 items and a row with all of them: several panels of gathered rows, the last of odd size.
    histories = long_tailed(40, 300, 1500)
    histories = sp.vstack([histories, sp.csr_matrix(np.full((1, 300), 2.0, dtype=np.float32))], format="csr")
    factors = item_factors_of(300, n_factors)
    prior = factors.T @ factors + 0.5 * np.eye(n_factors, dtype=np.float32)
    offset = np.random.default_rng(2).normal(size=300).astype(np.float32)
    ours = ops.solve_rows(histories, factors, prior=prior, confidence=confidence, target=target, item_offset=offset)
    expected = reference.solve_rows_reference(
        histories, factors, prior=prior, confidence=confidence, target=target, item_offset=offset
    )
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, atol=1e-4 * max(1.0, np.abs(expected).max()))
    assert not ours[0].any()


@pytest.mark.usefixtures("isa")
def test_a_row_depends_neither_on_the_others_nor_on_threads():
    histories = long_tailed(500, 120, 6000)
    factors = item_factors_of(120, 33)
    arguments = {"prior": np.eye(33), "confidence": (0.0, 2.0), "target": (1.0, 2.0)}
    whole = ops.solve_rows(histories, factors, n_threads=1, **arguments)
    for n_threads in (2, 4, 0):
        assert np.array_equal(whole, ops.solve_rows(histories, factors, n_threads=n_threads, **arguments))
    for row in (0, 1, 250, 499):
        assert np.array_equal(whole[row : row + 1], ops.solve_rows(histories[row], factors, **arguments))


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("n_factors", [1, 16, 65])
def test_fold_in_gives_training_users_their_vectors(n_factors):
    interactions = long_tailed(60, 45, 400)
    given = {"regularization": 0.3, "alpha": 2.0}
    X, Y = ops.als(interactions, n_factors, n_iterations=40, solver="cholesky", **given)
    folded = ops.fold_in(interactions, Y, **given)
    np.testing.assert_allclose(folded @ Y.T, X @ Y.T, atol=0.02)
    expected = reference.solve_rows_reference(
        interactions,
        Y,
        prior=Y.T.astype(np.float64) @ Y + 0.3 * np.eye(n_factors),
        confidence=(0.0, 2.0),
        target=(1.0, 2.0),
    )
    np.testing.assert_allclose(folded, expected, atol=2e-3)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize(("alpha", "regularization"), [(1.0, 20.0), (40.0, 0.1)])
def test_a_history_of_200_items_is_solved_to_a_hundred_thousandth(alpha, regularization):
    factors = 0.1 * np.random.default_rng(0).standard_normal((1682, 128), dtype=np.float32)
    items = np.random.default_rng(1).choice(1682, 200, replace=False)
    history = sp.csr_matrix((np.ones(200, np.float32), items, [0, 200]), shape=(1, 1682))
    got = ops.fold_in(history, factors, alpha=alpha, regularization=regularization)
    every, had = factors.astype(np.float64), factors[items].astype(np.float64)
    system = every.T @ every + regularization * np.eye(128) + alpha * had.T @ had
    expected = np.linalg.solve(system, (1 + alpha) * had.sum(axis=0))
    np.testing.assert_allclose(got[0], expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("n_factors", [1, 17, 64])
def test_each_row_may_have_a_ridge_of_its_own(n_factors):
    histories = sp.vstack([long_tailed(40, 300, 1500), sp.csr_matrix(np.ones((1, 300), np.float32))], format="csr")
    factors = item_factors_of(300, n_factors)
    ridge = np.random.default_rng(3).uniform(0.1, 50.0, 41)
    ridge[1] = -0.2  # less than the prior's
    given = {"prior": 0.5 * np.eye(n_factors), "confidence": (0.0, 2.0), "target": (1.0, 2.0), "ridge": ridge}
    expected = reference.solve_rows_reference(histories, factors, **given)
    np.testing.assert_allclose(ops.solve_rows(histories, factors, **given), expected, atol=1e-4)
    long_row = sp.csr_matrix(np.ones((1, 20_000), np.float32))  # in parts
    factors = item_factors_of(20_000, n_factors)
    given["ridge"] = [3000.0]
    expected = reference.solve_rows_reference(long_row, factors, **given)
    np.testing.assert_allclose(ops.solve_rows(long_row, factors, **given), expected, atol=1e-4)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize(("exponent", "weight"), [(0.0, 0.3), (0.5, 1.0), (1.0, 0.3)])
def test_fold_in_follows_the_regularization_of_als(exponent, weight):
    interactions = long_tailed(60, 45, 400)
    given = {
        "regularization": 0.3 * 40**-exponent,
        "regularization_exponent": exponent,
        "alpha": 2.0,
        "unobserved_weight": weight,
    }
    X, Y = ops.als(interactions, 7, n_iterations=500, solver="cholesky", **given)
    folded = ops.fold_in(interactions, Y, **given)
    np.testing.assert_allclose(folded @ Y.T, X @ Y.T, atol=0.02)
    shape = {key: value for key, value in given.items() if key != "alpha"}
    expected = reference.solve_rows_reference(
        interactions,
        Y,
        prior=weight * Y.T.astype(np.float64) @ Y,
        confidence=(1.0 - weight, 2.0),
        target=(1.0, 2.0),
        ridge=reference.row_regularization(interactions, **shape),
    )
    np.testing.assert_allclose(folded, expected, atol=2e-3)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("n_factors", [1, 7, 16, 33, 65])
@pytest.mark.parametrize("confidence", [(1.0, 0.0), (0.0, 2.0)])
def test_non_negative_rows_are_those_of_scipy_and_meet_the_optimality_conditions(n_factors, confidence):
    histories = long_tailed(40, 60, 500)
    factors = item_factors_of(60, n_factors)
    offset = np.random.default_rng(2).normal(size=60).astype(np.float32)
    solved = ops.solve_rows(
        histories, factors, prior=0.3 * np.eye(n_factors), confidence=confidence, target=(0.0, 1.0),
        item_offset=offset, non_negative=True,
    )  # fmt: skip
    assert (solved >= 0).all()
    assert (solved == 0).any()
    assert (solved > 0).any()
    Y = factors.astype(np.float64)
    for row in range(40):
        columns, values = histories[row].indices, histories[row].data.astype(np.float64)
        weights = confidence[0] + confidence[1] * values
        A = 0.3 * np.eye(n_factors) + (weights[:, None] * Y[columns]).T @ Y[columns]
        b = Y[columns].T @ (values - offset[columns])
        # min |L^T x - L^-1 b|, for A = L L^T, has the same minimum.
        L = np.linalg.cholesky(A)
        expected, _ = nnls(L.T, np.linalg.solve(L, b))
        scale = max(np.abs(b).max(initial=0.0), 1e-3)
        np.testing.assert_allclose(solved[row], expected, atol=2e-4 * max(1.0, np.abs(expected).max(initial=0.0)))
        gradient = A @ solved[row] - b
        assert (gradient > -1e-4 * scale).all()
        assert np.abs(gradient[solved[row] > 0]).max(initial=0.0) < 1e-4 * scale


def test_a_long_row_may_be_non_negative_too():
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(20_000, 5)).astype(np.float32)
    row = sp.csr_matrix(rng.normal(size=(1, 20_000)).astype(np.float32) + factors[:, :1].T)
    solved = ops.solve_rows(
        row, factors, prior=np.eye(5), confidence=(1, 0), target=(0, 1), non_negative=True, n_threads=2
    )
    expected, _ = nnls(np.vstack([factors, np.eye(5)]), np.concatenate([row.toarray()[0], np.zeros(5)]))
    np.testing.assert_allclose(solved[0], expected, atol=1e-4)


def test_columns_may_repeat_and_come_in_any_order():
    factors = item_factors_of(3, 2)
    arguments = {"prior": np.eye(2), "confidence": (1.0, 0.0), "target": (0.0, 1.0)}
    messy = sp.csr_matrix((np.array([1, 2, 3], dtype=np.float32), np.array([2, 0, 2]), np.array([0, 3])), shape=(1, 3))
    Y = factors[[2, 0, 2]].astype(np.float64)
    expected = np.linalg.solve(np.eye(2) + Y.T @ Y, Y.T @ [1.0, 2.0, 3.0])
    np.testing.assert_allclose(ops.solve_rows(messy, factors, **arguments)[0], expected, rtol=1e-5)


@pytest.mark.parametrize("exponent", [0.0, 0.7])
def test_fold_in_takes_repeated_columns_as_their_sum(exponent):
    factors = item_factors_of(3, 2)
    messy = sp.csr_matrix((np.array([1, 2, 3], dtype=np.float32), np.array([2, 0, 2]), np.array([0, 3])), shape=(1, 3))
    tidy = sp.csr_matrix(np.array([[2, 0, 4]], dtype=np.float32))
    given = {"regularization": 0.5, "regularization_exponent": exponent, "alpha": 2.0}
    np.testing.assert_array_equal(ops.fold_in(messy, factors, **given), ops.fold_in(tidy, factors, **given))
    assert messy.indices.tolist() == [2, 0, 2]  # the caller's matrix is left alone


def test_no_rows_and_no_entries():
    factors = item_factors_of(4, 3)
    assert ops.fold_in(sp.csr_matrix((0, 4), dtype=np.float32), factors).shape == (0, 3)
    assert not ops.fold_in(sp.csr_matrix((5, 4), dtype=np.float32), factors).any()


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("n_factors", [2, 9, 33, 64])
def test_a_singular_system_names_the_lowest_row_and_spoils_no_other(n_factors):
    histories = sp.csr_matrix(np.array([[0, 0, 0], [1, 1, 0], [0, 0, 1]], dtype=np.float32))
    factors = np.ones((3, n_factors), dtype=np.float32)
    arguments = {"confidence": (1.0, 0.0), "target": (0.0, 1.0), "n_threads": 2}
    with pytest.raises(DataError, match=r"system of row 1 .* raise the regularization"):
        ops.solve_rows(histories, factors, prior=np.zeros((n_factors, n_factors)), **arguments)
    with pytest.raises(DataError, match="system of row 1 "):
        ops.solve_rows(histories, factors, prior=-np.eye(n_factors), **arguments)
    solved = ops.solve_rows(histories, factors, prior=np.eye(n_factors), **arguments)
    condition = 1 + 2 * n_factors
    np.testing.assert_allclose(solved[1], 2 / condition, rtol=2 * condition * np.finfo(np.float32).eps)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("non_negative", [False, True])
@pytest.mark.parametrize(("bad", "shown"), [(np.nan, "NaN"), (np.inf, "inf"), (-np.inf, "-inf")])
def test_a_number_that_is_not_finite_is_named_with_its_place(bad, shown, non_negative):
    histories = sp.csr_matrix(np.eye(3, dtype=np.float32))
    given = {"item_factors": item_factors_of(3, 5), "prior": np.eye(5, dtype=np.float32), "item_offset": np.zeros(3)}
    for name, place, said in (
        ("item_factors", (1, 2), "row 1, column 2"),
        ("prior", (3, 4), "row 3, column 4"),
        ("item_offset", 2, "position 2"),
    ):
        changed = {key: value.copy() for key, value in given.items()}
        changed[name][place] = bad
        with pytest.raises(DataError, match=f"{name} must hold finite numbers only, got {shown} at {said}"):
            ops.solve_rows(histories, **changed, confidence=(1, 0), target=(0, 1), non_negative=non_negative)
    changed["item_offset"] = given["item_offset"]
    changed["item_factors"] = np.vstack([given["item_factors"], np.full((1, 5), bad)])
    wider = sp.csr_matrix((histories.data, histories.indices, histories.indptr), shape=(3, 4))
    changed["item_offset"] = None  # an item that nobody has is not looked at
    assert np.isfinite(ops.solve_rows(wider, **changed, confidence=(1, 0), target=(0, 1))).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_fold_in_names_the_factor_that_is_not_finite(bad):
    factors = item_factors_of(3, 5)
    factors[1, 2] = bad
    with pytest.raises(DataError, match=r"item_factors must hold finite numbers only, got .* at row 1, column 2"):
        ops.fold_in(sp.csr_matrix(np.array([[1, 0, 0]], dtype=np.float32)), factors)
    with pytest.raises(DataError, match="item_factors must have products that fit float32"):
        ops.fold_in(sp.csr_matrix(np.array([[1, 0, 0]], dtype=np.float32)), np.full((3, 5), 1e30))


def test_a_solution_beyond_float32_is_an_error():
    row = sp.csr_matrix(np.array([[1e38]], dtype=np.float32))
    with pytest.raises(DataError, match="the solution of row 0 of histories must be finite in float32"):
        ops.solve_rows(row, np.ones((1, 1)), prior=np.full((1, 1), 1e-30), confidence=(0, 0), target=(0, 1))


@given(
    rows=st.lists(st.lists(st.integers(0, 5), min_size=5, max_size=5), min_size=1, max_size=8),
    n_factors=st.integers(1, 40),
    slope=st.floats(0, 10),
)
@settings(max_examples=60, deadline=None)
def test_any_small_history_is_solved(rows, n_factors, slope):
    histories = sp.csr_matrix(np.array(rows, dtype=np.float32))
    factors = item_factors_of(5, n_factors)
    ours = ops.fold_in(histories, factors, regularization=0.5, alpha=slope)
    prior = factors.T.astype(np.float64) @ factors + 0.5 * np.eye(n_factors)
    expected = reference.solve_rows_reference(
        histories, factors, prior=prior, confidence=(0.0, slope), target=(1.0, slope)
    )
    np.testing.assert_allclose(ours, expected, atol=1e-3)


def test_errors_name_argument_and_expectation():
    histories, factors = long_tailed(5, 4, 10), item_factors_of(4, 3)
    good = {"prior": np.eye(3), "confidence": (1, 0), "target": (0, 1)}
    for error, message, changed in (
        (ShapeError, "histories must have one column for each row of item_factors", {"item_factors": factors[:3]}),
        (ShapeError, "prior must have 3 columns", {"prior": np.eye(2)}),
        (ShapeError, r"prior must have shape \(3, 3\), got \(2, 3\)", {"prior": np.ones((2, 3))}),
        (ShapeError, "item_offset must have 4 entries", {"item_offset": np.zeros(3)}),
        (ShapeError, "ridge must have 5 entries", {"ridge": np.zeros(4)}),
        (DataError, "ridge must hold finite numbers", {"ridge": np.full(5, np.nan)}),
        (ShapeError, "confidence must be a pair", {"confidence": (1,)}),
        (ConfigError, r"target\[1\] must be finite", {"target": (0, float("inf"))}),
        (DTypeError, "histories must be a scipy.sparse CSR", {"histories": histories.tocoo()}),
        (DTypeError, "item_factors must hold real numbers", {"item_factors": factors.astype(complex)}),
    ):
        call = {"histories": histories, "item_factors": factors, **good, **changed}
        with pytest.raises(error, match=message):
            ops.solve_rows(call.pop("histories"), call.pop("item_factors"), **call)
    with pytest.raises(ConfigError, match="regularization must be at least 0"):
        ops.fold_in(histories, factors, regularization=-1)
    with pytest.raises(ConfigError, match="regularization_exponent must be at least 0"):
        ops.fold_in(histories, factors, regularization_exponent=-1)
    with pytest.raises(DataError, match="histories must hold finite numbers"):
        ops.fold_in(sp.csr_matrix(np.array([[np.inf, 0, 0, 0]], dtype=np.float32)), factors)
    beyond = sp.csr_matrix((np.ones(1, dtype=np.float32), np.array([4]), np.array([0, 1])), shape=(1, 5))
    beyond._shape = (1, 4)
    with pytest.raises(DataError, match=r"column indices in \[0, 4\), got 4 in row 0"):
        ops.fold_in(beyond, factors)
