"""Matrix factorization that tells had from not had: :func:`logistic_mf`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from recsys_core.errors import ConfigError
from recsys_core.ops import _validate
from recsys_core.ops.sgd import SgdFactors, SgdOptions, train

if TYPE_CHECKING:
    from recsys_core.types import CSR

__all__ = ["logistic_mf"]


def logistic_mf(
    interactions: CSR, n_factors: int = 64, *, alpha: float = 1.0, n_negatives: int = 5, **options: Unpack[SgdOptions]
) -> SgdFactors:
    r"""Factorize implicit feedback by the probability that a user has an item.

    .. math::

        \min \sum_{(u, i)} \Big( -\alpha r_{ui} \log \sigma(s_{ui}) - \sum_{j} \log \sigma(-s_{uj}) \Big),
        \qquad s_{ui} = x_u^T y_i + b_i

    with the regularization of :func:`bpr`.  For each stored entry r of (u, i), the inner sum runs over `n_negatives`
    items j drawn from those that u has no entry for.

    Parameters
    ----------
    interactions
        CSR, shape (n_users, n_items), float32, finite and not negative.  Entries that repeat within a row are summed.
    n_factors
        Length f of the vectors, at least 1.
    alpha
        Weight of an entry of value 1 against that of an item drawn for it, above 0.
    n_negatives
        Items drawn for an entry, 1 to 64.
    **options
        Of the training: see :class:`SgdOptions`.

    Returns
    -------
    SgdFactors
        Unpacks into ``user_factors, item_factors, item_bias``.

    Raises
    ------
    DataError
        No interactions, a column out of range, a negative or non-finite value, or a feature or initial factor that is
        not finite.
    DTypeError
        `interactions`, or features, are not CSR.
    ShapeError
        Features or initial factors do not fit the interactions.
    ConfigError
        An option is out of range, or the learning rate is so large that the factors diverge.

    Warns
    -----
    UserWarning
        As :func:`bpr` does.

    Notes
    -----
    Blocks, threads and memory as in :func:`bpr`; ``(1 + n_negatives) / 2`` times its cost.  The items of an entry make
    one step.

    References
    ----------
    C. C. Johnson, "Logistic Matrix Factorization for Implicit Feedback Data", NIPS 2014 workshop, equation 4.  There
    the second sum runs over all pairs, here over drawn ones, which are as many for each entry; there is no bias of
    users, which changes no ranking.

    Examples
    --------
    >>> import numpy as np
    >>> import scipy.sparse as sp
    >>> interactions = sp.csr_matrix(np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1]], dtype=np.float32))
    >>> user_factors, item_factors, item_bias = logistic_mf(interactions, n_factors=4)
    >>> scores = user_factors @ item_factors.T + item_bias
    >>> (scores > 0).astype(int)
    array([[1, 1, 0, 0],
           [1, 1, 0, 0],
           [0, 0, 1, 1]])
    """
    scale = _validate.number(alpha, "alpha")
    if scale <= 0.0:
        raise ConfigError(f"alpha must be above 0, got {scale:g}")
    drawn = _validate.integer(n_negatives, "n_negatives", minimum=1, maximum=64)
    return train(interactions, n_factors, objective="logistic", n_negatives=drawn, value_scale=scale, **options)
