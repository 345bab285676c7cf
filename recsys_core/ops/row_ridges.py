"""The regularization of each row of ALS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from recsys_core.types import FloatArray, IndexArray

__all__ = ["row_ridges"]


def row_ridges(
    indptr: IndexArray, n_columns: int, regularization: float, exponent: float, unobserved_weight: float
) -> FloatArray:
    """Return float32 (n_rows,): ``lambda (n + w n_columns)^nu`` for a row of n entries."""
    weights = np.diff(indptr) + unobserved_weight * n_columns
    return np.asarray(regularization * weights**exponent, dtype=np.float32)
