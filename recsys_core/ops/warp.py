"""Matrix factorization for the top of the list: :func:`warp`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from recsys_core.ops import cuda_sgd
from recsys_core.ops.cuda_devices import chosen_device
from recsys_core.ops.sgd import SgdFactors, SgdOptions, train, trials

if TYPE_CHECKING:
    from recsys_core.types import CSR

__all__ = ["warp"]


def warp(
    interactions: CSR,
    n_factors: int = 64,
    *,
    max_trials: int = 10,
    device: str = "cpu",
    **options: Unpack[SgdOptions],
) -> SgdFactors:
    r"""Factorize implicit feedback so that each user's items come first, minding the top of the list most.

    .. math::

        \min \sum_{(u, i)} \frac{L(r_{ui})}{L(n - 1)} \max(0, 1 - s_{ui} + s_{uj}),
        \qquad s_{ui} = x_u^T y_i + b_i, \qquad L(r) = \sum_{k=1}^{r} \frac{1}{k}

    with the regularization of :func:`bpr` and n items.  For each stored entry (u, i), items that u has no entry for are
    drawn until one, j, violates the margin: its score is above :math:`s_{ui} - 1`.  If that took N draws, i is taken to
    have the rank :math:`r_{ui} = \lfloor (n - 1) / N \rfloor`.  Where no draw violates, nothing is learned.

    Parameters
    ----------
    interactions
        CSR, shape (n_users, n_items), float32, finite and not negative.  Only the structure counts: a stored zero is an
        entry like any other, and one that repeats within a row counts once.
    n_factors
        Length f of the vectors, at least 1.
    max_trials
        Largest number N of draws for an entry, at least 1.  More finds rarer violations, near the top, and costs
        more.
    device
        ``"cpu"``, ``"cuda"`` or ``"cuda:<number>"``; a device does not repeat to the bit.
        :func:`recsys_core.ops.cuda.warp` leaves the result there.
    **options
        Of the training: see :class:`SgdOptions`.

    Returns
    -------
    SgdFactors
        Unpacks into ``user_factors, item_factors, item_bias``.

    Raises
    ------
    DataError
        No interactions, a negative or non-finite one, a column out of range, or a feature or initial factor that is not
        finite.
    DTypeError
        `interactions`, or features, are not CSR.
    ShapeError
        Features or initial factors do not fit the interactions.
    ConfigError
        An option is out of range or not to be had on `device`, or the learning rate is so large that the factors
        diverge.
    DeviceError
        `device` cannot be used.

    Warns
    -----
    UserWarning
        As :func:`bpr` does.

    Notes
    -----
    Blocks, threads and memory as in :func:`bpr`; up to ``max_trials`` times its cost once few draws violate.

    References
    ----------
    J. Weston, S. Bengio and N. Usunier, "WSABIE: Scaling Up to Large Vocabulary Image Annotation", IJCAI 2011,
    section 3; we divide by :math:`L(n - 1)`, so that learning rates do not depend on the size of the catalogue, bound
    the number of draws, and leave the vectors' lengths to the regularization.

    Examples
    --------
    >>> import numpy as np
    >>> import scipy.sparse as sp
    >>> interactions = sp.csr_matrix(np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1]], dtype=np.float32))
    >>> user_factors, item_factors, item_bias = warp(interactions, n_factors=4)
    >>> scores = user_factors @ item_factors.T + item_bias
    >>> np.sort(np.argsort(-scores, axis=1)[:, :2], axis=1)
    array([[0, 1],
           [0, 1],
           [2, 3]])
    """
    n_trials = trials(max_trials)
    if chosen_device(device) is not None:
        return cuda_sgd.train_to_host(interactions, n_factors, "warp", n_trials, device, options)
    return train(interactions, n_factors, objective="warp", n_negatives=n_trials, **options)
