"""The NumPy specification of the ranking operations: plain, in float64, one query at a time.

Tests compare the compiled core with it; nothing else uses it.  Inputs are taken as valid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_core.types import Ranking

if TYPE_CHECKING:
    import numpy.typing as npt

    from recsys_core.types import CSR

__all__ = ["item_item_topk", "topk"]


def topk(
    queries: npt.ArrayLike,
    item_factors: npt.ArrayLike,
    k: int,
    *,
    item_bias: npt.ArrayLike | None = None,
    metric: str = "dot",
    exclude: CSR | None = None,
    allow: npt.ArrayLike | CSR | None = None,
    deny: npt.ArrayLike | None = None,
) -> Ranking:
    """Specify :func:`recsys_core.ops.topk`."""
    left = np.asarray(queries, dtype=np.float64)
    right = np.asarray(item_factors, dtype=np.float64)
    if metric == "cosine":
        left, right = _unit_rows(left), _unit_rows(right)
    scores = left @ right.T
    if item_bias is not None:
        scores = scores + np.asarray(item_bias, dtype=np.float64)
    return rank(scores, k, exclude=exclude, allow=allow, deny=deny)


def item_item_topk(
    histories: CSR,
    weights: Any,
    k: int,
    *,
    exclude: CSR | None = None,
    allow: npt.ArrayLike | CSR | None = None,
    deny: npt.ArrayLike | None = None,
) -> Ranking:
    """Specify :func:`recsys_core.ops.item_item_topk`."""
    dense = weights.toarray() if hasattr(weights, "toarray") else np.asarray(weights)
    scores = histories.toarray().astype(np.float64) @ dense.astype(np.float64)
    return rank(scores, k, exclude=exclude, allow=allow, deny=deny)


def rank(
    scores: npt.NDArray[np.float64],
    k: int,
    *,
    exclude: CSR | None = None,
    allow: Any = None,
    deny: npt.ArrayLike | None = None,
) -> Ranking:
    """Specify the filters and the order rule, given all scores, shape (n_queries, n_items)."""
    n_queries, n_items = scores.shape
    indices = np.full((n_queries, k), -1, dtype=np.int64)
    best = np.full((n_queries, k), -np.inf, dtype=np.float32)
    for query in range(n_queries):
        admissible = np.ones(n_items, dtype=bool)
        if allow is not None:
            each = hasattr(allow, "tocsr")
            allowed = allow.indices[allow.indptr[query] : allow.indptr[query + 1]] if each else allow
            admissible[:] = False
            admissible[np.asarray(allowed, dtype=np.int64)] = True
        if deny is not None:
            admissible[np.asarray(deny, dtype=np.int64)] = False
        if exclude is not None:
            admissible[exclude.indices[exclude.indptr[query] : exclude.indptr[query + 1]]] = False
        admissible &= scores[query] > -np.inf  # false for NaN too
        items = np.flatnonzero(admissible)
        order = items[np.argsort(-scores[query, items], kind="stable")][:k]
        indices[query, : len(order)] = order
        with np.errstate(over="ignore"):  # what float32 cannot hold is inf there too
            best[query, : len(order)] = scores[query, order]
    return Ranking(indices, best)


def _unit_rows(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    return matrix / np.where(norms > 0, norms, 1)
