"""The k best items of a batch of query vectors, exactly: :class:`ItemIndex` and :func:`topk`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np

from recsys_core import _core
from recsys_core.errors import ConfigError
from recsys_core.ops import _item_index_file, _validate, cuda
from recsys_core.ops.cuda_devices import chosen_device
from recsys_core.types import Ranking

if TYPE_CHECKING:
    import os

    import numpy.typing as npt

    from recsys_core.ops.cuda_arrays import Input
    from recsys_core.types import CSR, IndexArray

__all__ = ["ItemIndex", "topk"]

Metric: TypeAlias = Literal["dot", "cosine"]
Method: TypeAlias = Literal["auto", "float32", "compact"]
_METRICS = ("dot", "cosine")
_METHODS = ("auto", "float32", "compact")


class ItemIndex:
    """Item factors, packed once so that many batches of queries can be answered.

    Parameters
    ----------
    item_factors
        float32, shape (n_items, n_factors), finite.  Other real types are converted.
    item_bias
        float32, shape (n_items,), finite: added to every score.
    metric
        ``"dot"``, the inner product, or ``"cosine"``, where items and queries are scaled to length 1 first and a zero
        vector scores 0.
    device
        ``"cpu"``, ``"cuda"`` or ``"cuda:<number>"``: where the index is kept and asked.  On a device `item_factors` and
        `item_bias`, and the queries of :meth:`topk`, may be arrays there; it cannot be changed or saved.  Rankings are
        NumPy arrays; :class:`recsys_core.ops.cuda.ItemIndex` leaves them on the device.

    Raises
    ------
    DataError
        A value is NaN or infinite; the message names its row and column.
    ShapeError
        `item_factors` is not a matrix, or `item_bias` has another length.
    DTypeError
        An argument does not hold real numbers.
    ConfigError
        `metric` is unknown.
    DeviceError
        `device` cannot be used, or an array lies elsewhere.

    Notes
    -----
    The factors are copied: 4 bytes a factor, and 5 more once the compact scan has been used (`method` of
    :meth:`topk`).

    Threads may share an index, also while one of them changes it.  :meth:`update`, :meth:`append` and :meth:`remove`
    wait for each other and replace what the index holds in one step; no reader waits for them, nor they for a reader.
    A changed index gives the very bits of one built from the same rows.  A change of m rows costs O(m * n_factors) and
    copies n_items / 4 bytes.  Where there is a compact copy, changed rows are scored in float32 beside it until they
    are a sixteenth of all items; the change that exceeds this makes a new copy.

    An index can be pickled and copied: 4 bytes a factor, and the same answers to the bit.  To share one between
    processes without a copy each, :meth:`save` it.

    Examples
    --------
    >>> import numpy as np
    >>> from recsys_core import ops
    >>> index = ops.ItemIndex([[1, 0], [0, 1], [1, 1]])
    >>> ranking = index.topk([[2, 1]], k=2)
    >>> ranking.indices
    array([[2, 0]])
    >>> ranking.scores
    array([[3., 2.]], dtype=float32)
    """

    def __init__(
        self,
        item_factors: Input,
        item_bias: Input | None = None,
        metric: Metric = "dot",
        *,
        device: str = "cpu",
    ) -> None:
        self._on_device: cuda.ItemIndex | None = None
        if chosen_device(device) is not None:
            self._on_device = cuda.ItemIndex(item_factors, item_bias, metric, device=device)
            return
        factors = _validate.matrix(cast("npt.ArrayLike", item_factors), "item_factors")
        bias = None
        if item_bias is not None:
            bias = _validate.vector(cast("npt.ArrayLike", item_bias), "item_bias", size=factors.shape[0])
        self._host = _core.ItemIndex(factors, bias, _validate.one_of(metric, "metric", _METRICS))

    @classmethod
    def _of(cls, index: _core.ItemIndex) -> ItemIndex:
        made = cls.__new__(cls)
        made._on_device = None
        made._host = index
        return made

    @property
    def _index(self) -> _core.ItemIndex:
        if self._on_device is not None:
            raise ConfigError("device must be 'cpu' for an index that is to be changed or saved; build one without it")
        return self._host

    @property
    def n_items(self) -> int:
        """Number of items, removed ones included."""
        return self._host.n_items if self._on_device is None else self._on_device.n_items

    @property
    def n_removed(self) -> int:
        """Number of removed items, whose indices are never returned."""
        return self._host.n_removed if self._on_device is None else 0

    @property
    def n_factors(self) -> int:
        """Length of an item's vector."""
        return self._host.n_factors if self._on_device is None else self._on_device.n_factors

    @property
    def metric(self) -> Metric:
        """How a query and an item are compared."""
        index = self._host if self._on_device is None else self._on_device
        return "dot" if index.metric == "dot" else "cosine"

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the compact copy, which is twice as large and made anew where the index is asked often.
        return _unpickled, _item_index_file.packed(self._index)

    def __repr__(self) -> str:
        return f"ItemIndex(n_items={self.n_items}, n_factors={self.n_factors}, metric={self.metric!r})"

    def topk(
        self,
        queries: Input,
        k: int,
        *,
        exclude: CSR | None = None,
        allow: npt.ArrayLike | CSR | None = None,
        deny: npt.ArrayLike | None = None,
        n_threads: int = 0,
        method: Method = "auto",
    ) -> Ranking:
        """Find the k best items of each query.

        Parameters
        ----------
        queries
            float32, shape (n_queries, n_factors), finite.
        k
            Length of each list, at least 1; it may exceed the number of items.
        exclude
            CSR, shape (n_queries, n_items): the items not to return for each query.  Only the structure counts, so a
            stored zero excludes too; columns may be in any order.
        allow
            Only these may be returned: item indices, shape (n,), for all queries, or CSR, shape (n_queries, n_items),
            for each, of which only the structure counts.  An empty list allows none, and None allows all.
        deny
            Item indices, shape (n,): never returned.
        n_threads
            Number of threads; 0 means :func:`max_threads`.  It does not change the result.
        method
            How to find them; no choice changes a bit of the result.  ``"float32"`` computes every score.
            ``"compact"`` bounds the scores by 8-bit whole numbers first and computes only those that may be among the
            k best; a query of which it rules out too little, as among equal items, is scored in float32 after all, and
            takes about twice as long as by ``"float32"``.  ``"auto"`` takes what it expects to be faster: float32 until
            an index has been asked enough queries to pay for its compact copy, for few items, for large `k`, for items
            too alike to be told apart, and where most of the catalogue is excluded and there are few factors.

        Returns
        -------
        Ranking
            `indices` int64 and `scores` float32, shape (n_queries, k).

        Raises
        ------
        DataError
            A query is NaN or infinite, or an index lies outside [0, n_items).
        ShapeError
            `queries` or `exclude` does not fit the index.
        DTypeError
            An argument has a type that cannot be converted.
        ConfigError
            `k` or `n_threads` is not an integer or out of range, or `method` is unknown.

        Notes
        -----
        Score descending, then item index ascending.  A score depends on its query and its item alone, not on the
        batch, the filters or the number of threads; equal items get equal scores, to the bit.  Where a score
        overflows, inf ranks first, and -inf and NaN (inf - inf) are treated as filtered out.

        Cost: n_queries * n_items * n_factors multiply-adds in float32, or in 8 bits at about four times the speed, and
        O(k) memory for each query in flight.  Blocks of items without an admissible one are skipped.  Of a short list
        of allowed items those alone are scored, whatever n_items is: of one list for all queries up to n_items / 16,
        of CSR up to 0.8% of n_items a row in a batch and 5% for one query.  `exclude` costs O(1) an entry.

        Ctrl-C ends a call within about 0.1 s.  Other threads may change the index during a call, which answers from
        the items as they were when it began.  To write to an array of the call meanwhile is a race that nothing here
        guards against.

        Examples
        --------
        >>> import scipy.sparse as sp
        >>> from recsys_core import ops
        >>> index = ops.ItemIndex([[1, 0], [0, 1], [1, 1]])
        >>> seen = sp.csr_array([[0, 0, 1]])
        >>> index.topk([[2, 1]], k=3, exclude=seen).indices
        array([[ 0,  1, -1]])
        >>> index.topk([[2, 1]], k=2, allow=[0, 1], deny=[0]).indices
        array([[ 1, -1]])
        """
        if self._on_device is not None:
            return cuda.to_ranking(
                self._on_device.topk(queries, k, exclude=exclude, allow=allow, deny=deny, method=method)
            )
        vectors = _validate.matrix(cast("npt.ArrayLike", queries), "queries", n_columns=self.n_factors)
        indices, scores = self._index.topk(
            vectors,
            _validate.integer(k, "k", minimum=1),
            **_validate.filters(exclude, allow, deny),
            n_threads=_validate.integer(n_threads, "n_threads", minimum=0),
            method=_validate.one_of(method, "method", _METHODS),
        )
        return Ranking(indices, scores)

    def update(self, rows: npt.ArrayLike, item_factors: npt.ArrayLike, item_bias: npt.ArrayLike | None = None) -> None:
        """Give items other factors.  A removed item comes back.

        Parameters
        ----------
        rows
            Item indices, shape (m,), in [0, n_items), each once.
        item_factors
            float32, shape (m, n_factors), finite.
        item_bias
            float32, shape (m,), finite; None leaves the biases as they are.

        Raises
        ------
        DataError
            A value is NaN or infinite, or a row lies outside [0, n_items) or is given twice.  The index is unchanged
            then, as after every error.
        ShapeError
            The shapes do not fit together, or a bias is given to an index made without one.
        DTypeError
            An argument has a type that cannot be converted.

        Examples
        --------
        >>> from recsys_core import ops
        >>> index = ops.ItemIndex([[1, 0], [0, 1]])
        >>> index.update([0], [[0, 5]])
        >>> index.topk([[0, 1]], k=2)
        Ranking(indices=array([[0, 1]]), scores=array([[5., 1.]], dtype=float32))
        """
        positions = _validate.index_vector(rows, "rows")
        factors = _validate.matrix(item_factors, "item_factors", n_columns=self.n_factors)
        bias = None if item_bias is None else _validate.vector(item_bias, "item_bias", size=len(factors))
        self._index.update(positions, factors, bias)

    def append(self, item_factors: npt.ArrayLike, item_bias: npt.ArrayLike | None = None) -> IndexArray:
        """Add items behind the last one.

        Parameters
        ----------
        item_factors
            float32, shape (m, n_factors), finite.
        item_bias
            float32, shape (m,), finite; needed where the index has a bias, and only there.

        Returns
        -------
        numpy.ndarray
            int64, shape (m,): the indices of the new items.

        Raises
        ------
        DataError
            A value is NaN or infinite.
        ShapeError
            The shapes do not fit together, or the bias is missing or not wanted.
        DTypeError
            An argument has a type that cannot be converted.

        Examples
        --------
        >>> from recsys_core import ops
        >>> index = ops.ItemIndex([[1, 0], [0, 1]])
        >>> index.append([[2, 2]])
        array([2])
        """
        factors = _validate.matrix(item_factors, "item_factors", n_columns=self.n_factors)
        bias = None if item_bias is None else _validate.vector(item_bias, "item_bias", size=len(factors))
        first = self._index.append(factors, bias)
        return np.arange(first, first + len(factors), dtype=np.int64)

    def remove(self, rows: npt.ArrayLike) -> None:
        """Take items out: they are never returned again, and their indices stay unused.

        Every other item keeps its index, and :meth:`update` brings one back.  The space is kept until
        :meth:`without_removed` makes a smaller index.

        Parameters
        ----------
        rows
            Item indices, shape (m,), in [0, n_items).  One that is removed already changes nothing.

        Raises
        ------
        DataError
            A row lies outside [0, n_items).
        ShapeError, DTypeError
            `rows` is not a vector of integers.

        Examples
        --------
        >>> from recsys_core import ops
        >>> index = ops.ItemIndex([[1, 0], [0, 1], [1, 1]])
        >>> index.remove([2])
        >>> index.topk([[1, 1]], k=3).indices
        array([[ 0,  1, -1]])
        """
        self._index.remove(_validate.index_vector(rows, "rows"))

    def without_removed(self) -> tuple[ItemIndex, IndexArray]:
        """A new index of the items that are not removed, numbered anew in their order.

        Returns
        -------
        tuple
            The new :class:`ItemIndex`, and int64, shape (n_items - n_removed,): what each of its items was before.

        Examples
        --------
        >>> from recsys_core import ops
        >>> index = ops.ItemIndex([[1, 0], [0, 1], [1, 1]])
        >>> index.remove([1])
        >>> smaller, before = index.without_removed()
        >>> before[smaller.topk([[1, 1]], k=2).indices]
        array([[2, 0]])
        """
        index, before = self._index.without_removed()
        return ItemIndex._of(index), before

    def save(self, path: str | os.PathLike[str], *, compact: bool = True) -> None:
        """Write the index to a file that :meth:`load` maps.

        Parameters
        ----------
        path
            The file to make, or to replace.  It is written beside its place and moved there whole, so that processes
            that have mapped an older one keep that.
        compact
            Make the compact copy, where there is none yet, and write it too: 9.5 bytes a factor in all instead of 4,
            and nothing is left to be built by whoever loads the index.  Of more than 4096 factors there is none.

        Raises
        ------
        OSError
            The file cannot be written.

        Notes
        -----
        A safetensors file, described in ``recsys_core/ops/_item_index_file.py``, the same for every instruction set.
        Its bytes depend on the items and on `compact` alone.

        Examples
        --------
        >>> import tempfile
        >>> from recsys_core import ops
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ops.ItemIndex([[1, 0], [0, 1]]).save(f"{folder}/items.safetensors")
        ...     index = ops.ItemIndex.load(f"{folder}/items.safetensors")
        >>> index.topk([[2, 1]], k=1)
        Ranking(indices=array([[0]]), scores=array([[2.]], dtype=float32))
        """
        _item_index_file.write_index(self._index, path, compact=compact)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, mmap: bool = True, verify: bool = True) -> ItemIndex:
        """Read an index that :meth:`save` wrote: the same answers, to the bit.

        Parameters
        ----------
        path
            The file.
        mmap
            Answer from the file itself, whose pages all processes on a machine share and the system may drop and read
            again.  False reads it into memory of this process, where large pages are quicker to address.
        verify
            Compare the hash of the file with the recorded one, which reads it once.  False believes the numbers: a
            damaged file may then give wrong answers, but sizes and indices are checked all the same.

        Returns
        -------
        ItemIndex
            It can be changed as any other; a changed page is copied, and the file never changes.

        Raises
        ------
        FormatError
            There is no file, it is not one of an index, it is of another format version, or it is damaged.

        Notes
        -----
        Mapping costs O(n_items), whatever n_factors is, and without `verify` reads no more than that.  A mapped file
        must not be cut off or written to in place: the system ends a process that reads what is no longer there.
        Replacing it, as :meth:`save` does, is safe.
        """
        return cls._of(_item_index_file.read_index(path, map_file=mmap, verify=verify))


def _unpickled(n_items: int, n_factors: int, metric: str, arrays: dict[str, npt.NDArray[Any]]) -> ItemIndex:
    return ItemIndex._of(_item_index_file.unpacked(n_items, n_factors, metric, arrays))


def topk(
    queries: Input,
    item_factors: Input,
    k: int,
    *,
    item_bias: Input | None = None,
    metric: Metric = "dot",
    exclude: CSR | None = None,
    allow: npt.ArrayLike | CSR | None = None,
    deny: npt.ArrayLike | None = None,
    n_threads: int = 0,
    method: Method = "auto",
    device: str = "cpu",
) -> Ranking:
    """Find the k best items of each query, for a single batch.

    Packing the items costs about as much as answering a query or two.  To answer more than one batch, build an
    :class:`ItemIndex` once.

    Parameters
    ----------
    queries
        float32, shape (n_queries, n_factors), finite.
    item_factors
        float32, shape (n_items, n_factors), finite.
    k
        Length of each list, at least 1; it may exceed the number of items.
    item_bias
        float32, shape (n_items,), finite: added to every score.
    metric
        ``"dot"`` or ``"cosine"``, as for :class:`ItemIndex`.
    exclude, allow, deny
        Filters, as for :meth:`ItemIndex.topk`.
    n_threads
        Number of threads; 0 means :func:`max_threads`.
    method
        ``"auto"``, ``"float32"`` or ``"compact"``, as for :meth:`ItemIndex.topk`.
    device
        ``"cpu"``, ``"cuda"`` or ``"cuda:<number>"``, as for :class:`ItemIndex`.

    Returns
    -------
    Ranking
        `indices` int64 and `scores` float32, shape (n_queries, k).

    Raises
    ------
    DataError, ShapeError, DTypeError, ConfigError
        As for :class:`ItemIndex` and :meth:`ItemIndex.topk`.
    DeviceError
        `device` cannot be used.

    Notes
    -----
    The order rule, and what happens on overflow, are those of :meth:`ItemIndex.topk`.

    Examples
    --------
    >>> from recsys_core import ops
    >>> ops.topk([[2, 1]], [[1, 0], [0, 1], [1, 1]], k=2, item_bias=[0, 3, 0]).scores
    array([[4., 3.]], dtype=float32)
    """
    index = ItemIndex(item_factors, item_bias, metric, device=device)
    return index.topk(queries, k, exclude=exclude, allow=allow, deny=deny, n_threads=n_threads, method=method)
