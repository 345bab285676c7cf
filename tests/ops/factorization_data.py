"""Interactions with what real ones have: a long tail, empty rows and columns."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

DIMENSIONS = (1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 65, 128, 200)


def long_tailed(n_users: int, n_items: int, n_events: int, seed: int = 0) -> sp.csr_matrix:
    """Counts of random events; users and items have log-normal popularity, and the first of each has no event."""
    rng = np.random.default_rng(seed)
    users, items = rng.lognormal(0, 1, n_users), rng.lognormal(0, 1.3, n_items)
    users[0] = items[0] = 0.0
    places = rng.choice(n_users, n_events, p=users / users.sum()), rng.choice(n_items, n_events, p=items / items.sum())
    matrix = sp.csr_matrix((np.ones(n_events, dtype=np.float32), places), shape=(n_users, n_items))
    matrix.sum_duplicates()
    return matrix
