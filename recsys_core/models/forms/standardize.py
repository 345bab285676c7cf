"""Scores in relation to those of a list, so that a second stage needs no other scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys_core.types import FloatArray, IndexArray

__all__ = ["LEAST_DEVIATION", "ListScale", "standardized_scores"]

LEAST_DEVIATION: Final = 1e-4
"""What is added to the deviation, in means of absolute scores."""


@dataclass(frozen=True, eq=False)
class ListScale:
    """Where the scores of a list lie, and how far apart.

    Parameters
    ----------
    mean
        float64 (n,), of each list.
    width
        float64 (n,): the deviation of each, and what is added to it; 0 where all of its scores are 0 or it has none.
    """

    mean: FloatArray
    width: FloatArray

    @classmethod
    def of(cls, lists: FloatArray) -> ListScale:
        """The scales of lists, float32 (n, C), -inf where one has no item."""
        there = np.isfinite(lists)
        count = np.maximum(there.sum(axis=1), 1)
        known = np.where(there, lists, 0).astype(np.float64)
        mean = known.sum(axis=1) / count
        apart = np.where(there, known - mean[:, None], 0)
        deviation = np.sqrt((apart**2).sum(axis=1) / count)
        return cls(mean, deviation + LEAST_DEVIATION * np.abs(known).sum(axis=1) / count)

    def standardized(self, row: IndexArray, scores: FloatArray) -> FloatArray:
        """Scores (n_pairs,), each by the scale of its list, float32; the items need not be in it."""
        width = self.width[row]
        apart = scores - self.mean[row]
        found: FloatArray = np.divide(apart, width, out=np.zeros_like(apart), where=width > 0).astype(np.float32)
        return found


def standardized_scores(lists: FloatArray) -> FloatArray:
    r"""Scores of candidates in relation to those of their own list.

    .. math:: z = \frac{s - \bar s}{\sigma + 10^{-4} \, \overline{|s|}}

    The second term keeps rounding from being blown up where all scores are alike.

    Parameters
    ----------
    lists
        float32 (n, C): a list in each row, -inf where it has no item.

    Returns
    -------
    numpy.ndarray
        float32 (n, C): 0 where there is no item, and where all are alike.
    """
    row, column = np.nonzero(np.isfinite(lists))
    standardized = np.zeros(lists.shape, np.float32)
    standardized[row, column] = ListScale.of(lists).standardized(row, lists[row, column])
    return standardized
