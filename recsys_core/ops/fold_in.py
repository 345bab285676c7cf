"""Vectors for rows of interactions, given the items: :func:`solve_rows` in general, :func:`fold_in` for ALS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recsys_core import _core
from recsys_core.ops import _validate, cuda
from recsys_core.ops.cuda_devices import chosen_device
from recsys_core.ops.row_ridges import row_ridges

if TYPE_CHECKING:
    import numpy.typing as npt

    from recsys_core.types import CSR, FloatArray

__all__ = ["fold_in", "solve_rows"]


def solve_rows(
    histories: CSR,
    item_factors: npt.ArrayLike,
    *,
    prior: npt.ArrayLike,
    confidence: tuple[float, float],
    target: tuple[float, float],
    item_offset: npt.ArrayLike | None = None,
    ridge: npt.ArrayLike | None = None,
    non_negative: bool = False,
    n_threads: int = 0,
) -> FloatArray:
    r"""Solve one regularized least-squares problem a row.

    .. math::

        \Big( P + \lambda_u I + \sum_i (c_0 + c_1 r_{ui}) \, y_i y_i^T \Big) x_u
        = \sum_i (t_0 + t_1 r_{ui} - o_i) \, y_i

    The sums run over the stored entries of row u.

    Parameters
    ----------
    histories
        CSR, shape (n_rows, n_items), float32, finite.  Columns may be in any order; one that repeats counts each time.
    item_factors
        float32, shape (n_items, f): row i is :math:`y_i`.
    prior
        P, float32, shape (f, f), symmetric (its upper triangle is read).
    confidence
        :math:`(c_0, c_1)`.
    target
        :math:`(t_0, t_1)`.
    item_offset
        float32, shape (n_items,): :math:`o_i`, such as an item's mean; None means zeros.
    ridge
        float32, shape (n_rows,): :math:`\lambda_u`, what each row adds to the diagonal of P; None means zeros.
    non_negative
        Whether solutions must not be negative.  Then :math:`x_u \ge 0` minimizes the quadratic function whose gradient
        is the difference of the two sides above.
    n_threads
        Number of threads; 0 means :func:`max_threads`.  It does not change the result.

    Returns
    -------
    numpy.ndarray
        float32, shape (n_rows, f); zeros for a row without entries.

    Raises
    ------
    DataError
        A number is not finite, a column is out of range, or the system of a row is not positive definite in float32;
        the message names the place.  In `item_factors` and `item_offset`, only items that a row has are looked at.
    ShapeError
        The shapes do not fit together.
    DTypeError
        `histories` is not CSR, or an array cannot be converted.
    ConfigError
        A setting is not a number or not finite.

    Notes
    -----
    Two uses: implicit feedback has ``prior = Y^T Y + lambda I``, ``confidence = (0, alpha)`` and
    ``target = (1, alpha)`` (see :func:`fold_in`); ridge regression on the stored values has ``prior = lambda I``,
    ``confidence = (1, 0)`` and ``target = (0, 1)``.

    By Cholesky factorization in float32: ``n f^2 / 2 + f^3 / 6`` multiply-adds for a row of n entries.  With
    `non_negative` by coordinate descent, ``f^2`` a sweep in place of ``f^3 / 6``, until no coordinate's gradient moves
    by more than 1e-6 of the largest right side, or for 2,000 sweeps.  Every sum has a fixed order, so a row's solution
    does not depend on the other rows or on threads.

    Examples
    --------
    The least-squares estimate of one number from four noisy ones:

    >>> import numpy as np
    >>> import scipy.sparse as sp
    >>> ratings = sp.csr_matrix(np.array([[3, 5, 4, 4]], dtype=np.float32))
    >>> solve_rows(ratings, np.ones((4, 1)), prior=np.zeros((1, 1)), confidence=(1, 0), target=(0, 1))
    array([[4.]], dtype=float32)
    """
    rows = _validate.csr_arrays(histories, "histories")
    factors = _validate.matrix(item_factors, "item_factors")
    offset = None if item_offset is None else _validate.vector(item_offset, "item_offset", size=factors.shape[0])
    ridges = None if ridge is None else _validate.vector(ridge, "ridge", size=len(rows[0]) - 1)
    return _core.solve_rows(
        rows,
        factors,
        prior=_validate.matrix(prior, "prior", n_columns=factors.shape[1]),
        confidence=_validate.pair(confidence, "confidence"),
        target=_validate.pair(target, "target"),
        item_offset=offset,
        ridge=ridges,
        non_negative=bool(non_negative),
        n_threads=_validate.integer(n_threads, "n_threads", minimum=0),
    )


def fold_in(
    histories: CSR,
    item_factors: npt.ArrayLike,
    *,
    regularization: float = 0.01,
    regularization_exponent: float = 0.0,
    alpha: float = 1.0,
    unobserved_weight: float = 1.0,
    n_threads: int = 0,
    device: str = "cpu",
) -> FloatArray:
    """Compute the vectors that :func:`als` would give to new users, from their interactions and the item factors.

    It is the half-sweep over users (Hu et al. 2008, equation 4) with the items held: the exact minimum of the
    objective of :func:`als` over each user's vector.

    Parameters
    ----------
    histories
        CSR, shape (n_rows, n_items), float32, finite: the new users' interactions.  Entries that repeat within a row
        are summed.
    item_factors
        float32, shape (n_items, f), as from :func:`als`.
    regularization
        lambda, at least 0, as given to :func:`als`.
    regularization_exponent
        nu, at least 0, as given to :func:`als`: a user of n items has ``lambda (n + w n_items)^nu``.
    alpha
        At least 0, as given to :func:`als`.
    unobserved_weight
        w, in [0, 1], as given to :func:`als`.
    n_threads
        Number of threads; 0 means :func:`max_threads`.  It does not change the result.
    device
        ``"cpu"``, ``"cuda"`` or ``"cuda:<number>"``; see :mod:`recsys_core.ops.cuda`.

    Returns
    -------
    numpy.ndarray
        float32, shape (n_rows, f); zeros for a row without entries.

    Raises
    ------
    DataError
        A value is not finite, a column is out of range, or a system is singular in float32.
    ShapeError
        The shapes do not fit together.
    DTypeError
        `histories` is not CSR, or an array cannot be converted.
    ConfigError
        A setting is out of range, or `item_factors` too wide for `device`.
    DeviceError
        `device` cannot be used.

    Notes
    -----
    Each call computes ``Y^T Y``, ``n_items f^2 / 2`` multiply-adds.  To serve many small batches, compute that matrix
    once and call :func:`solve_rows`.

    Examples
    --------
    >>> import numpy as np
    >>> import scipy.sparse as sp
    >>> history = sp.csr_matrix(np.array([[1, 0, 0]], dtype=np.float32))
    >>> fold_in(history, np.eye(3, 2), regularization=1.0, alpha=2.0)
    array([[0.75, 0.  ]], dtype=float32)
    """
    if chosen_device(device) is not None:
        solved = cuda.fold_in(
            histories,
            item_factors,
            regularization=regularization,
            regularization_exponent=regularization_exponent,
            alpha=alpha,
            unobserved_weight=unobserved_weight,
            device=device,
        )
        return solved.numpy()
    ridge = _validate.number(regularization, "regularization", minimum=0.0)
    exponent = _validate.number(regularization_exponent, "regularization_exponent", minimum=0.0)
    weight = _validate.unobserved_weight(unobserved_weight)
    rows = _validate.unique_csr_arrays(histories, "histories")
    factors = _validate.matrix(item_factors, "item_factors")
    slope = _validate.number(alpha, "alpha", minimum=0.0)
    threads = _validate.integer(n_threads, "n_threads", minimum=0)
    prior = np.float32(weight) * _core.gram(factors, n_threads=threads)
    ridges = None
    if exponent == 0.0:
        prior.flat[:: factors.shape[1] + 1] += ridge
    else:
        ridges = row_ridges(rows[0], len(factors), ridge, exponent, weight)
    return _core.solve_rows(
        rows,
        factors,
        prior=prior,
        confidence=(1.0 - weight, slope),
        target=(1.0, slope),
        item_offset=None,
        ridge=ridges,
        non_negative=False,
        n_threads=threads,
    )
