"""Matrix factorization that learns to rank, by stochastic gradients on pairs: :func:`bpr`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recsys_core import _core
from recsys_core.errors import ConfigError
from recsys_core.ops import _validate

if TYPE_CHECKING:
    from collections.abc import Callable

    from recsys_core.types import CSR, FloatArray

__all__ = ["bpr"]


def bpr(
    interactions: CSR,
    n_factors: int = 64,
    *,
    learning_rate: float = 0.05,
    regularization: float = 0.01,
    n_epochs: int = 100,
    random_state: int = 0,
    n_threads: int = 0,
    deterministic: bool = False,
    callback: Callable[[int, float], object] | None = None,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    r"""Factorize implicit feedback so that each user's items score above the others.

    .. math::

        \min \sum_{(u, i, j)} -\log \sigma(s_{ui} - s_{uj})
        + \frac{\lambda}{2} \big( |x_u|^2 + |y_i|^2 + |y_j|^2 + b_i^2 + b_j^2 \big),
        \qquad s_{ui} = x_u^T y_i + b_i

    An epoch visits every stored entry (u, i) once, in a fresh random order, each with one item j drawn uniformly from
    those that u has no entry for.

    Parameters
    ----------
    interactions
        CSR, shape (n_users, n_items).  Only the structure counts; an entry that repeats within a row counts once.
    n_factors
        Length f of the vectors, at least 1.
    learning_rate
        Step length, above 0 and constant.
    regularization
        lambda, at least 0, applied to what a triple touches, at each step.
    n_epochs
        Number of epochs, at least 1.
    random_state
        Seed, in [0, 2**64).  Vectors start uniform in ``0.1 * sqrt(3 / f) * (-1, 1)``, biases at zero.
    n_threads
        Number of threads; 0 means :func:`max_threads`.
    deterministic
        Whether the result must have the same bits for any number of threads and in every run.  See the notes.
    callback
        Called as ``callback(epoch, loss)`` after each epoch, counted from 0, with the mean of
        :math:`-\log \sigma(s_{ui} - s_{uj})` over the epoch's triples, each taken just before its step; a true return
        value stops.  An exception it raises ends the call and arrives at the caller.

    Returns
    -------
    user_factors : numpy.ndarray
        X, float32, shape (n_users, n_factors).
    item_factors : numpy.ndarray
        Y, float32, shape (n_items, n_factors).
    item_bias : numpy.ndarray
        b, float32, shape (n_items,).

    Raises
    ------
    DataError
        No interactions, or a column out of range.
    DTypeError
        `interactions` is not CSR.
    ConfigError
        A setting is out of range, or `learning_rate` is so large that the factors diverge.

    Notes
    -----
    By default threads share the factors without locks: now and then one overwrites another's step, which does not
    hurt the ranking but makes results differ in detail from run to run.  One thread always repeats.

    ``deterministic=True`` deals users and items at random into 16 blocks each, anew every epoch, and works through
    the 16 x 16 cells in 16 rounds; cells of one round share no user and no item.  Each thread order then gives the same
    bits, at most 16 threads are of use, and j comes from the block of i (uniform over the epochs, since blocks are
    dealt anew).  Data with fewer than 1,024 items, 16 users or 16,384 entries is one block, on one thread.

    A user with an entry for every item has no j and is skipped: its vector stays where it started.

    Cost: ``O(nnz (f + log(row length)))`` an epoch.  Memory: the factors twice and 10 bytes an entry.  Ctrl-C takes
    effect between epochs.

    References
    ----------
    S. Rendle, C. Freudenthaler, Z. Gantner and L. Schmidt-Thieme, "BPR: Bayesian Personalized Ranking from Implicit
    Feedback", UAI 2009, equation 5 and figure 4; we visit entries without replacement and add the item bias.
    B. Recht, C. Re, S. Wright and F. Niu, "Hogwild!", NIPS 2011, for steps without locks.  R. Gemulla, E. Nijkamp,
    P. Haas and Y. Sismanis, "Large-Scale Matrix Factorization with Distributed Stochastic Gradient Descent", KDD
    2011, for the blocks.

    Examples
    --------
    >>> import numpy as np
    >>> import scipy.sparse as sp
    >>> interactions = sp.csr_matrix(np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1]], dtype=np.float32))
    >>> user_factors, item_factors, item_bias = bpr(interactions, n_factors=4, n_epochs=200, deterministic=True)
    >>> scores = user_factors @ item_factors.T + item_bias
    >>> np.sort(np.argsort(-scores, axis=1)[:, :2], axis=1)
    array([[0, 1],
           [0, 1],
           [2, 3]])
    """
    rate = _validate.number(learning_rate, "learning_rate")
    if rate <= 0.0:
        raise ConfigError(f"learning_rate must be above 0, got {rate:g}")
    return _core.bpr(
        _validate.unique_csr_arrays(interactions, "interactions"),
        _validate.integer(n_factors, "n_factors", minimum=1),
        learning_rate=rate,
        regularization=_validate.number(regularization, "regularization", minimum=0.0),
        n_epochs=_validate.integer(n_epochs, "n_epochs", minimum=1),
        random_state=_validate.random_seed(random_state),
        n_threads=_validate.integer(n_threads, "n_threads", minimum=0),
        deterministic=bool(deterministic),
        callback=callback,
    )
