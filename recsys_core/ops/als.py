"""Implicit-feedback matrix factorization by alternating least squares: :func:`als`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from recsys_core import _core
from recsys_core.errors import ConfigError
from recsys_core.ops import _validate

if TYPE_CHECKING:
    from collections.abc import Callable

    from recsys_core.types import CSR, FloatArray

__all__ = ["als"]

_SOLVERS = ("auto", "cholesky", "cg")


def als(
    interactions: CSR,
    n_factors: int = 64,
    *,
    regularization: float = 0.01,
    alpha: float = 1.0,
    n_iterations: int = 15,
    solver: Literal["auto", "cholesky", "cg"] = "auto",
    random_state: int = 0,
    n_threads: int = 0,
    callback: Callable[[int, float], object] | None = None,
    compute_loss: bool = True,
) -> tuple[FloatArray, FloatArray]:
    r"""Factorize implicit feedback by alternating least squares.

    .. math::

        \min_{X, Y} \sum_{u, i} c_{ui} (p_{ui} - x_u^T y_i)^2
        + \lambda \Big( \sum_u |x_u|^2 + \sum_i |y_i|^2 \Big)

    The sum runs over all users and items.  A stored entry r has preference p = 1 and confidence c = 1 + alpha r; every
    other cell has p = 0 and c = 1.

    Parameters
    ----------
    interactions
        CSR, shape (n_users, n_items), float32, finite and not negative.  Entries that repeat within a row are summed.
        A stored zero counts as an interaction of confidence 1.
    n_factors
        Length f of the vectors, at least 1.
    regularization
        lambda, at least 0: a plain constant, not scaled by the number of entries of a row.
    alpha
        Growth of confidence with the stored value, at least 0.
    n_iterations
        Number of iterations, at least 1; each solves for all users and then for all items.
    solver
        "cholesky" solves each row exactly.  "cg" takes 3 steps of conjugate gradients from the row's present value,
        which is close to exact after some iterations and much cheaper for many factors.  "auto" is "cholesky" up to
        64 factors and "cg" above.
    random_state
        Seed, in [0, 2**64).  Items start uniform in ``0.1 * sqrt(3 / f) * (-1, 1)``, users at zero.
    n_threads
        Number of threads; 0 means :func:`max_threads`.  It does not change the result.
    callback
        Called as ``callback(iteration, loss)`` after each iteration, counted from 0, with the value of the objective;
        a true return value stops.  An exception it raises ends the call and arrives at the caller.
    compute_loss
        Whether to compute the objective for `callback`; where False it gets NaN.  Say False for a callback that only
        reports progress, and iterations cost what they cost without one.

    Returns
    -------
    user_factors : numpy.ndarray
        X, float32, shape (n_users, n_factors).
    item_factors : numpy.ndarray
        Y, float32, shape (n_items, n_factors).  A user or item without interactions has zeros.

    Raises
    ------
    DataError
        No interactions, a negative or non-finite one, or a system that is singular in float32 (only with "cholesky";
        the message names the row, and a larger `regularization` mends it).
    DTypeError
        `interactions` is not CSR.
    ConfigError
        A setting is out of range.

    Notes
    -----
    With ``cost = nnz f^2 + (n_users + n_items) f^3 / 6`` multiply-adds an iteration for "cholesky" and
    ``6 nnz f + 3 (n_users + n_items) f^2`` for "cg".  The loss, where there is a callback that is to have it, costs
    ``nnz f`` more: the sum over all cells is the inner product of the two Gram matrices.  Memory: the factors twice and
    the interactions once more (transposed).

    All sums are in float32 and in an order that depends on the data alone, so the result has the same bits for any
    number of threads; it differs in the last places between instruction sets (:func:`isa`).  Ctrl-C takes effect
    between iterations.

    References
    ----------
    Y. Hu, Y. Koren and C. Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008, equations 3
    (objective), 4 and 5 (the two solves).  G. Takacs, I. Pilaszy and D. Tikk, "Applications of the Conjugate Gradient
    Method for Implicit Feedback Collaborative Filtering", RecSys 2011, for "cg".  The starting scale is that of
    S. Rendle et al., "Revisiting the Performance of iALS on Item Recommendation Benchmarks", 2021, section 4, with
    uniform in place of normal numbers.

    Examples
    --------
    >>> import numpy as np
    >>> import scipy.sparse as sp
    >>> interactions = sp.csr_matrix(np.array([[1, 1, 0, 0], [1, 2, 0, 0], [0, 0, 1, 3]], dtype=np.float32))
    >>> user_factors, item_factors = als(interactions, n_factors=2, alpha=10.0)
    >>> (user_factors @ item_factors.T > 0.5).astype(int)
    array([[1, 1, 0, 0],
           [1, 1, 0, 0],
           [0, 0, 1, 1]])
    """
    if solver not in _SOLVERS:
        raise ConfigError(f"solver must be one of {', '.join(_SOLVERS)}, got {solver!r}")
    return _core.als(
        _validate.unique_csr_arrays(interactions, "interactions"),
        _validate.integer(n_factors, "n_factors", minimum=1),
        regularization=_validate.number(regularization, "regularization", minimum=0.0),
        alpha=_validate.number(alpha, "alpha", minimum=0.0),
        n_iterations=_validate.integer(n_iterations, "n_iterations", minimum=1),
        solver=solver,
        random_state=_validate.random_seed(random_state),
        n_threads=_validate.integer(n_threads, "n_threads", minimum=0),
        callback=callback,
        compute_loss=bool(compute_loss),
    )
