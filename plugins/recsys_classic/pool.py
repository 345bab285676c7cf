"""What the re-rankers share: a pool of candidates, and the choice from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from recsys_core.errors import ConfigError
from recsys_core.types import IndexArray, Ranking

__all__ = ["check_k", "relevance", "take"]


def check_k(k: int, pool: Ranking) -> None:
    """Refuse to choose none, or more than the pool is wide."""
    width = pool.indices.shape[1]
    if not 1 <= k <= width:
        raise ConfigError(f"k: expected 1 to {width}, the width of the pool, got {k}; ask for a longer pool.")


def relevance(pool: Ranking, dtype: Any = np.float32) -> npt.NDArray[Any]:
    """Scores mapped linearly to [0, 1] a row; 0 where they are all the same, and in padding."""
    present = pool.indices >= 0
    scores = pool.scores.astype(dtype)
    low = scores.min(axis=1, where=present, initial=np.inf, keepdims=True)
    span = scores.max(axis=1, where=present, initial=-np.inf, keepdims=True) - low
    mapped = np.zeros_like(scores)
    np.divide(scores - low, span, out=mapped, where=present & (span > 0))
    return mapped


def take(pool: Ranking, places: IndexArray) -> Ranking:
    """What stands at some places of each row, (n_queries, k)."""
    return Ranking(np.take_along_axis(pool.indices, places, axis=1), np.take_along_axis(pool.scores, places, axis=1))
