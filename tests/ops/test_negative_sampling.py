"""Which items bpr, warp and logistic_mf draw for users who have most of the catalogue."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse as sp

from recsys_core import ops

FITS: dict[str, Callable[..., ops.SgdFactors]] = {"bpr": ops.bpr, "warp": ops.warp, "logistic_mf": ops.logistic_mf}
STILL = {"regularization": 0.0, "optimizer": "sgd", "schedule": "constant"}
RATE = 1e-6


def without(n_users: int, n_items: int, lacked: np.ndarray) -> np.ndarray:
    """Users who have all items but some."""
    had = np.ones((n_users, n_items), dtype=np.float32)
    had[:, lacked] = 0.0
    return had


def times_drawn(had: np.ndarray, n_epochs: int, **options: float) -> np.ndarray:
    """How often each item was drawn: with steps so small that nothing moves, its bias falls by the same each time."""
    _, _, bias = ops.bpr(sp.csr_matrix(had), 1, n_epochs=n_epochs, learning_rate=RATE, **STILL, **options)
    return had.sum(axis=0) * n_epochs - bias / (0.5 * RATE)


def test_nearly_every_entry_of_users_who_lack_one_item_takes_a_step() -> None:
    had = without(200, 500, np.array([17]))
    # An entry that takes no step leaves the bias of its own item where it is.
    _, _, bias = ops.bpr(sp.csr_matrix(had), 1, n_epochs=4, learning_rate=RATE, **STILL)
    assert -bias[17] / (0.5 * RATE) > 0.95 * 4 * had.sum()


@pytest.mark.parametrize("power", [0.0, 0.7])
def test_what_a_heavy_user_lacks_is_drawn_in_proportion(power: float) -> None:
    lacked = np.arange(3, 600, 12)
    had = without(20, 600, lacked)
    # Eleven other users, of few entries, give the lacked items different weights.  So few users are one block.
    others = np.zeros((11, 600), dtype=np.float32)
    for place, item in enumerate(lacked):
        others[: 1 + place % 11, item] = 1.0
    weights = others.sum(axis=0)[lacked] ** power
    n_epochs = 10
    expected = had.sum() * n_epochs * weights / weights.sum()
    drawn = times_drawn(np.vstack([had, others]), n_epochs, popularity_power=power)[lacked]
    by_others = others.sum() * n_epochs / len(lacked)
    assert (np.abs(drawn - expected) < 4.5 * np.sqrt(expected) + by_others).all()


@pytest.mark.parametrize("power", [0.0, 0.7])
@pytest.mark.parametrize("objective", FITS)
def test_dense_rows_give_the_same_bits_for_any_number_of_threads(objective: str, power: float) -> None:
    rng = np.random.default_rng(0)
    shares = rng.choice([0.05, 0.45, 0.6, 0.95, 1.0], size=(500, 1))
    interactions = sp.csr_matrix((rng.random((500, 300)) < shares).astype(np.float32))
    results = [
        FITS[objective](interactions, 9, n_epochs=2, n_threads=n_threads, popularity_power=power)
        for n_threads in (1, 2, 4)
    ]
    for other in results[1:]:
        for ours, theirs in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("objective", FITS)
def test_users_who_have_all_that_can_be_drawn_take_no_step(objective: str) -> None:
    # Nobody has item 3, so that by popularity it is never drawn, and user 0 lacks nothing else.
    interactions = sp.csr_matrix(np.array([[1, 1, 1, 0], [1, 0, 0, 0]], dtype=np.float32))
    rng = np.random.default_rng(0)
    initial = ops.SgdFactors(*(rng.normal(size=size).astype(np.float32) for size in ((2, 4), (4, 4), (4,))))
    found = FITS[objective](interactions, 4, initial=initial, n_epochs=20, popularity_power=0.5)
    np.testing.assert_array_equal(found.user_factors[0], initial.user_factors[0])
    np.testing.assert_array_equal(found.item_factors[3], initial.item_factors[3])
    assert not np.allclose(found.user_factors[1], initial.user_factors[1])
