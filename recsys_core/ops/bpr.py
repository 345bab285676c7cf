"""Matrix factorization by the order of pairs of items: :func:`bpr`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from recsys_core.ops import cuda_sgd
from recsys_core.ops.cuda_devices import chosen_device
from recsys_core.ops.sgd import SgdFactors, SgdOptions, train

if TYPE_CHECKING:
    from recsys_core.types import CSR

__all__ = ["bpr"]


def bpr(interactions: CSR, n_factors: int = 64, *, device: str = "cpu", **options: Unpack[SgdOptions]) -> SgdFactors:
    r"""Factorize implicit feedback so that each user's items score above the others, whatever their places.

    .. math::

        \min \sum_{(u, i, j)} -\log \sigma(s_{ui} - s_{uj})
        + \frac{\lambda}{2} \big( |x_u|^2 + |y_i|^2 + |y_j|^2 + b_i^2 + b_j^2 \big),
        \qquad s_{ui} = x_u^T y_i + b_i

    An epoch visits every stored entry (u, i) once, in a fresh random order, each with one item j drawn from those that
    u has no entry for.

    Parameters
    ----------
    interactions
        CSR, shape (n_users, n_items), float32, finite and not negative.  Only the structure counts: a stored zero is an
        entry like any other, and one that repeats within a row counts once.
    n_factors
        Length f of the vectors, at least 1.
    device
        ``"cpu"``, ``"cuda"`` or ``"cuda:<number>"``; a device does not repeat to the bit.
        :func:`recsys_core.ops.cuda.bpr` leaves the result there.
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
        All item factors are next to zero: the regularization outweighs the data.

    Notes
    -----
    Every epoch, users and items are dealt at random into up to 64 blocks each, and worked through in rounds of cells of
    one user block and one item block that share no user and no item.  Threads therefore need no locks, never wait for
    each other's cache lines, and give the same bits however many there are (at most 64 are of use; data with a few
    thousand entries is one block, on one thread).  The item j comes from the block of i, so that it is drawn from all
    items over the epochs, since blocks are dealt anew.

    A user with an entry for every item has no j and is skipped: its vector stays where it started.  Where a user has
    all items of a block, the entries there wait for another epoch; there are fewer blocks, and so fewer threads of use,
    where that would hold up more than a twentieth of all entries.

    Cost: ``O(nnz f)`` an epoch; with features, times their number a row.  Memory: the factors twice and 13 bytes an
    entry.  Ctrl-C ends a call within a part of an epoch.

    References
    ----------
    S. Rendle, C. Freudenthaler, Z. Gantner and L. Schmidt-Thieme, "BPR: Bayesian Personalized Ranking from Implicit
    Feedback", UAI 2009, equation 5 and figure 4; we visit entries without replacement and add the item bias.
    R. Gemulla, E. Nijkamp, P. Haas and Y. Sismanis, "Large-Scale Matrix Factorization with Distributed Stochastic
    Gradient Descent", KDD 2011, for the blocks.  M. Kula, "Metadata Embeddings for User and Item Cold-start
    Recommendations", 2015, for the features.  J. Duchi, E. Hazan and Y. Singer, "Adaptive Subgradient Methods",
    JMLR 2011, for Adagrad, of which we keep one sum a row in place of one a coordinate.

    Examples
    --------
    >>> import numpy as np
    >>> import scipy.sparse as sp
    >>> interactions = sp.csr_matrix(np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1]], dtype=np.float32))
    >>> user_factors, item_factors, item_bias = bpr(interactions, n_factors=4)
    >>> scores = user_factors @ item_factors.T + item_bias
    >>> np.sort(np.argsort(-scores, axis=1)[:, :2], axis=1)
    array([[0, 1],
           [0, 1],
           [2, 3]])
    """
    if chosen_device(device) is not None:
        return cuda_sgd.train_to_host(interactions, n_factors, "bpr", 1, device, options)
    return train(interactions, n_factors, objective="bpr", **options)
