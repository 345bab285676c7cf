"""A warning for factorizations whose regularization outweighs the data."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from recsys_core.types import FloatArray

__all__ = ["warn_of_collapse"]

_COLLAPSED = 1e-4  # beyond rounding, yet far below any factor that has learned something


def warn_of_collapse(
    function: str, item_factors: FloatArray, regularization: float, remedy: str, *, stacklevel: int
) -> None:
    """Warn where all item factors are next to zero, so that they rank nothing; `stacklevel` as from the caller."""
    largest = float(np.abs(item_factors).max(initial=0.0))
    if largest < _COLLAPSED:
        warnings.warn(
            f"{function}: all item factors are next to zero (at most {largest:.1g}), so nothing can be ranked by them: "
            f"regularization={regularization:g} outweighs the data; {remedy}",
            UserWarning,
            stacklevel=stacklevel + 1,
        )
