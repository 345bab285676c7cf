from __future__ import annotations

import _thread
import signal

import numpy as np
import pytest
import scipy.sparse as sp
from factorization_data import DIMENSIONS, long_tailed
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_core import ops
from recsys_core.errors import ConfigError, DataError, DTypeError, ShapeError
from recsys_core.ops import _reference_factorization as reference

SETTINGS = {"regularization": 0.3, "alpha": 2.0}


def gradient_norms(interactions, user_factors, item_factors, *, regularization, alpha):
    """Norm of the half gradient of each user's and each item's part of the objective, relative to its pull."""
    X, Y = user_factors.astype(np.float64), item_factors.astype(np.float64)
    P = (interactions.toarray() > 0).astype(np.float64)
    C = 1.0 + alpha * interactions.toarray().astype(np.float64)
    residual = C * (P - X @ Y.T)
    scale = np.linalg.norm((C * P) @ Y) + np.linalg.norm((C * P).T @ X)
    users = np.linalg.norm(regularization * X - residual @ Y) / scale
    items = np.linalg.norm(regularization * Y - residual.T @ X) / scale
    return users, items


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("n_factors", DIMENSIONS)
def test_cholesky_follows_the_float64_specification(n_factors):
    interactions = long_tailed(60, 45, 400)
    X, Y = ops.als(interactions, n_factors, n_iterations=3, solver="cholesky", random_state=5, **SETTINGS)
    X64, Y64 = reference.als_reference(interactions, n_factors, n_iterations=3, random_state=5, **SETTINGS)
    assert X.shape == X64.shape
    assert Y.shape == Y64.shape
    assert X.dtype == Y.dtype == np.float32
    np.testing.assert_allclose(X @ Y.T, X64 @ Y64.T, atol=2e-4)
    np.testing.assert_allclose(X, X64, atol=2e-3)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("n_factors", DIMENSIONS)
@pytest.mark.parametrize("solver", ["cholesky", "cg", "subspace"])
def test_the_loss_reported_is_that_of_the_factors_returned(n_factors, solver):
    interactions = long_tailed(60, 45, 400)
    losses = []
    X, Y = ops.als(
        interactions,
        n_factors,
        n_iterations=2,
        solver=solver,
        callback=lambda iteration, loss: losses.append((iteration, loss)),
        **SETTINGS,
    )
    expected = reference.implicit_loss_reference(interactions, X, Y, **SETTINGS)
    assert [iteration for iteration, _ in losses] == [0, 1]
    assert losses[-1][1] == pytest.approx(expected, rel=1e-5)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("solver", [{"solver": "cg"}, {"solver": "subspace", "block_size": 5}])
@pytest.mark.parametrize("n_factors", [1, 8, 17, 64])
def test_iterative_solvers_converge_to_a_stationary_point(n_factors, solver):
    interactions = long_tailed(60, 45, 400)
    X, Y = ops.als(interactions, n_factors, n_iterations=300, **solver, **SETTINGS)
    users, items = gradient_norms(interactions, X, Y, **SETTINGS)
    assert users < 2e-3
    assert items < 2e-3


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("shape", [(0.0, 0.1), (1.0, 1.0), (0.5, 0.0)])
@pytest.mark.parametrize("n_factors", [7, 16, 40])
def test_scaled_regularization_and_unobserved_weight_follow_the_specification(n_factors, shape):
    interactions = long_tailed(60, 45, 400)
    exponent, weight = shape
    given = {"regularization_exponent": exponent, "unobserved_weight": weight, "regularization": 0.2, "alpha": 1.5}
    losses = []
    X, Y = ops.als(
        interactions,
        n_factors,
        n_iterations=2,
        solver="cholesky",
        random_state=5,
        callback=lambda _, loss: losses.append(loss),
        **given,
    )
    X64, Y64 = reference.als_reference(interactions, n_factors, n_iterations=2, random_state=5, **given)
    np.testing.assert_allclose(X @ Y.T, X64 @ Y64.T, atol=1e-3)
    assert losses[-1] == pytest.approx(reference.implicit_loss_reference(interactions, X, Y, **given), rel=1e-5)
    for solver in ({"solver": "cg", "n_cg_steps": 60}, {"solver": "subspace", "block_size": n_factors}):
        near, _ = ops.als(interactions, n_factors, n_iterations=1, random_state=5, **solver, **given)
        exact, _ = reference.als_reference(interactions, n_factors, n_iterations=1, random_state=5, **given)
        np.testing.assert_allclose(near, exact, atol=3e-3 * np.abs(exact).max())


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("n_factors", [32, 65, 200])
def test_rows_of_any_length_are_solved_alike(n_factors):
    # Lengths on both sides of where the dual form takes over, and beyond a panel of the direct one.
    lengths = [0, 1, 2, 7, 8, 15, 16, 17, 31, 33, 60, 64, 65, 100, 130, 190, 210, 300]
    rng = np.random.default_rng(2)
    dense = np.zeros((len(lengths), 320), np.float32)
    for row, length in enumerate(lengths):
        dense[row, rng.choice(320, length, replace=False)] = rng.integers(0, 4, length) + (length < 5)
    interactions = sp.csr_matrix(dense)
    X, _ = ops.als(interactions, n_factors, n_iterations=1, solver="cholesky", **SETTINGS)
    X64, _ = reference.als_reference(interactions, n_factors, n_iterations=1, **SETTINGS)
    np.testing.assert_allclose(X, X64, atol=2e-4 * np.abs(X64).max())


def test_a_row_longer_than_a_part_is_solved_by_all_threads_alike():
    rng = np.random.default_rng(3)
    dense = sp.random(20_000, 6, density=0.05, random_state=3, format="lil", dtype=np.float32)
    dense[:18_000, 2] = rng.random((18_000, 1)).astype(np.float32) + 0.5
    interactions = sp.csr_matrix(dense)
    results = [ops.als(interactions, 9, n_iterations=1, n_threads=n, **SETTINGS)[1] for n in (1, 2, 4)]
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])
    _, Y64 = reference.als_reference(interactions, 9, n_iterations=1, **SETTINGS)
    np.testing.assert_allclose(results[0], Y64, atol=1e-3 * np.abs(Y64).max())


@pytest.mark.parametrize("solver", ["cholesky", "cg", "subspace"])
@pytest.mark.parametrize("n_factors", [6, 16])
def test_a_fit_goes_on_where_another_ended(n_factors, solver):
    interactions = long_tailed(60, 45, 400)
    whole = ops.als(interactions, n_factors, n_iterations=5, solver=solver, **SETTINGS)
    half = ops.als(interactions, n_factors, n_iterations=2, solver=solver, **SETTINGS)
    before = [factors.copy() for factors in half]
    rest = ops.als(interactions, n_factors, n_iterations=3, solver=solver, initial=half, **SETTINGS)
    for ours, theirs in zip(rest, whole, strict=True):
        assert np.array_equal(ours, theirs)
    for ours, theirs in zip(half, before, strict=True):
        assert np.array_equal(ours, theirs)  # the caller's factors are left alone


def test_the_tolerance_stops_when_the_loss_settles():
    losses, all_losses = [], []
    arguments = {"n_factors": 8, "n_iterations": 40, **SETTINGS}
    interactions = long_tailed(200, 120, 3000)
    ops.als(interactions, callback=lambda _, loss: all_losses.append(loss), **arguments)
    ops.als(interactions, callback=lambda _, loss: losses.append(loss), tolerance=1e-3, **arguments)
    falls = -np.diff(all_losses) / all_losses[:-1]
    assert len(losses) == int(np.argmax(falls < 1e-3)) + 2
    quiet = ops.als(interactions, tolerance=1e-3, **arguments)
    expected = ops.als(interactions, **{**arguments, "n_iterations": len(losses)})
    assert np.array_equal(quiet[0], expected[0])


@pytest.mark.parametrize("n_factors", [6, 16])
def test_validation_stops_and_gives_back_the_best(n_factors):
    interactions = long_tailed(60, 45, 400)
    values = iter([1.0, 3.0, 2.0, 2.5, 9.0])
    seen = []

    def validate(X, Y):
        seen.append((X.copy(), Y.copy()))
        return next(values)

    best = ops.als(interactions, n_factors, validate=validate, patience=2, **SETTINGS)
    assert len(seen) == 4
    expected = ops.als(interactions, n_factors, n_iterations=2, **SETTINGS)
    for ours, theirs, watched in zip(best, expected, seen[1], strict=True):
        assert np.array_equal(ours, theirs)
        assert np.array_equal(ours, watched)


@pytest.mark.parametrize("judged", [np.nan, "good"])
def test_what_a_validation_returns_must_be_a_number(judged):
    with pytest.raises(ConfigError, match="what validate returns must be"):
        ops.als(long_tailed(60, 45, 400), 4, validate=lambda X, Y: judged, **SETTINGS)


def test_factors_that_vanish_are_warned_of():
    with pytest.warns(UserWarning, match=r"next to zero .* regularization=50 outweighs the data; lower it"):
        ops.als(long_tailed(60, 45, 400), 4, regularization=50.0)


def test_memory_mapped_arrays_are_read_in_place(tmp_path):
    interactions = long_tailed(60, 45, 400)
    mapped = []
    for name in ("data", "indices", "indptr"):
        np.save(tmp_path / f"{name}.npy", getattr(interactions, name))
        mapped.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    on_disk = sp.csr_matrix((mapped[0], mapped[1], mapped[2]), shape=interactions.shape, copy=False)
    assert np.shares_memory(on_disk.data, mapped[0])
    for ours, theirs in zip(ops.als(on_disk, 5), ops.als(interactions, 5), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("n_factors", [5, 32])
def test_exact_sweeps_never_raise_the_loss(n_factors):
    losses = []
    ops.als(
        long_tailed(200, 120, 3000),
        n_factors,
        n_iterations=12,
        solver="cholesky",
        callback=lambda _, loss: losses.append(loss),
        **SETTINGS,
    )
    assert np.all(np.diff(losses) < 1e-6 * losses[0])


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("solver", ["cholesky", "cg", "subspace"])
def test_the_number_of_threads_changes_no_bit(solver):
    interactions = long_tailed(3000, 700, 20_000)  # more rows than one Gram block, more tasks than threads
    losses, factors = [], []
    for n_threads in (1, 2, 4, 0):
        X, Y = ops.als(
            interactions,
            17,
            n_iterations=2,
            solver=solver,
            n_threads=n_threads,
            callback=lambda _, loss: losses.append(loss),
            **SETTINGS,
        )
        factors.append((X.tobytes(), Y.tobytes()))
    assert len(set(factors)) == 1
    assert len(set(losses)) == 2


def test_the_start_depends_on_the_seed_and_on_nothing_else():
    interactions = long_tailed(60, 45, 400)
    first, again, other = (ops.als(interactions, 8, n_iterations=1, random_state=seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)
    assert ops.als(interactions, 8, n_iterations=1, random_state=2**64 - 1)[0].shape == (60, 8)


def test_auto_is_cholesky_up_to_64_factors_and_cg_above():
    interactions = long_tailed(30, 20, 150)
    for n_factors, solver in ((64, "cholesky"), (65, "cg")):
        auto, named = (ops.als(interactions, n_factors, n_iterations=2, solver=s)[1] for s in ("auto", solver))
        assert np.array_equal(auto, named)


def test_rows_and_columns_without_entries_are_zero():
    interactions = long_tailed(60, 45, 400)
    for solver in ("cholesky", "cg", "subspace"):
        X, Y = ops.als(interactions, 9, solver=solver)
        np.testing.assert_array_equal((X == 0).all(axis=1), np.diff(interactions.indptr) == 0)
        np.testing.assert_array_equal((Y == 0).all(axis=1), np.bincount(interactions.indices, minlength=45) == 0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1)])
def test_one_user_or_one_item(shape):
    interactions = sp.csr_matrix(np.ones(shape, dtype=np.float32))
    for solver in ("cholesky", "cg", "subspace"):
        X, Y = ops.als(interactions, 3, n_iterations=30, regularization=0.01, alpha=40.0, solver=solver)
        np.testing.assert_allclose(X @ Y.T, np.ones(shape), atol=0.01)


def test_repeated_and_unsorted_entries_count_as_their_sum():
    data = np.array([1, 2, 4, 1], dtype=np.float32)
    messy = sp.csr_matrix((data, np.array([2, 0, 2, 1]), np.array([0, 3, 4])), shape=(2, 3))
    tidy = sp.csr_matrix(messy.toarray())
    before = messy.copy()
    for ours, theirs in zip(ops.als(messy, 4), ops.als(tidy, 4), strict=True):
        assert np.array_equal(ours, theirs)
    assert np.array_equal(messy.indices, before.indices)  # the caller's matrix is left alone


def test_other_dtypes_are_converted():
    interactions = long_tailed(30, 20, 150)
    wide = sp.csr_matrix(
        (
            interactions.data.astype(np.int64),
            interactions.indices.astype(np.int64),
            interactions.indptr.astype(np.int64),
        ),
        shape=interactions.shape,
    )
    for ours, theirs in zip(ops.als(wide, 4), ops.als(sp.csr_array(interactions), 4), strict=True):
        assert np.array_equal(ours, theirs)


def test_the_callback_stops_or_fails_the_fit():
    interactions = long_tailed(60, 45, 400)
    seen = []
    ops.als(interactions, 4, n_iterations=10, callback=lambda i, _: seen.append(i) or i == 2)
    assert seen == [0, 1, 2]
    ops.als(interactions, 4, n_iterations=3, callback=lambda i, _: np.bool_(False))
    stopped = ops.als(interactions, 4, n_iterations=10, callback=lambda i, _: i == 1)
    for ours, theirs in zip(stopped, ops.als(interactions, 4, n_iterations=2), strict=True):
        assert np.array_equal(ours, theirs)

    def fail(iteration, loss):
        raise LookupError(f"at {iteration}")

    with pytest.raises(LookupError, match="at 0"):
        ops.als(interactions, 4, callback=fail)


@pytest.mark.parametrize("solver", ["cholesky", "cg", "subspace"])
def test_the_loss_is_left_out_on_request(solver):
    interactions = long_tailed(60, 45, 400)
    seen = []
    without = ops.als(
        interactions, 4, n_iterations=3, solver=solver, compute_loss=False, callback=lambda *step: seen.append(step)
    )
    assert [iteration for iteration, _ in seen] == [0, 1, 2]
    assert np.isnan([loss for _, loss in seen]).all()
    losses = []
    usual = ops.als(interactions, 4, n_iterations=3, solver=solver, callback=lambda _, loss: losses.append(loss))
    assert np.isfinite(losses).all()
    for ours, theirs in zip(without, usual, strict=True):
        assert np.array_equal(ours, theirs)


def test_ctrl_c_ends_the_fit_between_iterations():
    seen = []

    def interrupt(iteration, loss):
        seen.append(iteration)
        _thread.interrupt_main()

    # A run in the background of a shell has SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            ops.als(long_tailed(60, 45, 400), 4, n_iterations=1000, callback=interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(seen) <= 2


def test_errors_name_argument_and_remedy():
    interactions = long_tailed(30, 20, 150)
    with pytest.raises(DataError, match="at least one stored entry"):
        ops.als(sp.csr_matrix((3, 4), dtype=np.float32))
    with pytest.raises(DataError, match=r"weights of 0 or more, got -1.* row 1, column 0"):
        ops.als(sp.csr_matrix(np.array([[1, 0], [-1, 0]], dtype=np.float32)))
    with pytest.raises(DataError, match="NaN"):
        ops.als(sp.csr_matrix(np.array([[1, np.nan]], dtype=np.float32)))
    with pytest.raises(DTypeError, match="CSR"):
        ops.als(interactions.tocsc())
    for setting, message in (
        ({"n_factors": 0}, "n_factors must be at least 1"),
        ({"regularization": -1.0}, "regularization must be at least 0"),
        ({"regularization": float("nan")}, "regularization must be finite"),
        ({"alpha": -0.1}, "alpha must be at least 0"),
        ({"alpha": "2"}, "alpha must be a number"),
        ({"n_iterations": 0}, "n_iterations must be at least 1"),
        ({"solver": "qr"}, "solver must be one of"),
        ({"random_state": -1}, "random_state must be at least 0"),
        ({"random_state": 2**64}, "random_state must be at most 18446744073709551615, got 18446744073709551616"),
        ({"n_threads": -1}, "n_threads must be at least 0"),
        ({"regularization_exponent": -1.0}, "regularization_exponent must be at least 0"),
        ({"unobserved_weight": 1.5}, "unobserved_weight must be at most 1"),
        ({"tolerance": -1.0}, "tolerance must be at least 0"),
        ({"n_cg_steps": 0}, "n_cg_steps must be at least 1"),
        ({"block_size": 0}, "block_size must be at least 1"),
        ({"precision": "mixed"}, 'precision must be "float32" on the CPU'),
        ({"validate": lambda X, Y: 0.0, "patience": 0}, "patience must be at least 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            ops.als(interactions, **setting)
    X, Y = np.zeros((30, 64), np.float32), np.zeros((20, 64), np.float32)
    for initial, message in (
        ((X,), "initial must be a pair"),
        ((X, X), r"initial.item_factors must have the shape \(20, 64\), got \(30, 64\)"),
    ):
        with pytest.raises(ShapeError, match=message):
            ops.als(interactions, initial=initial)
    with pytest.raises(DataError, match=r"initial.user_factors must hold finite numbers"):
        ops.als(interactions, initial=(X + np.nan, Y))


def test_a_singular_system_is_an_error_that_names_the_remedy():
    # Two items span at most two of five dimensions, so without regularization no user has one solution.
    interactions = sp.csr_matrix(np.array([[0, 0], [1, 1]], dtype=np.float32))
    for solver in ("cholesky", "cg", "subspace"):
        with pytest.raises(DataError, match=r"all users share, .* raise regularization, got 0"):
            ops.als(interactions, 5, regularization=0.0, solver=solver)


@given(
    rows=st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=1, max_size=6),
    n_factors=st.integers(1, 20),
    n_threads=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_any_small_matrix_is_solved_exactly(rows, n_factors, n_threads):
    interactions = sp.csr_matrix(np.array(rows, dtype=np.float32))
    if interactions.nnz == 0:
        return
    X, Y = ops.als(interactions, n_factors, n_iterations=1, solver="cholesky", n_threads=n_threads, **SETTINGS)
    X64, Y64 = reference.als_reference(interactions, n_factors, n_iterations=1, **SETTINGS)
    np.testing.assert_allclose(X, X64, atol=1e-4)
    np.testing.assert_allclose(Y, Y64, atol=2e-3)


@pytest.mark.parametrize("solver", ["cholesky", "cg", "subspace"])
def test_the_objective_reaches_that_of_implicit(solver, monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    threadpoolctl = pytest.importorskip("threadpoolctl", reason="threadpoolctl is not installed")
    implicit_als = pytest.importorskip("implicit.cpu.als", reason="implicit has no wheel here")
    interactions = long_tailed(300, 200, 6000)
    # implicit takes the stored value as the confidence.
    confidences = interactions.copy()
    confidences.data = 1.0 + SETTINGS["alpha"] * interactions.data
    with threadpoolctl.threadpool_limits(1, "blas"):
        theirs = implicit_als.AlternatingLeastSquares(
            16, regularization=SETTINGS["regularization"], iterations=60, use_cg=solver == "cg", random_state=0
        )
        theirs.fit(confidences, show_progress=False)
    X, Y = ops.als(interactions, 16, n_iterations=60, solver=solver, **SETTINGS)
    ours_loss = reference.implicit_loss_reference(interactions, X, Y, **SETTINGS)
    theirs_loss = reference.implicit_loss_reference(interactions, theirs.user_factors, theirs.item_factors, **SETTINGS)
    assert ours_loss == pytest.approx(theirs_loss, rel=0.01)


def test_a_validation_that_judges_nothing_only_looks_on():
    interactions = long_tailed(60, 45, 400)
    seen = []
    looked = ops.als(
        interactions, 4, n_iterations=5, patience=1, validate=lambda x, y: seen.append(y.copy()), **SETTINGS
    )
    plain = ops.als(interactions, 4, n_iterations=5, **SETTINGS)
    assert len(seen) == 5
    np.testing.assert_array_equal(seen[-1], looked[1])
    np.testing.assert_array_equal(looked[0], plain[0])
