"""The k best items of a batch of histories under item-item weights: :func:`item_item_topk`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recsys_core import _core
from recsys_core.ops import _validate
from recsys_core.types import Ranking

if TYPE_CHECKING:
    import numpy.typing as npt

    from recsys_core.types import CSR, FloatArray

__all__ = ["item_item_topk"]


def item_item_topk(
    histories: CSR,
    weights: CSR | npt.ArrayLike,
    k: int,
    *,
    exclude: CSR | None = None,
    allow: npt.ArrayLike | CSR | None = None,
    deny: npt.ArrayLike | None = None,
    n_threads: int = 0,
) -> Ranking:
    """Find the k items with the largest ``histories @ weights``, without computing that matrix as a whole.

    Every item is a candidate, those with a score of 0 or below too: exclude each query's own history to leave out
    what it has seen.

    Parameters
    ----------
    histories
        CSR, shape (n_queries, n_inputs), float32, finite; a column may repeat within a row.
    weights
        CSR or dense, shape (n_inputs, n_items), float32, finite: row j holds what input j contributes to each item.
        The inputs are usually the items themselves; anything else that scores items in proportion will do.
    k
        Length of each list, at least 1; it may exceed the number of items.
    exclude
        CSR, shape (n_queries, n_items): the items not to return for each query.  Only the structure counts, so a
        stored zero excludes too; columns may be in any order.
    allow
        Only these may be returned: item indices, shape (n,), for all queries, or CSR, shape (n_queries, n_items), for
        each, of which only the structure counts.  An empty list allows none, and None allows all.
    deny
        Item indices, shape (n,): never returned.
    n_threads
        Number of threads; 0 means :func:`max_threads`.  It does not change the result.

    Returns
    -------
    Ranking
        `indices` int64 and `scores` float32, shape (n_queries, k).

    Raises
    ------
    DataError
        A value is NaN or infinite, or an index lies outside [0, n_items).  Of `weights` only the rows that some
        history names are read, and so checked.
    ShapeError
        The shapes do not fit together.
    DTypeError
        An argument has a type that cannot be converted.
    ConfigError
        `k` or `n_threads` is not an integer or out of range.

    Notes
    -----
    Score descending, then item index ascending.  Scores are summed in float32, in the order in which a history stores
    its entries; CSR and dense weights give the same bits.  Where a score overflows, inf ranks first, and -inf and NaN
    (inf - inf) are treated as filtered out.

    Cost: one multiply-add for each stored weight of each history entry, O(n_items) a query to select, and one buffer
    of n_items scores a thread.  Queries are shared out to threads; fewer queries than threads have the columns of dense
    weights shared out.  Ctrl-C ends a call within about 0.1 s.  To write to an array of a call meanwhile, from another
    thread, is a race that nothing here guards against.

    Examples
    --------
    >>> import numpy as np
    >>> import scipy.sparse as sp
    >>> from recsys_core import ops
    >>> histories = sp.csr_array(np.array([[1, 0, 0, 1]], dtype=np.float32))
    >>> weights = np.array([[0, 3, 1, 0], [3, 0, 0, 0], [1, 0, 0, 2], [0, 0, 2, 0]], dtype=np.float32)
    >>> ops.item_item_topk(histories, weights, k=3, exclude=histories)
    Ranking(indices=array([[ 1,  2, -1]]), scores=array([[  3.,   3., -inf]], dtype=float32))
    """
    rows = _validate.csr_arrays(histories, "histories")
    contributions: _validate.CsrArrays | FloatArray
    if _validate.is_sparse(weights):
        contributions = _validate.csr_arrays(weights, "weights")
    else:
        contributions = _validate.matrix(weights, "weights")
    indices, scores = _core.item_item_topk(
        rows,
        contributions,
        _validate.integer(k, "k", minimum=1),
        **_validate.filters(exclude, allow, deny),
        n_threads=_validate.integer(n_threads, "n_threads", minimum=0),
    )
    return Ranking(indices, scores)
