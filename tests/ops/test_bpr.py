from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from factorization_data import DIMENSIONS, long_tailed

from recsys_core import ops
from recsys_core.errors import ConfigError, DataError, DTypeError
from recsys_core.ops import _reference_factorization as reference


def two_camps(n_users: int = 120, n_items: int = 40) -> sp.csr_matrix:
    """Even users like some of the first half of the items, odd users some of the second half."""
    rng = np.random.default_rng(0)
    liked = rng.random((n_users, n_items)) < 0.4
    liked[0::2, n_items // 2 :] = False
    liked[1::2, : n_items // 2] = False
    return sp.csr_matrix(liked.astype(np.float32))


def start_of(interactions, n_factors):
    """The factors before the first step: a step of (almost) no length."""
    return ops.bpr(interactions, n_factors, n_epochs=1, learning_rate=1e-30, regularization=0.0)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("n_factors", DIMENSIONS)
def test_one_triple_follows_the_float64_specification(n_factors):
    # One user who likes item 0 of two: the only triple is (0, 0, 1), so an epoch is one known step.
    interactions = sp.csr_matrix(np.array([[1, 0]], dtype=np.float32))
    x, y, b = (part.astype(np.float64) for part in start_of(interactions, n_factors))
    assert np.abs(x).max() <= 0.1 * np.sqrt(3 / n_factors)
    assert not np.allclose(x, y[0])
    np.testing.assert_allclose(b, 0.0, atol=1e-29)
    losses = []
    X, Y, bias = ops.bpr(
        interactions,
        n_factors,
        n_epochs=3,
        learning_rate=0.5,
        regularization=0.1,
        callback=lambda _, loss: losses.append(loss),
    )
    x, (y_i, y_j), (b_i, b_j) = x[0], y, b
    for loss in losses:
        x, y_i, y_j, b_i, b_j, expected = reference.bpr_step_reference(x, y_i, y_j, b_i, b_j, 0.5, 0.1)
        assert loss == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(X[0], x, atol=1e-6)
    np.testing.assert_allclose(Y, [y_i, y_j], atol=1e-6)
    np.testing.assert_allclose(bias, [b_i, b_j], atol=1e-6)
    assert len(losses) == 3


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("n_factors", [1, 9, 32])
def test_liked_items_come_to_score_above_the_others(deterministic, n_factors):
    losses = []
    X, Y, bias = ops.bpr(
        two_camps(),
        n_factors,
        n_epochs=60,
        deterministic=deterministic,
        callback=lambda epoch, loss: losses.append((epoch, loss)),
    )
    scores = X @ Y.T + bias
    own = np.where(np.arange(120)[:, None] % 2 == np.arange(40)[None, :] // 20, scores, -np.inf)
    assert [epoch for epoch, _ in losses] == list(range(60))
    assert losses[0][1] == pytest.approx(np.log(2), abs=0.05)
    assert losses[-1][1] < 0.3
    assert np.mean(np.argmax(scores, axis=1) == np.argmax(own, axis=1)) > 0.99


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("shape", [(60, 45, 400), (2500, 1500, 40_000)], ids=["one block", "sixteen blocks"])
def test_deterministic_means_the_same_bits_for_any_number_of_threads(shape):
    interactions = long_tailed(*shape)
    results = []
    for n_threads in (1, 2, 4, 0):
        losses = []
        parts = ops.bpr(
            interactions,
            17,
            n_epochs=2,
            n_threads=n_threads,
            deterministic=True,
            callback=lambda _, loss, losses=losses: losses.append(loss),
        )
        results.append((*(part.tobytes() for part in parts), *losses))
    assert len(set(results)) == 1


def test_one_thread_repeats_and_epochs_differ():
    interactions = long_tailed(300, 200, 20_000)  # more than one group of entries
    first, again = (ops.bpr(interactions, 8, n_epochs=2, n_threads=1) for _ in range(2))
    for ours, theirs in zip(first, again, strict=True):
        assert np.array_equal(ours, theirs)
    other = ops.bpr(interactions, 8, n_epochs=2, n_threads=1, random_state=1)
    assert not np.allclose(first[0], other[0])


def test_threads_without_locks_learn_as_well_as_one():
    interactions = long_tailed(800, 300, 30_000)
    final = []
    for n_threads in (1, 4):
        losses = []
        ops.bpr(interactions, 16, n_epochs=20, n_threads=n_threads, callback=lambda _, loss, to=losses: to.append(loss))
        final.append(losses[-1])
    assert final[1] == pytest.approx(final[0], rel=0.03)


def test_blocks_learn_as_well_as_the_free_order():
    interactions = long_tailed(2500, 1500, 60_000)
    final = []
    for deterministic in (False, True):
        losses = []
        ops.bpr(
            interactions,
            16,
            n_epochs=15,
            deterministic=deterministic,
            callback=lambda _, loss, to=losses: to.append(loss),
        )
        final.append(losses[-1])
    assert final[1] == pytest.approx(final[0], rel=0.03)


@pytest.mark.parametrize("deterministic", [False, True])
def test_the_other_item_is_uniform_over_what_the_user_has_no_entry_for(deterministic):
    # With no pull from the vectors (f = 1, tiny steps), an item's bias falls in proportion to how often it was drawn.
    # On one thread: lock-free threads may lose a step, and here each step is counted.
    n_items = 1100
    liked = np.zeros((40, n_items), dtype=np.float32)
    liked[:, :500] = 1.0
    rate = 1e-6
    n_epochs = 12
    _, _, bias = ops.bpr(
        sp.csr_matrix(liked), 1, n_epochs=n_epochs, learning_rate=rate, regularization=0.0,
        deterministic=deterministic, n_threads=1,
    )  # fmt: skip
    drawn = -bias[500:] / (rate * 0.5)
    assert drawn.sum() == pytest.approx(40 * 500 * n_epochs, rel=0.01)
    expected = 40 * 500 * n_epochs / 600
    # Binomial draws; the blocks' own random make-up adds to their variance.
    assert np.abs(drawn - expected).max() < (6 if not deterministic else 12) * np.sqrt(expected)
    np.testing.assert_allclose(bias[:500], rate * 0.5 * 40 * n_epochs, rtol=0.01)  # never drawn as the other item


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_user_with_every_item_is_skipped(deterministic):
    interactions = sp.csr_matrix(np.array([[1, 1, 1], [1, 0, 0]], dtype=np.float32))
    X, _, _ = ops.bpr(interactions, 4, n_epochs=50, deterministic=deterministic)
    start, _, _ = start_of(interactions, 4)
    assert np.array_equal(X[0], start[0])
    assert not np.allclose(X[1], start[1])
    losses = []
    everything = sp.csr_matrix(np.ones((2, 3), dtype=np.float32))
    X, _, _ = ops.bpr(everything, 4, n_epochs=2, callback=lambda _, loss: losses.append(loss))
    assert np.isnan(losses).all()
    assert np.array_equal(X, start_of(everything, 4)[0])


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1)])
def test_one_user_or_one_item(shape):
    X, Y, bias = ops.bpr(sp.csr_matrix(np.ones(shape, dtype=np.float32)), 3, n_epochs=2)
    assert (X.shape, Y.shape, bias.shape) == ((shape[0], 3), (shape[1], 3), (shape[1],))
    assert np.isfinite(X).all()


def test_values_and_repeats_do_not_count():
    messy = sp.csr_matrix(
        (np.array([5, -2, 0, 3], dtype=np.float32), np.array([2, 0, 2, 1]), np.array([0, 3, 4])), shape=(2, 4)
    )
    tidy = sp.csr_matrix(np.array([[1, 0, 1, 0], [0, 1, 0, 0]], dtype=np.float32))
    for ours, theirs in zip(ops.bpr(messy, 4, n_epochs=3), ops.bpr(tidy, 4, n_epochs=3), strict=True):
        assert np.array_equal(ours, theirs)


def test_the_callback_stops_or_fails_the_fit():
    interactions = two_camps()
    seen = []
    ops.bpr(interactions, 4, n_epochs=10, callback=lambda epoch, _: seen.append(epoch) or epoch == 2)
    assert seen == [0, 1, 2]

    def fail(epoch, loss):
        raise LookupError(f"at {epoch}")

    with pytest.raises(LookupError, match="at 0"):
        ops.bpr(interactions, 4, callback=fail)


@pytest.mark.parametrize("stop", [False, True])
def test_factors_that_diverge_in_the_last_step_are_an_error_too(stop):
    # The loss of the only triple is taken before its only step, which takes the factors beyond float32.
    losses = []
    with pytest.raises(
        ConfigError, match=r"learning_rate must keep the factors finite.* diverged in epoch 0; lower it"
    ):
        ops.bpr(
            sp.csr_matrix(np.array([[1, 0]], dtype=np.float32)),
            4,
            learning_rate=1e30,
            regularization=1e30,
            n_epochs=2 if stop else 1,
            callback=lambda _, loss: losses.append(loss) or stop,
        )
    assert np.isfinite(losses).all()
    assert len(losses) == 1


def test_errors_name_argument_and_remedy():
    interactions = two_camps()
    with pytest.raises(DataError, match="at least one stored entry"):
        ops.bpr(sp.csr_matrix((3, 4), dtype=np.float32))
    with pytest.raises(DTypeError, match="CSR"):
        ops.bpr(interactions.toarray())
    with pytest.raises(ConfigError, match=r"learning_rate must keep the factors finite.* lower it"):
        ops.bpr(interactions, 4, learning_rate=1e20)
    for setting, message in (
        ({"n_factors": 0}, "n_factors must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"regularization": -1.0}, "regularization must be at least 0"),
        ({"n_epochs": 0}, "n_epochs must be at least 1"),
        ({"random_state": -1}, "random_state must be at least 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            ops.bpr(interactions, **setting)
