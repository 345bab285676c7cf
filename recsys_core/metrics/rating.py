"""How far predicted ratings are from those that were given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recsys_core.metrics.contract import RatingMetric

if TYPE_CHECKING:
    from recsys_core.types import FloatArray

__all__ = ["MAE", "RMSE"]


@dataclass(frozen=True, kw_only=True)
class RMSE(RatingMetric):
    r"""Root mean squared error, :math:`\sqrt{\frac1n \sum (\hat r - r)^2}`.

    Examples
    --------
    >>> RMSE().value(np.array([4.0, 3.0]), np.array([1.0, 3.0]))
    2.1213203435596424
    """

    name = "rmse"
    higher_is_better = False

    def value(self, predicted: FloatArray, actual: FloatArray) -> float:
        """The error of all pairs."""
        return float(np.sqrt(np.mean((predicted.astype(np.float64) - actual) ** 2)))


@dataclass(frozen=True, kw_only=True)
class MAE(RatingMetric):
    r"""Mean absolute error, :math:`\frac1n \sum |\hat r - r|`.

    Examples
    --------
    >>> MAE().value(np.array([4.0, 3.0]), np.array([1.0, 3.0]))
    1.5
    """

    name = "mae"
    higher_is_better = False

    def value(self, predicted: FloatArray, actual: FloatArray) -> float:
        """The error of all pairs."""
        return float(np.mean(np.abs(predicted.astype(np.float64) - actual)))
