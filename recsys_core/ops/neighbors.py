"""The most similar rows of a sparse matrix: :func:`item_neighbors`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recsys_core import _core
from recsys_core.ops import _validate

if TYPE_CHECKING:
    from recsys_core.types import CSR

__all__ = ["item_neighbors"]


def item_neighbors(item_vectors: CSR, k: int, *, n_threads: int = 0) -> CSR:
    """Find, for each row, the k other rows with the largest inner product.

    Scale the rows to length 1 first to get cosine similarities.

    Parameters
    ----------
    item_vectors
        CSR, shape (n_items, n_anything), float32, finite.  Entries that repeat within a row are summed.
    k
        Number of neighbors to keep, at least 1; it may exceed the number of items.
    n_threads
        Number of threads; 0 means :func:`max_threads`.  It does not change the result.

    Returns
    -------
    scipy.sparse.csr_matrix
        float32, shape (n_items, n_items): row i holds the inner products of item i with its neighbors, columns
        ascending.  An item is not its own neighbor, and a product of zero is not stored, so a row may hold fewer
        than k.  Negative products are kept where there are not k larger ones.

    Raises
    ------
    DataError
        A value is not finite, or a column is out of range.
    DTypeError
        `item_vectors` is not CSR.
    ConfigError
        `k` or `n_threads` is not an integer or out of range.

    Notes
    -----
    Product descending, then item index ascending.  Products are summed in float32, in the order of the columns.

    Cost: the sum of squared column lengths.  The product is computed row by row (F. Gustavson, "Two Fast Algorithms
    for Sparse Matrices", 1978) and never stored; memory is the transpose, the result, and 5 n_items bytes a thread.

    Examples
    --------
    >>> import numpy as np
    >>> import scipy.sparse as sp
    >>> vectors = sp.csr_matrix(np.array([[1, 0, 2], [1, 0, 1], [0, 3, 1]], dtype=np.float32))
    >>> item_neighbors(vectors, k=1).toarray()
    array([[0., 3., 0.],
           [3., 0., 0.],
           [2., 0., 0.]], dtype=float32)
    """
    return _validate.csr_from_arrays(
        _core.row_neighbors(
            _validate.unique_csr_arrays(item_vectors, "item_vectors"),
            _validate.integer(k, "k", minimum=1),
            n_threads=_validate.integer(n_threads, "n_threads", minimum=0),
        )
    )
