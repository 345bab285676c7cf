"""Matrix factorization that predicts ratings, by stochastic gradient steps: :func:`explicit_mf`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from recsys_core.ops.sgd import SgdFactors, train

if TYPE_CHECKING:
    from collections.abc import Callable

    from recsys_core.types import CSR

__all__ = ["explicit_mf"]


def explicit_mf(
    ratings: CSR,
    n_factors: int = 32,
    *,
    learning_rate: float = 0.05,
    regularization: float = 12.0,
    n_epochs: int = 50,
    optimizer: Literal["adagrad", "sgd"] = "adagrad",
    schedule: Literal["linear", "constant"] = "linear",
    initial: SgdFactors | None = None,
    random_state: int = 0,
    n_threads: int = 0,
    callback: Callable[[int, float], object] | None = None,
    validate: Callable[[SgdFactors], float | None] | None = None,
    patience: int = 5,
) -> SgdFactors:
    r"""Factorize the observed ratings, with biases of users and items.

    .. math::

        \min \sum_{(u, i)} (r_{ui} - a_u - b_i - x_u^T y_i)^2
        + \lambda \sum_u (|x_u|^2 + a_u^2) + \lambda \sum_i (|y_i|^2 + b_i^2)

    The first sum runs over the stored entries.  Take their mean away first, or the biases have to learn it.

    Parameters
    ----------
    ratings
        CSR, shape (n_users, n_items), float32, finite; a stored zero is a rating.  Entries that repeat within a row are
        summed.
    n_factors
        Length f of the vectors, at least 1.
    learning_rate
        Step length, above 0.
    regularization
        lambda, at least 0, the same for every row: an entry's step applies the n-th part of it to a row of n entries.
    n_epochs
        Number of epochs, at least 1; each visits every entry once, in a fresh order.
    optimizer, schedule
        As in :class:`SgdOptions`.
    initial
        What to go on from: the result of a fit; None starts at random.
    random_state
        Seed, in [0, 2**64).
    n_threads
        Number of threads; 0 means :func:`max_threads`.  It does not change the result.
    callback
        As in :class:`SgdOptions`; the loss is the mean squared error.
    validate, patience
        As in :class:`SgdOptions`.

    Returns
    -------
    SgdFactors
        With ``user_bias``.

    Raises
    ------
    DataError
        No ratings, one that is not finite, or a column out of range.
    DTypeError
        `ratings` is not CSR.
    ShapeError
        `initial` does not fit.
    ConfigError
        An option is out of range, or the learning rate is so large that the factors diverge.

    Notes
    -----
    Blocks, threads and memory as in :func:`bpr`, and half of its cost, since no item is drawn.

    References
    ----------
    Y. Koren, R. Bell and C. Volinsky, "Matrix Factorization Techniques for Recommender Systems", IEEE Computer 42(8),
    2009, equation 5 and the section on stochastic gradient descent, with lambda not multiplied by a row's entries.

    Examples
    --------
    >>> import numpy as np
    >>> import scipy.sparse as sp
    >>> ratings = sp.csr_matrix(np.array([[5, 1, 0], [5, 0, 1], [4, 1, 1]], dtype=np.float32))
    >>> X, Y, item_bias = fitted = explicit_mf(ratings, n_factors=2, regularization=0.01, n_epochs=500)
    >>> predicted = X @ Y.T + item_bias + fitted.user_bias[:, None]
    >>> bool(np.abs((ratings - predicted)[ratings.nonzero()]).max() < 0.3)
    True
    """
    return train(
        ratings,
        n_factors,
        objective="squared",
        learning_rate=learning_rate,
        regularization=regularization,
        n_epochs=n_epochs,
        optimizer=optimizer,
        schedule=schedule,
        reject_positives=False,
        initial=initial,
        random_state=random_state,
        n_threads=n_threads,
        callback=callback,
        validate=validate,
        patience=patience,
    )
