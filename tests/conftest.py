"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os

# Small products: threads of BLAS and of torch that wait for each other, and for other workers, make them far slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import numpy as np
import pytest
import scipy.sparse as sp
from form_examples import FORMS, N_ITEMS, N_USERS, make_form

from recsys_core.data import Histories, IdMap
from recsys_core.models import FittedModel

# Shared machines are slow now and then, and a landing must not depend on the draw of the day.
hypothesis.settings.register_profile("recsys_core", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("recsys_core")


@pytest.fixture(scope="session")
def histories() -> Histories:
    """Ratings 1 to 5 of 50 users over 200 items; user 3 has none."""
    rng = np.random.default_rng(0)
    ratings = (rng.random((N_USERS, N_ITEMS)) < 0.15) * rng.integers(1, 6, (N_USERS, N_ITEMS))
    ratings[3] = 0
    csr = sp.csr_matrix(ratings.astype(np.float32))
    return Histories(csr.indptr, csr.indices, csr.data)


@pytest.fixture(params=FORMS)
def fitted(request: pytest.FixtureRequest, histories: Histories) -> FittedModel:
    """A fitted model of every scoring form, with random arrays."""
    users = IdMap([f"u{i:02}" for i in range(N_USERS)])
    return FittedModel(make_form(request.param), users, IdMap(list(range(1000, 1000 + N_ITEMS))), histories)
