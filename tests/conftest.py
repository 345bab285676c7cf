"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os

import hypothesis
import numpy as np
import pytest
import scipy.sparse as sp

from recsys_core.data import Histories, IdMap
from recsys_core.models import DotForm, FittedModel, FoldIn, ItemItemForm, StaticForm

# Shared machines are slow now and then, and a landing must not depend on the draw of the day.
hypothesis.settings.register_profile("recsys_core", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("recsys_core")

N_USERS, N_ITEMS, N_FACTORS = 50, 200, 16
FORMS = (
    "users_only",
    "implicit_fold_in",
    "explicit_fold_in",
    "histories_only",
    "dense",
    "dense_weighted",
    "sparse",
    "static",
)


@pytest.fixture(scope="session")
def histories() -> Histories:
    """Ratings 1 to 5 of 50 users over 200 items; user 3 has none."""
    rng = np.random.default_rng(0)
    ratings = (rng.random((N_USERS, N_ITEMS)) < 0.15) * rng.integers(1, 6, (N_USERS, N_ITEMS))
    ratings[3] = 0
    csr = sp.csr_matrix(ratings.astype(np.float32))
    return Histories(csr.indptr, csr.indices, csr.data)


def make_form(name: str) -> DotForm | ItemItemForm | StaticForm:
    rng = np.random.default_rng(1)
    items = rng.normal(size=(N_ITEMS, N_FACTORS)).astype(np.float32)
    users = rng.normal(size=(N_USERS, N_FACTORS)).astype(np.float32)
    bias = rng.normal(size=N_ITEMS).astype(np.float32)
    eye = np.eye(N_FACTORS)
    implicit = FoldIn((items.T @ items + 0.1 * eye).astype(np.float32), (0.0, 40.0), (1.0, 40.0))
    explicit = FoldIn((0.05 * eye).astype(np.float32), (1.0, 0.0), (0.0, 1.0), bias)
    dense = rng.normal(size=(N_ITEMS, N_ITEMS)).astype(np.float32)
    sparse = sp.csr_matrix(dense * (rng.random(dense.shape) < 0.05))
    forms = {
        "users_only": DotForm(items, bias, users),
        "implicit_fold_in": DotForm(items, None, users, implicit),
        "explicit_fold_in": DotForm(items, bias, users, explicit),
        "histories_only": DotForm(items, None, None, implicit),
        "dense": ItemItemForm(dense),
        "dense_weighted": ItemItemForm(dense, binary=False),
        "sparse": ItemItemForm(sparse, binary=False),
        # Rounded, so that there are ties.
        "static": StaticForm(np.round(bias, 1)),
    }
    return forms[name]


@pytest.fixture(params=FORMS)
def fitted(request: pytest.FixtureRequest, histories: Histories) -> FittedModel:
    """A fitted model of every scoring form, with random arrays."""
    users = IdMap([f"u{i:02}" for i in range(N_USERS)])
    return FittedModel(make_form(request.param), users, IdMap(list(range(1000, 1000 + N_ITEMS))), histories)
