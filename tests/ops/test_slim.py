from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from factorization_data import long_tailed
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_core import ops
from recsys_core.errors import ConfigError, DataError, DTypeError
from recsys_core.ops import _reference_factorization as reference

# Matrices of a few columns may leave no weight.
pytestmark = pytest.mark.filterwarnings("ignore:slim. all weights are zero")


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("positive_only", [True, False])
@pytest.mark.parametrize("n_items", [1, 2, 15, 16, 17, 33, 100])
def test_columns_meet_the_optimality_conditions(positive_only, n_items):
    interactions = long_tailed(80, n_items + 1, 12 * n_items)
    weights = ops.slim(interactions, l1=0.7, l2=1.5, n_iterations=2000, tolerance=1e-6, positive_only=positive_only)
    dense = weights.toarray()
    violation = reference.slim_kkt_violation(interactions, dense, l1=0.7, l2=1.5, positive_only=positive_only)
    assert violation < 2e-4 * (1 + interactions.multiply(interactions).sum(axis=0).max())
    assert not dense.diagonal().any()
    assert not positive_only or (dense >= 0).all()


@pytest.mark.usefixtures("isa")
@pytest.mark.filterwarnings("ignore:slim:UserWarning")
@pytest.mark.parametrize("positive_only", [True, False])
def test_sweeps_follow_the_float64_specification(positive_only):
    rng = np.random.default_rng(3)
    interactions = sp.csr_matrix((rng.normal(size=(50, 21)) * (rng.random((50, 21)) < 0.3)).astype(np.float32))
    for n_iterations in (1, 2, 5):
        weights = ops.slim(
            interactions, l1=0.3, l2=0.5, n_iterations=n_iterations, tolerance=0.0, positive_only=positive_only
        )
        expected = reference.slim_reference(
            interactions, l1=0.3, l2=0.5, n_iterations=n_iterations, positive_only=positive_only
        )
        np.testing.assert_allclose(weights.toarray(), expected, atol=1e-5)
    assert positive_only or (weights.data < 0).any()


def test_tolerance_stops_early_and_close():
    interactions = long_tailed(200, 60, 3000)
    with pytest.warns(UserWarning, match="had not settled"):  # float32 keeps moving in its last place
        exact = ops.slim(interactions, l1=0.5, l2=1.0, n_iterations=5000, tolerance=0.0).toarray()
    usual = ops.slim(interactions, l1=0.5, l2=1.0).toarray()
    rough = ops.slim(interactions, l1=0.5, l2=1.0, tolerance=0.5).toarray()
    assert np.abs(usual - exact).max() < 2e-3
    assert np.abs(rough - exact).max() > 2e-3


def test_columns_that_have_not_settled_are_counted_in_a_warning():
    interactions = long_tailed(200, 60, 3000)
    message = (
        r"^slim: the weights of 57 of 60 items had not settled after their last sweep and are approximate; "
        r"raise n_iterations, got 1, or tolerance, got 0\.0001\.$"
    )
    with pytest.warns(UserWarning, match=message) as caught:
        ops.slim(interactions, l1=0.5, l2=1.0, n_iterations=1)
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.usefixtures("isa")
def test_the_number_of_threads_changes_no_bit():
    interactions = long_tailed(300, 150, 4000)
    results = [ops.slim(interactions, l1=0.1, l2=1.0, n_threads=n_threads) for n_threads in (1, 2, 4, 0)]
    for result in results[1:]:
        assert np.array_equal(result.indptr, results[0].indptr)
        assert np.array_equal(result.indices, results[0].indices)
        assert np.array_equal(result.data, results[0].data)


def test_the_result_is_sorted_without_zeros_and_in_row_order():
    interactions = long_tailed(80, 40, 900)
    weights = ops.slim(interactions, l1=0.2, l2=1.0)
    assert weights.format == "csr"
    assert weights.dtype == np.float32
    assert weights.data.all()
    copy = sp.csr_matrix((weights.data, weights.indices, weights.indptr), shape=weights.shape)
    assert copy.has_canonical_format
    # Column j predicts item j: the residual of the data is smaller with the weights than without.
    A = interactions.toarray()
    assert np.linalg.norm(A - A @ weights.toarray()) < 0.9 * np.linalg.norm(A)


def test_a_large_l1_leaves_nothing_and_l1_l2_of_zero_is_least_squares():
    interactions = long_tailed(80, 12, 400)
    assert ops.slim(interactions, l1=1e9, l2=1.0).nnz == 0
    weights = ops.slim(interactions, l1=0.0, l2=0.0, n_iterations=20_000, tolerance=0.0, positive_only=False).toarray()
    A = interactions.toarray().astype(np.float64)
    for j in range(1, 12):
        others = np.delete(np.arange(12), [0, j])  # item 0 has no interaction
        expected = np.linalg.lstsq(A[:, others], A[:, j], rcond=None)[0]
        np.testing.assert_allclose(weights[others, j], expected, atol=2e-3)


def test_the_callback_counts_columns_and_stops():
    interactions = long_tailed(80, 200, 900)
    seen = []
    whole = ops.slim(interactions, l1=0.1, l2=1.0, callback=lambda *progress: seen.append(progress))
    assert [total for _, total in seen] == [200] * len(seen)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1] == (200, 200)
    first = seen[0][0]
    assert first < 200
    part = ops.slim(interactions, l1=0.1, l2=1.0, callback=lambda done, total: True)
    np.testing.assert_array_equal(part.toarray()[:, :first], whole.toarray()[:, :first])
    assert not part.toarray()[:, first:].any()

    def fail(done, total):
        raise LookupError(f"at {done}")

    with pytest.raises(LookupError, match=f"at {first}"):
        ops.slim(interactions, l1=0.1, l2=1.0, callback=fail)


@given(
    rows=st.lists(st.lists(st.integers(-2, 3), min_size=5, max_size=5), min_size=1, max_size=8),
    l1=st.floats(0, 3),
    l2=st.floats(0.1, 3),
    positive_only=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_any_small_matrix_meets_the_optimality_conditions(rows, l1, l2, positive_only):
    interactions = sp.csr_matrix(np.array(rows, dtype=np.float32))
    if interactions.nnz == 0:
        return
    weights = ops.slim(interactions, l1=l1, l2=l2, n_iterations=3000, tolerance=1e-7, positive_only=positive_only)
    violation = reference.slim_kkt_violation(interactions, weights.toarray(), l1=l1, l2=l2, positive_only=positive_only)
    assert violation < 1e-3


def test_errors_name_argument_and_remedy():
    interactions = long_tailed(30, 20, 150)
    with pytest.raises(DataError, match="at least one stored entry"):
        ops.slim(sp.csr_matrix((3, 4), dtype=np.float32), l1=1.0, l2=1.0)
    with pytest.raises(DTypeError, match="CSR"):
        ops.slim(interactions.tocsc(), l1=1.0, l2=1.0)
    for setting, message in (
        ({"l1": -1.0}, "l1 must be at least 0"),
        ({"l2": -1.0}, "l2 must be at least 0"),
        ({"n_iterations": 0}, "n_iterations must be at least 1"),
        ({"tolerance": -1.0}, "tolerance must be at least 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            ops.slim(interactions, **{"l1": 1.0, "l2": 1.0, **setting})


def test_a_penalty_that_leaves_no_weights_warns():
    interactions = sp.csr_matrix(np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=np.float32))
    with pytest.warns(UserWarning, match="all weights are zero, .*l1=9 outweighs the data; lower it"):
        assert ops.slim(interactions, l1=9.0, l2=0.5).nnz == 0
