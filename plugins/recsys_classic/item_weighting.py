"""Weightings of an item-by-user matrix, items taken as documents and users as their terms."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from recsys_core.types import CSR

__all__ = ["bm25", "tf_idf", "unit_rows"]

Float64Array = npt.NDArray[np.float64]


def tf_idf(item_users: CSR) -> CSR:
    r"""Weight every entry by :math:`\sqrt{r_{iu}}\, \ln \frac{N + 1}{n_u + 0.5}`.

    N is the number of items and :math:`n_u` the number that user u had, so that a user who had nearly everything says
    little about each.  The square root is that of Lucene's ``ClassicSimilarity``; the idf is that of its BM25, which
    is above 0 even for a user who had everything.  The ``implicit`` package has :math:`\ln \frac{N}{n_u + 1}` there,
    which on small data is 0 or less.

    Parameters
    ----------
    item_users
        CSR (n_items, n_users), weights of at least 0.
    """
    data = np.sqrt(item_users.data.astype(np.float64)) * _idf(item_users)
    return _with_data(item_users, data)


def bm25(item_users: CSR, k1: float, b: float) -> CSR:
    r"""Weight every entry by Okapi BM25.

    .. math:: \ln\Big(1 + \frac{N - n_u + 0.5}{n_u + 0.5}\Big)\,
        \frac{r_{iu} (k_1 + 1)}{r_{iu} + k_1 (1 - b + b\, L_i / \bar L)}

    N is the number of items, :math:`n_u` the number that user u had, :math:`L_i = \sum_u r_{iu}` the length of item i
    and :math:`\bar L` the mean length.

    Parameters
    ----------
    item_users
        CSR (n_items, n_users), weights of at least 0.
    k1
        How slowly a growing weight saturates, at least 0.
    b
        How much long items are held back, 0 to 1.

    References
    ----------
    S. Robertson and H. Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", FnTIR 2009, section 3.5;
    the idf with 1 inside the logarithm, which is above 0, is Lucene's.
    """
    weight = item_users.data.astype(np.float64)
    length = _row_sums(item_users, weight)
    mean = length.mean()
    relative = length / mean if mean > 0 else length
    saturation = k1 * (1.0 - b + b * relative[_rows(item_users)])
    # A stored weight of 0 is worth 0, also where k1 = 0 makes its fraction 0 / 0.
    fraction = np.divide(weight * (k1 + 1.0), weight + saturation, out=np.zeros_like(weight), where=weight > 0)
    return _with_data(item_users, fraction * _idf(item_users))


def unit_rows(item_users: CSR, shrink: float = 0.0) -> CSR:
    r"""Divide row i by :math:`\sqrt{\lVert v_i \rVert^2 + \text{shrink}}`, so that inner products are cosines.

    With a shrink above 0 it is as if each item had also been had by one user of its own with weight sqrt(shrink): items
    with little evidence are like nothing.  An empty row stays empty.

    Parameters
    ----------
    item_users
        CSR (n_items, n_users).
    shrink
        At least 0, in units of the squared norm: of users, where weights are 1.
    """
    weight = item_users.data.astype(np.float64)
    norm = np.sqrt(_row_sums(item_users, weight**2) + shrink)
    scale = np.divide(1.0, norm, out=np.zeros_like(norm), where=norm > 0)
    return _with_data(item_users, weight * scale[_rows(item_users)])


def _rows(matrix: CSR) -> npt.NDArray[np.intp]:
    """Row of each stored entry."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))


def _row_sums(matrix: CSR, data: Float64Array) -> Float64Array:
    # An empty bincount is of integers whatever the weights are.
    return np.bincount(_rows(matrix), weights=data, minlength=matrix.shape[0]).astype(np.float64)


def _idf(item_users: CSR) -> Float64Array:
    """Inverse document frequency of each stored entry's user."""
    n_items, n_users = item_users.shape
    had = np.bincount(item_users.indices, minlength=n_users)
    idf: Float64Array = np.log((n_items + 1.0) / (had + 0.5))
    return idf[item_users.indices]


def _with_data(matrix: CSR, data: npt.NDArray[Any]) -> CSR:
    return sp.csr_matrix((data.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)
