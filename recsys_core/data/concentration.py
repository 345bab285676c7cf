"""How unevenly counts are spread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from recsys_core.types import IndexArray

__all__ = ["gini"]


def gini(counts: IndexArray | npt.NDArray[np.float64]) -> float:
    """Gini coefficient of counts: 0 if all are equal, 1 - 1/n if one has it all, NaN if their sum is 0.

    With x the counts in ascending order, ``sum_r (2 r - n - 1) x_r / (n sum x)``, r = 1..n.

    Parameters
    ----------
    counts
        Not negative, shape (n,).
    """
    ascending = np.sort(counts).astype(np.float64)
    n, total = len(ascending), ascending.sum()
    if total == 0.0:
        return float("nan")
    return float((2.0 * np.arange(1, n + 1) - n - 1.0) @ ascending / (n * total))
