"""ALS with new interactions: what changes, and how far it drifts from a fit on everything."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from recsys_core import Interactions, Recommender, create, load_dataset
from recsys_core.testing import block_interactions

HAS_MOVIELENS = (Path(os.environ.get("RECSYS_DATA_DIR", "absent")) / "ml-latest-small").is_dir()


def drift(interactions: Interactions, n_updates: int, **settings: float) -> tuple[float, float, float]:
    """The objective of a fit on all, of one on 70% with the rest taken in, and of one on 70% alone with the rest at 0.

    Each is over all interactions.
    """
    rows = np.argsort(interactions.datetime, kind="stable")
    early, late = np.split(rows, [int(0.7 * len(rows))])
    refitted = create("als", **settings).fit(interactions)
    updated = create("als", **settings).fit(interactions.select(np.sort(early)))
    stale = objective(updated, interactions)
    for part in np.array_split(late, n_updates):
        updated.partial_fit(interactions.select(np.sort(part)))
    return objective(refitted, interactions), objective(updated, interactions), stale


def objective(model: Recommender, interactions: Interactions) -> float:
    """Of ALS, in float64, over interactions that the model may know in part."""
    settings = model.config
    users, items = (factors.astype(np.float64) for factors in (model.user_factors_, model.item_factors_))
    user, item = model.users.index_of(interactions.users.ids), model.items.index_of(interactions.items.ids)
    had = interactions.to_csr().tocoo()
    user, item = user[had.row], item[had.col]
    score = np.where((user < 0) | (item < 0), 0.0, np.einsum("nf,nf->n", users[user], items[item]))
    confidence = 1.0 + settings.alpha * had.data
    everything = np.sum((users.T @ users) * (items.T @ items))  # the squared scores of all pairs
    ridge = settings.regularization * (np.sum(users**2) + np.sum(items**2))
    return float(everything + np.sum(confidence * (1.0 - score) ** 2 - score**2) + ridge)


def test_updates_drift_little_from_a_fit_on_everything() -> None:
    interactions = block_interactions(200, 100, events_a_user=20.0)
    refitted, updated, stale = drift(interactions, 10, n_factors=8, regularization=2.0)
    assert updated < 1.02 * refitted
    assert updated - refitted < 0.1 * (stale - refitted)


def test_an_update_leaves_other_rows_alone_and_solves_its_own() -> None:
    interactions = block_interactions()
    model = create("als", n_factors=4, regularization=1.0).fit(interactions)
    before = model.fitted
    model.partial_fit(Interactions.from_arrays([7, 999], [5, 5], [3.0, 3.0]))
    user, item = model.users.index_of([7])[0], model.items.index_of([5])[0]
    untouched = np.arange(len(before.users)) != user
    np.testing.assert_array_equal(model.user_factors_[:-1][untouched], before.form.user_factors[untouched])
    others = np.arange(len(before.items)) != item
    np.testing.assert_array_equal(model.item_factors_[others], before.form.item_factors[others])
    # A touched user is what their whole history would be as a stranger's.
    known = model.recommend_indices(np.array([user, len(before.users)]), k=5)
    rows = model.histories.rows([user, len(before.users)])
    stranger = model.recommend_indices(histories=rows, k=5)
    np.testing.assert_array_equal(known.indices, stranger.indices)
    np.testing.assert_allclose(known.scores, stranger.scores, rtol=1e-4)


def test_a_new_user_with_nothing_but_a_new_item_gets_a_vector() -> None:
    model = create("als", n_factors=4, regularization=0.1).fit(block_interactions())
    model.partial_fit(Interactions.from_arrays([900, 901], [800, 800]))
    score = model.user_factors_[-2:] @ model.item_factors_[-1]
    assert (score > 0).all()


@pytest.mark.skipif(not HAS_MOVIELENS, reason="RECSYS_DATA_DIR has no ml-latest-small")
def test_updates_drift_little_on_real_data() -> None:
    refitted, updated, stale = drift(load_dataset("ml-latest-small"), 10, n_factors=16)
    assert updated < 1.03 * refitted
    assert updated - refitted < 0.2 * (stale - refitted)
