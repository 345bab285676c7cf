"""A scoring form of every kind, with random arrays."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recsys_core.models import DotForm, FoldIn, ItemItemForm, StaticForm

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
