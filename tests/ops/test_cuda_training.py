"""ALS, fold-in, BPR and WARP on a CUDA device, against the CPU.  Skipped, with the reason, where there is none.

`make test-cuda` runs the same cases over an emulation of a device, with smaller sizes.  The kernels by themselves are
tested by csrc/tests/cuda_*_test.cpp.
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from device_arrays import EMULATED, interactions

from recsys_core import ops
from recsys_core.errors import ConfigError, DataError, ShapeError

PROBLEM = ops.cuda_state().problem

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(PROBLEM is not None, reason=f"no CUDA: {PROBLEM}")]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("solver", ["cholesky", "cg", "subspace"])
@pytest.mark.parametrize("f", [1, 8, 33, 64, 128] if not EMULATED else [1, 33])
def test_als_agrees_with_the_cpu_and_repeats(f: int, solver: str) -> None:
    matrix = interactions()
    losses: list[float] = []
    want_losses: list[float] = []
    settings = {"regularization": 1.0, "alpha": 5.0, "n_iterations": 3, "solver": solver, "block_size": 14}
    want = ops.als(matrix, f, **settings, callback=lambda _, loss: want_losses.append(loss))
    got = ops.als(matrix, f, **settings, callback=lambda _, loss: losses.append(loss), device="cuda")
    on_it = ops.cuda.als(matrix, f, **settings)
    for mine, theirs, repeated in zip(got, want, on_it, strict=True):
        np.testing.assert_array_equal(mine, repeated.numpy())
        np.testing.assert_allclose(mine, theirs, atol=2e-3)
    np.testing.assert_allclose(losses, want_losses, rtol=1e-4)


def test_als_in_mixed_precision_is_as_good_as_in_float32() -> None:
    settings = {"regularization": 1.0, "alpha": 5.0, "n_iterations": 3, "solver": "cholesky"}
    want = ops.als(interactions(), 33, **settings)
    got = ops.cuda.als(interactions(), 33, **settings, precision="mixed")
    on_host = ops.als(interactions(), 33, **settings, precision="mixed", device="cuda")
    for mine, same, theirs in zip(got, on_host, want, strict=True):
        np.testing.assert_array_equal(mine.numpy(), same)
        np.testing.assert_allclose(same, theirs, atol=2e-3)
    for train in (ops.cuda.als, ops.als):
        with pytest.raises(ConfigError, match="precision must be one of float32, mixed"):
            train(interactions(), 4, precision="half", device="cuda")


def test_als_takes_the_settings_of_the_cpu() -> None:
    settings = {"regularization": 0.05, "regularization_exponent": 0.7, "unobserved_weight": 0.3, "solver": "cholesky"}
    started = ops.als(interactions(), 6, n_iterations=1, random_state=5)
    losses: dict[str, list[float]] = {"cpu": [], "cuda": []}
    found = {
        device: ops.als(
            interactions(),
            6,
            **settings,
            initial=started,
            n_iterations=20,
            tolerance=0.02,
            callback=lambda _, loss, device=device: losses[device].append(loss),
            device=device,
        )
        for device in losses
    }
    for mine, theirs in zip(found["cuda"], found["cpu"], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=2e-3)
    np.testing.assert_allclose(losses["cuda"], losses["cpu"], rtol=1e-4)
    assert 1 < len(losses["cuda"]) < 20
    on_it = ops.cuda.als(interactions(), 6, initial=ops.cuda.als(interactions(), 6, n_iterations=1), n_iterations=1)
    want = ops.cuda.als(interactions(), 6, n_iterations=2)
    for mine, theirs in zip(on_it, want, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


def test_als_keeps_the_best_iteration() -> None:
    seen: list[np.ndarray] = []

    def validate(_: np.ndarray, item_factors: np.ndarray) -> float:
        seen.append(item_factors.copy())
        return -abs(len(seen) - 2)  # the second is the best

    _, items = ops.als(interactions(), 4, validate=validate, patience=2, n_iterations=9, device="cuda")
    assert len(seen) == 4
    np.testing.assert_array_equal(items, seen[1])
    plain = ops.als(interactions(), 4, n_iterations=2, device="cuda")
    np.testing.assert_array_equal(items, plain[1])


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"solver": "lu"}, ConfigError, "solver must be one of auto, cholesky, cg, subspace"),
        ({"block_size": 0}, ConfigError, "block_size"),
        ({"unobserved_weight": 1.5}, ConfigError, "unobserved_weight must be at most 1"),
        ({"initial": [np.zeros((1, 1))]}, ShapeError, "initial must be a pair"),
        ({"initial": [np.zeros((1, 4)), np.zeros((120, 4))]}, ShapeError, r"initial\.user_factors must have"),
    ],
)
def test_what_als_refuses(settings: dict[str, object], error: type[Exception], message: str) -> None:
    for train in (ops.cuda.als, ops.als):
        with pytest.raises(error, match=message):
            train(interactions(), 4, **settings, device="cuda")


@pytest.mark.parametrize(
    "settings",
    [
        {"regularization": 2.0},
        {"regularization": 2.0, "unobserved_weight": 0.1},
        {"regularization": 0.1, "regularization_exponent": 0.8},
        {"regularization": 0.1, "regularization_exponent": 0.8, "unobserved_weight": 0.0},
    ],
)
def test_fold_in_agrees_with_the_cpu(rng: np.random.Generator, settings: dict[str, float]) -> None:
    factors = rng.normal(size=(120, 40)).astype(np.float32)
    want = ops.fold_in(interactions(), factors, alpha=3.0, **settings)
    got = ops.fold_in(interactions(), factors, alpha=3.0, **settings, device="cuda")
    np.testing.assert_allclose(got, want, atol=1e-4)
    repeated = sp.csr_matrix((np.ones(3, np.float32), np.array([7, 2, 7]), np.array([0, 3])), shape=(1, 120))
    messy = ops.fold_in(repeated, factors, alpha=3.0, **settings, device="cuda")
    repeated.sum_duplicates()
    np.testing.assert_array_equal(messy, ops.fold_in(repeated, factors, alpha=3.0, **settings, device="cuda"))


@pytest.mark.parametrize("name", ["item_factors", "prior", "item_offset"])
def test_solve_rows_names_the_number_that_is_not_finite(rng: np.random.Generator, name: str) -> None:
    given = {"item_factors": rng.normal(size=(120, 6)), "prior": np.eye(6), "item_offset": np.zeros(120)}
    given[name].flat[0] = np.nan
    everything = sp.csr_matrix(np.ones((1, 120), np.float32))
    with pytest.raises(DataError, match=f"{name} must hold finite numbers only, got NaN"):
        ops.cuda.solve_rows(everything, **given, confidence=(1, 0.5), target=(0, 1))


def test_feedback_that_is_not_finite_or_negative_is_refused() -> None:
    for value, message in ((np.nan, "must hold finite numbers"), (-1.0, "must hold weights of 0 or more")):
        bad = interactions().copy()
        bad.data[3] = value
        for train in (ops.cuda.bpr, ops.cuda.warp):
            with pytest.raises(DataError, match=message):
                train(bad, 4)


def test_a_collapse_is_said() -> None:
    with pytest.warns(UserWarning, match="bpr: all item factors are next to zero"):
        ops.bpr(interactions(), 4, regularization=10.0, device="cuda")


def test_solve_rows_agrees_with_the_cpu(rng: np.random.Generator) -> None:
    factors = rng.normal(size=(120, 40)).astype(np.float32)
    general = {
        "prior": np.eye(40, dtype=np.float32),
        "confidence": (1, 0.5),
        "target": (0, 1),
        "item_offset": rng.normal(size=120).astype(np.float32),
        "ridge": rng.uniform(0, 9, size=interactions().shape[0]).astype(np.float32),
    }
    want = ops.solve_rows(interactions(), factors, **general)
    got = ops.cuda.solve_rows(interactions(), factors, **general).numpy()
    np.testing.assert_allclose(got, want, atol=1e-4)
    with pytest.raises(ShapeError, match="ridge must have"):
        ops.cuda.solve_rows(interactions(), factors, **(general | {"ridge": [1.0]}))
    with pytest.raises(DataError, match="ridge"):
        ops.cuda.solve_rows(interactions(), factors, **(general | {"ridge": np.full(interactions().shape[0], np.inf)}))


BLOCKS = sp.block_diag([np.ones((20, 8)), np.ones((20, 8))], format="csr", dtype=np.float32)


@pytest.mark.parametrize("optimizer", ["adagrad", "sgd"])
@pytest.mark.parametrize("name", ["bpr", "warp"])
def test_sgd_learns(name: str, optimizer: str) -> None:
    losses: list[float] = []
    options = {"n_epochs": 12, "optimizer": optimizer, "learning_rate": 0.2, "schedule": "constant"}
    train = getattr(ops, name)
    users, items, bias = train(BLOCKS, 8, callback=lambda _, loss: losses.append(loss), device="cuda", **options)
    scores = users @ items.T + bias
    assert losses[-1] < 0.3 * losses[0]
    assert (scores[:20, :8].min(axis=1) > scores[:20, 8:].max(axis=1)).all()
    # The losses of the CPU are of other draws, but about as large.
    theirs: list[float] = []
    train(BLOCKS, 8, callback=lambda _, loss: theirs.append(loss), **options)
    np.testing.assert_allclose(losses[0], theirs[0], rtol=0.3)


def test_sgd_goes_on_from_factors_and_keeps_the_best_epoch() -> None:
    started = ops.bpr(BLOCKS, 8, n_epochs=1, learning_rate=0.01, device="cuda")
    seen: list[ops.SgdFactors] = []

    def validate(factors: ops.SgdFactors) -> float:
        seen.append(factors)
        return -abs(len(seen) - 2)  # the second is the best

    best = ops.warp(
        BLOCKS, 8, initial=started, n_epochs=9, learning_rate=0.01, validate=validate, patience=3, device="cuda"
    )
    assert len(seen) == 5
    np.testing.assert_array_equal(best.item_factors, seen[1].item_factors)
    assert not np.array_equal(best.item_factors, seen[4].item_factors)
    # Its own result on the device goes in as it is.
    on_it = ops.cuda.bpr(BLOCKS, 8, initial=ops.cuda.bpr(BLOCKS, 8, n_epochs=1), n_epochs=1)
    assert [part.shape for part in on_it] == [(40, 8), (16, 8), (16,)]


@pytest.mark.parametrize("name", ["bpr", "warp"])
def test_sgd_learns_from_features_alone(name: str) -> None:
    # Groups are features of users and items: those who have had nothing score by them.
    interactions = sp.vstack([BLOCKS, sp.csr_matrix((2, 16), dtype=np.float32)], format="csr")
    groups = np.concatenate([np.repeat([0, 1], 20), [0, 1]])
    of_users = sp.csr_matrix(np.eye(2, dtype=np.float32)[groups])
    of_items = sp.csr_matrix(np.eye(2, dtype=np.float32)[np.repeat([0, 1], 8)])
    options = {"n_epochs": 12, "learning_rate": 0.2, "user_features": of_users, "item_features": of_items}
    seen: list[ops.SgdFactors] = []
    trained = getattr(ops, name)(
        interactions, 8, device="cuda", popularity_power=0.5, validate=lambda present: seen.append(present), **options
    )
    scores = trained.user_factors @ trained.item_factors.T + trained.item_bias
    assert scores[40, :8].min() > scores[40, 8:].max()
    assert scores[41, 8:].min() > scores[41, :8].max()
    assert len(seen) == 12
    for factors in (seen[0], trained):
        embedded = factors.embed_users(sp.eye_array(2, format="csr"))
        np.testing.assert_allclose(factors.user_factors[40:], embedded, atol=1e-6)
    again = getattr(ops.cuda, name)(interactions, 8, initial=trained, **(options | {"n_epochs": 1}))
    assert again.item_feature_bias.shape == (2,)
    with pytest.raises(ShapeError, match=r"initial\.user_feature_factors must be given with features"):
        getattr(ops.cuda, name)(interactions, 8, initial=trained)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"popularity_power": -0.5}, "popularity_power must be at least 0"),
        ({"optimizer": "adam"}, "optimizer must be one of adagrad, sgd"),
        ({"learning_rate": 0}, "learning_rate must be above 0"),
        ({"learning_rate": 1e30, "optimizer": "sgd"}, "diverged"),
        ({"patience": 0, "validate": len}, "patience"),
    ],
)
def test_what_sgd_refuses(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ops.bpr(BLOCKS, 4, device="cuda", n_epochs=3, **options)
    with pytest.raises(ConfigError, match="validate must be left out"):
        ops.cuda.warp(BLOCKS, 4, validate=len)
    with pytest.raises(TypeError, match="learning_rat"):
        ops.bpr(BLOCKS, 4, device="cuda", learning_rat=1.0)
