"""NumPy float64 specifications of the factorisation operations: what the compiled core must compute.

Each function is written for reading: one formula, one loop over rows, no concern for speed or memory.  The tests
hold the compiled operations to these; nothing else in the library calls them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from recsys_core.types import CSR

    Float64Array = npt.NDArray[np.float64]

__all__ = [
    "als_reference",
    "als_start",
    "implicit_loss_reference",
    "item_neighbors_reference",
    "row_regularization",
    "sgd_pulls_reference",
    "sgd_step_reference",
    "slim_kkt_violation",
    "slim_reference",
    "solve_rows_reference",
]

_MASK = (1 << 64) - 1


def _mix(z: int) -> int:
    """The output function of SplitMix64 (Steele, Lea and Flood 2014)."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def als_start(n_items: int, n_factors: int, random_state: int) -> Float64Array:
    """Initial item factors: entry number m is uniform in (-0.1 sqrt(3/f), 0.1 sqrt(3/f)) by counter m.

    The standard deviation is 0.1 / sqrt(f), as in Rendle et al. 2021 (arXiv 2110.14037, section 4).  The draw is
    integer arithmetic and one multiplication, so it gives the same numbers on every machine.
    """
    key = _mix((random_state + 0x9E3779B97F4A7C15) & _MASK)
    scale = np.float32(0.1 * np.sqrt(3.0 / n_factors))
    draws = [_mix((key + (m + 1) * 0x9E3779B97F4A7C15) & _MASK) >> 40 for m in range(n_items * n_factors)]
    unit = (np.array(draws, dtype=np.float64) + 0.5) * 2.0**-23 - 1.0
    return (unit.astype(np.float32) * scale).astype(np.float64).reshape(n_items, n_factors)


def solve_rows_reference(
    histories: CSR,
    item_factors: npt.NDArray[Any],
    *,
    prior: npt.NDArray[Any],
    confidence: tuple[float, float],
    target: tuple[float, float],
    item_offset: npt.NDArray[Any] | None = None,
    ridge: npt.NDArray[Any] | None = None,
) -> Float64Array:
    """Solve ``(P + lambda I + sum (c0 + c1 r) y y^T) x = sum (t0 + t1 r - o) y`` for each row; an empty one gives 0."""
    Y = np.asarray(item_factors, dtype=np.float64)
    offset = np.zeros(len(Y)) if item_offset is None else np.asarray(item_offset, dtype=np.float64)
    X = np.zeros((histories.shape[0], Y.shape[1]))
    for u in range(histories.shape[0]):
        row = slice(int(histories.indptr[u]), int(histories.indptr[u + 1]))
        items, r = histories.indices[row], histories.data[row].astype(np.float64)
        if len(items):
            own = 0.0 if ridge is None else float(ridge[u])
            A = prior + own * np.eye(Y.shape[1]) + (Y[items].T * (confidence[0] + confidence[1] * r)) @ Y[items]
            X[u] = np.linalg.solve(A, Y[items].T @ (target[0] + target[1] * r - offset[items]))
    return X


def row_regularization(
    interactions: CSR, *, regularization: float, regularization_exponent: float, unobserved_weight: float
) -> Float64Array:
    """Each row's lambda, ``lambda (n_u + w n_items)^nu``."""
    sizes = np.diff(interactions.indptr) + unobserved_weight * interactions.shape[1]
    return np.asarray(regularization * sizes**regularization_exponent)


def implicit_loss_reference(
    interactions: CSR,
    user_factors: npt.NDArray[Any],
    item_factors: npt.NDArray[Any],
    *,
    regularization: float,
    alpha: float,
    regularization_exponent: float = 0.0,
    unobserved_weight: float = 1.0,
) -> float:
    """``sum_ui c (p - x.y)^2 + sum_u lambda_u |x|^2 + sum_i lambda_i |y|^2`` over all cells.

    ``p`` = is it stored, ``c = 1 + alpha r`` where it is and ``c = w`` elsewhere.
    """
    X, Y = np.asarray(user_factors, dtype=np.float64), np.asarray(item_factors, dtype=np.float64)
    squares = unobserved_weight * (X @ Y.T) ** 2
    coo = interactions.tocoo()
    stored = 1.0 - np.einsum("nf,nf->n", X[coo.row], Y[coo.col])
    squares[coo.row, coo.col] = (1.0 + alpha * coo.data.astype(np.float64)) * stored**2
    shape = {
        "regularization": regularization,
        "regularization_exponent": regularization_exponent,
        "unobserved_weight": unobserved_weight,
    }
    penalty = row_regularization(interactions, **shape) @ (X**2).sum(axis=1)
    penalty += row_regularization(interactions.T.tocsr(), **shape) @ (Y**2).sum(axis=1)
    return float(squares.sum() + penalty)


def als_reference(
    interactions: CSR,
    n_factors: int,
    *,
    regularization: float,
    alpha: float,
    n_iterations: int,
    regularization_exponent: float = 0.0,
    unobserved_weight: float = 1.0,
    random_state: int = 0,
) -> tuple[Float64Array, Float64Array]:
    """Exact alternating least squares from :func:`als_start`: users given items, then items given users."""

    def solve(matrix: CSR, given: Float64Array) -> Float64Array:
        ridges = row_regularization(
            matrix,
            regularization=regularization,
            regularization_exponent=regularization_exponent,
            unobserved_weight=unobserved_weight,
        )
        shared = unobserved_weight * given.T @ given
        confidence, target = (1.0 - unobserved_weight, alpha), (1.0, alpha)
        return solve_rows_reference(matrix, given, prior=shared, confidence=confidence, target=target, ridge=ridges)

    Y = als_start(interactions.shape[1], n_factors, random_state)
    X = np.zeros((interactions.shape[0], n_factors))
    for _ in range(n_iterations):
        X = solve(interactions, Y)
        Y = solve(interactions.T.tocsr(), X)
    return X, Y


def sgd_pulls_reference(
    objective: str,
    x: Float64Array,
    items: Float64Array,
    bias: Float64Array,
    *,
    weight: float = 1.0,
    rank_losses: Float64Array | None = None,
) -> tuple[Float64Array, float]:
    """How strongly a step pulls each item towards the user, and the loss, by the definitions of the objectives.

    Row 0 of `items` is the one that the user has; the others were drawn.  A pull is the derivative of minus the loss by
    the item's score.  ``rank_losses[t]`` is L(rank) after t + 1 draws, for "warp".
    """
    scores = items @ x + bias
    pulls = np.zeros(len(scores))
    if objective == "bpr":
        margin = scores[0] - scores[1]
        pulls[:2] = np.array([1.0, -1.0]) / (1.0 + np.exp(margin))
        return pulls, float(np.log1p(np.exp(-margin)))
    if objective == "warp":
        assert rank_losses is not None
        for trial, score in enumerate(scores[1:]):
            violation = 1.0 - scores[0] + score
            if violation > 0.0:
                pulls[0], pulls[1 + trial] = rank_losses[trial], -rank_losses[trial]
                return pulls, float(rank_losses[trial] * violation)
        return pulls, 0.0
    signs = np.where(np.arange(len(scores)) == 0, 1.0, -1.0)
    weights = np.where(signs > 0, weight, 1.0)
    pulls = weights * signs / (1.0 + np.exp(signs * scores))
    return pulls, float((weights * np.log1p(np.exp(-signs * scores))).sum())


def sgd_step_reference(
    parameters: dict[str, Float64Array],
    squares: dict[str, Float64Array] | None,
    gradients: dict[str, Float64Array],
    *,
    rate: float,
    regularization: float,
) -> None:
    """Move each parameter along its gradient, in place.

    A parameter is a matrix of rows or a vector of biases.  With `squares`, Adagrad's sums, one for each row or bias, a
    row's rate is `rate` over the root of its sum of mean squared gradients, of the loss and of the regularization.
    """
    for name, gradient in gradients.items():
        value = parameters[name]
        touched = np.abs(gradient).reshape(len(gradient), -1).max(axis=1) > 0.0
        rates = np.full(len(gradient), rate)
        if squares is not None:
            parts = gradient**2 + (regularization * value) ** 2
            squares[name][touched] += parts.reshape(len(gradient), -1).mean(axis=1)[touched]
            rates[touched] /= np.sqrt(squares[name][touched])
        rates = rates.reshape((-1,) + (1,) * (value.ndim - 1))
        moved = value + rates * (gradient - regularization * value)
        value[touched] = moved[touched]


def slim_reference(
    interactions: CSR, *, l1: float, l2: float, n_iterations: int, positive_only: bool = True
) -> Float64Array:
    """Cyclic coordinate descent, column by column, for ``1/2 |a_j - A w|^2 + l2/2 |w|^2 + l1 |w|_1``, ``w_j = 0``."""
    A = interactions.toarray().astype(np.float64)
    G = A.T @ A
    n_items = len(G)
    W = np.zeros((n_items, n_items))
    for j in range(n_items):
        w = W[:, j]
        for _ in range(n_iterations):
            for k in range(n_items):
                if k == j or G[k, k] == 0.0:
                    continue
                pull = G[k, j] - G[k] @ w + G[k, k] * w[k]
                shrunk = max(abs(pull) - l1, 0.0) * np.sign(pull)
                w[k] = max(shrunk, 0.0) / (G[k, k] + l2) if positive_only else shrunk / (G[k, k] + l2)
    return W


def slim_kkt_violation(
    interactions: CSR, weights: npt.NDArray[Any], *, l1: float, l2: float, positive_only: bool
) -> float:
    """How far any coordinate is from its optimality condition, in units of the gradient.

    With ``g = G w + l2 w - G_j``: where ``w_k > 0``, ``g_k = -l1``; where ``w_k < 0``, ``g_k = l1``; where ``w_k = 0``,
    ``|g_k| <= l1``, of which the side ``g_k > l1`` is free when weights may not be negative.
    """
    A = interactions.toarray().astype(np.float64)
    G = A.T @ A
    W = np.asarray(weights, dtype=np.float64)
    gradient = G @ W + l2 * W - G
    at_zero = -gradient - l1 if positive_only else np.abs(gradient) - l1
    violation = np.where(W == 0.0, np.maximum(at_zero, 0.0), np.abs(gradient + l1 * np.sign(W)))
    np.fill_diagonal(violation, 0.0)
    return float(violation.max(initial=0.0))


def item_neighbors_reference(item_vectors: CSR, k: int) -> Float64Array:
    """Dense matrix of each row's k largest non-zero inner products with other rows; ties go to the lower index."""
    V = item_vectors.toarray().astype(np.float64)
    products = V @ V.T
    np.fill_diagonal(products, 0.0)
    kept = np.zeros_like(products)
    for i, row in enumerate(products):
        candidates = [j for j in np.lexsort((np.arange(len(row)), -row)) if row[j] != 0.0]
        kept[i, candidates[:k]] = row[candidates[:k]]
    return kept
