"""Data that the tests of the classical models share."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_core import Interactions

N_USERS, N_ITEMS = 40, 25


@pytest.fixture(scope="session")
def ratings() -> Interactions:
    """Half-star ratings of two tastes, by 40 users of 25 items, 300 events with times; some pairs occur twice."""
    rng = np.random.default_rng(7)
    user = np.concatenate([np.arange(N_USERS), rng.integers(0, N_USERS, 260)])
    item = np.concatenate([np.arange(N_USERS) % N_ITEMS, rng.integers(0, N_ITEMS, 260) ** 2 // N_ITEMS])
    liked = user % 2 == item % 2
    rating = np.clip(np.round(2 * np.where(liked, 4.2, 2.1) + rng.normal(scale=1.2, size=len(user))) / 2, 0.5, 5.0)
    days = np.datetime64("2024-01-01", "us") + rng.permutation(len(user)).astype("timedelta64[D]")
    return Interactions.from_arrays(user, item, rating, days)
