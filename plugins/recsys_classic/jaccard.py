"""Neighbors by Jaccard similarity, which is no inner product of vectors and so has a road of its own."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recsys_core.types import CSR

__all__ = ["jaccard_neighbors"]

_ROWS = 512  # items compared with all others at a time, which bounds the overlaps held in memory


def jaccard_neighbors(item_users: CSR, k: int, shrink: float = 0.0) -> CSR:
    r"""The k items most alike to each, by :math:`|A \cap B| / (|A \cup B| + \text{shrink})` of their sets of users.

    Parameters
    ----------
    item_users
        CSR (n_items, n_users); only its structure counts.
    k
        Neighbors to keep an item, at least 1.
    shrink
        Users to add to every union, at least 0.

    Returns
    -------
    scipy.sparse.csr_matrix
        float32 (n_items, n_items), sorted columns, the item itself and items without a common user left out.

    Notes
    -----
    O(sum of squared history lengths) time; memory for the overlaps of 512 items at a time.  Ties go to the lower index.
    """
    ones = sp.csr_matrix((np.ones(item_users.nnz), item_users.indices, item_users.indptr), shape=item_users.shape)
    size = np.diff(ones.indptr)
    user_items = ones.T.tocsr()
    blocks = []
    for start in range(0, ones.shape[0], _ROWS):
        overlap = (ones[start : start + _ROWS] @ user_items).tocoo()
        other = overlap.row + start != overlap.col
        row, column, common = overlap.row[other], overlap.col[other], overlap.data[other]
        similarity = common / (size[row + start] + size[column] - common + shrink)
        blocks.append(_largest(row, column, similarity, (overlap.shape[0], ones.shape[0]), k))
    return sp.csr_matrix(sp.vstack(blocks, format="csr", dtype=np.float32))


def _largest(row: np.ndarray, column: np.ndarray, value: np.ndarray, shape: tuple[int, int], k: int) -> CSR:
    """The k largest values of each row as CSR."""
    order = np.lexsort((column, -value, row))
    row, column, value = row[order], column[order], value[order]
    first = np.searchsorted(row, np.arange(shape[0]))
    kept = np.arange(len(row)) - first[row] < k
    matrix = sp.csr_matrix((value[kept].astype(np.float32), (row[kept], column[kept])), shape=shape)
    matrix.sort_indices()
    return matrix
