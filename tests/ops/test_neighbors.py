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


@given(
    rows=st.lists(st.lists(st.integers(-2, 2), min_size=4, max_size=4), min_size=1, max_size=12),
    k=st.integers(1, 15),
    n_threads=st.integers(1, 3),
)
@settings(max_examples=200, deadline=None)
def test_small_integers_give_exact_products_ties_and_zeros(rows, k, n_threads):
    vectors = sp.csr_matrix(np.array(rows, dtype=np.float32))
    ours = ops.item_neighbors(vectors, k, n_threads=n_threads)
    np.testing.assert_array_equal(ours.toarray(), reference.item_neighbors_reference(vectors, k))
    assert ours.data.all()


@pytest.mark.parametrize("k", [1, 10, 1000])
def test_real_vectors_follow_the_float64_specification(k):
    vectors = long_tailed(300, 200, 4000).T.tocsr()
    vectors = sp.csr_matrix(vectors.multiply(1 / np.sqrt(np.maximum(vectors.power(2).sum(axis=1), 1))))
    ours = ops.item_neighbors(vectors.astype(np.float32), k)
    products = (vectors @ vectors.T).toarray()
    np.fill_diagonal(products, 0.0)
    assert ours.shape == (200, 200)
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(np.diff(ours.indptr), np.minimum(k, (products != 0).sum(axis=1)))
    rows = np.repeat(np.arange(200), np.diff(ours.indptr))
    np.testing.assert_allclose(ours.data, products[rows, ours.indices], rtol=1e-4)
    kept = np.sort(ours.toarray(), axis=1)
    np.testing.assert_allclose(kept[:, -k:], np.sort(products, axis=1)[:, -k:], atol=1e-6)


def test_the_number_of_threads_changes_no_bit():
    vectors = long_tailed(500, 300, 8000).T.tocsr()
    results = [ops.item_neighbors(vectors, 20, n_threads=n_threads) for n_threads in (1, 2, 4, 0)]
    for result in results[1:]:
        assert (result != results[0]).nnz == 0
        assert np.array_equal(result.indices, results[0].indices)


def test_the_result_is_sorted_and_rows_without_entries_are_empty():
    vectors = long_tailed(60, 45, 400).T.tocsr()
    ours = ops.item_neighbors(vectors, 5)
    copy = sp.csr_matrix((ours.data, ours.indices, ours.indptr), shape=ours.shape)
    assert copy.has_canonical_format
    assert ours[0].nnz == 0
    assert ops.item_neighbors(sp.csr_matrix((3, 7), dtype=np.float32), 2).nnz == 0
    assert ops.item_neighbors(sp.csr_matrix(np.ones((1, 7), dtype=np.float32)), 2).shape == (1, 1)


def test_errors_name_argument_and_remedy():
    vectors = long_tailed(30, 20, 150)
    for k in (0, -1, 1.5, True):
        with pytest.raises(ConfigError, match="k must be"):
            ops.item_neighbors(vectors, k)
    with pytest.raises(DTypeError, match="CSR"):
        ops.item_neighbors(vectors.toarray(), 2)
    with pytest.raises(DataError, match="item_vectors must hold finite numbers"):
        ops.item_neighbors(sp.csr_matrix(np.array([[1, np.nan]], dtype=np.float32)), 2)
