"""Array aliases used in signatures throughout the library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import scipy.sparse as sp

    CSR: TypeAlias = sp.csr_matrix[Any] | sp.csr_array[Any]
    """A SciPy matrix of compressed rows, of the old or the new interface."""

__all__ = ["CSR", "FloatArray", "Index32Array", "IndexArray", "Ranking"]

FloatArray: TypeAlias = npt.NDArray[np.float32]
"""Weights, factors and scores."""
IndexArray: TypeAlias = npt.NDArray[np.int64]
"""Positions of users, items or entries."""
Index32Array: TypeAlias = npt.NDArray[np.int32]
"""Positions that are kept by the million: those of users and items in interactions and histories."""

if not TYPE_CHECKING:
    CSR = Any  # importing scipy.sparse only to name a type would cost every start-up


class Ranking(NamedTuple):
    """The top k of a batch of queries.

    Rows are ordered by score descending, then by item index ascending.  A row with fewer than k admissible
    items is padded with index -1 and score ``-inf``; a filtered item never appears, and neither does NaN.

    Attributes
    ----------
    indices
        int64, shape (n_queries, k): item indices, -1 where padded.
    scores
        float32, shape (n_queries, k): the scores, ``-inf`` where padded.
    """

    indices: IndexArray
    scores: FloatArray
