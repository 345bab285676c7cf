"""The operations on a CUDA device, with arrays that stay there: ``recsys_core.ops.cuda``.

``ops.topk``, ``ops.ItemIndex``, ``ops.als``, ``ops.fold_in``, ``ops.bpr`` and ``ops.warp`` take ``device="cuda"`` and
return NumPy arrays.  The functions here are
for programs that go on working on the device.  Factors and queries may be NumPy arrays, which are copied there, or
float32 arrays of any library that speaks DLPack (torch, CuPy, JAX), which are used where they are.  Results are
:class:`DeviceArray`; ``torch.from_dlpack(result)`` shares their memory.

`stream` is a CUDA stream as an integer handle, such as ``torch.cuda.current_stream().cuda_stream``; 0 is the default
stream.  Every function raises :class:`~recsys_core.errors.DeviceError` with the reason where the device cannot be used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from recsys_core.ops import _validate
from recsys_core.ops.cuda_als import als
from recsys_core.ops.cuda_arrays import DeviceArray, Input, device_matrix, device_vector, place_of, stream_of
from recsys_core.ops.cuda_devices import cuda_module
from recsys_core.ops.cuda_sgd import bpr, warp
from recsys_core.ops.row_ridges import row_ridges
from recsys_core.types import Ranking

if TYPE_CHECKING:
    import numpy.typing as npt

    from recsys_core.types import CSR, FloatArray

__all__ = ["DeviceArray", "ItemIndex", "als", "bpr", "fold_in", "solve_rows", "warp"]


class ItemIndex:
    """Item factors on a device, packed once so that many batches of queries can be answered.

    The counterpart of :class:`recsys_core.ops.ItemIndex`: the same items, order and scores.  It cannot be changed.

    Parameters
    ----------
    item_factors
        float32, shape (n_items, n_factors), finite; on the host or on the device.
    item_bias
        float32, shape (n_items,), finite: added to every score.  It lies where `item_factors` does.
    metric
        ``"dot"`` or ``"cosine"``.
    device
        ``"cuda"``, the first that can be used, or ``"cuda:<number>"``.
    stream
        The stream that builds it.

    Raises
    ------
    DeviceError
        The device cannot be used, has too little memory, or an array lies elsewhere.
    DataError, ShapeError, DTypeError, ConfigError
        As for :class:`recsys_core.ops.ItemIndex`.

    Notes
    -----
    Memory on the device: 5 bytes a factor and 20 an item.  Threads may share an index.
    """

    def __init__(
        self,
        item_factors: Input,
        item_bias: Input | None = None,
        metric: Literal["dot", "cosine"] = "dot",
        *,
        device: str = "cuda",
        stream: int = 0,
    ) -> None:
        self._place = place_of(device, stream)
        factors = device_matrix(item_factors, "item_factors")
        bias = None if item_bias is None else device_vector(item_bias, "item_bias")
        self._index = cuda_module().ItemIndex(factors, bias, metric, self._place)
        self._metric = metric

    @property
    def n_items(self) -> int:
        """Number of items."""
        return int(self._index.n_items)

    @property
    def n_factors(self) -> int:
        """Length of an item's vector."""
        return int(self._index.n_factors)

    @property
    def metric(self) -> Literal["dot", "cosine"]:
        """How a query and an item are compared."""
        return self._metric

    def __repr__(self) -> str:
        place = f"cuda:{self._place[0]}"
        return f"ItemIndex(n_items={self.n_items}, n_factors={self.n_factors}, metric={self._metric!r}, {place!r})"

    def topk(
        self,
        queries: Input,
        k: int,
        *,
        exclude: CSR | None = None,
        allow: npt.ArrayLike | CSR | None = None,
        deny: npt.ArrayLike | None = None,
        method: Literal["auto", "float32", "compact"] = "auto",
        stream: int = 0,
    ) -> tuple[DeviceArray, DeviceArray]:
        """Find the k best items of each query.

        Parameters
        ----------
        queries
            float32, shape (n_queries, n_factors), finite; on the host or on the device.
        k
            Length of each list, at least 1; it may exceed the number of items.
        exclude
            CSR on the host, shape (n_queries, n_items): the items not to return for each query.
        allow
            Only these may be returned: item indices for all queries, or CSR on the host, shape (n_queries, n_items),
            for each; of those allowed for each query, those alone are scored.
        deny
            Item indices: never returned.
        method
            ``"float32"`` computes every score, ``"compact"`` bounds them by tensor-core products of 8-bit numbers
            first, ``"auto"`` takes what it expects to be faster.  No choice changes the result.
        stream
            The stream to work on.

        Returns
        -------
        indices : DeviceArray
            int64, shape (n_queries, k), -1 where padded.
        scores : DeviceArray
            float32, shape (n_queries, k), ``-inf`` where padded.

        Raises
        ------
        DeviceError
            CUDA fails, or `queries` lies on another device.
        DataError, ShapeError, DTypeError, ConfigError
            As for :meth:`recsys_core.ops.ItemIndex.topk`.

        Notes
        -----
        Scores are summed as on the CPU, with multiply and add fused, so that they have the bits that its instruction
        sets above "baseline" give (but for the sign of zero).  No score matrix is formed; queries are answered in
        batches that fit half of the free memory.
        """
        filters = _validate.filters(exclude, allow, deny)
        return cast(
            "tuple[DeviceArray, DeviceArray]",
            self._index.topk(
                device_matrix(queries, "queries"),
                _validate.integer(k, "k", minimum=1),
                exclude=filters["exclude"],
                allow=filters["allow"],
                deny=filters["deny"],
                method=method,
                stream=stream_of(stream),
            ),
        )


def solve_rows(
    histories: CSR,
    item_factors: Input,
    *,
    prior: Input,
    confidence: tuple[float, float],
    target: tuple[float, float],
    item_offset: Input | None = None,
    ridge: npt.ArrayLike | None = None,
    device: str = "cuda",
    stream: int = 0,
) -> DeviceArray:
    """Solve one regularized least-squares problem a row, as :func:`recsys_core.ops.solve_rows` does, on a device.

    Parameters
    ----------
    histories
        CSR on the host, shape (n_rows, n_items), float32, finite.
    item_factors
        float32, shape (n_items, f); on the host or on the device.
    prior
        float32, shape (f, f), symmetric.
    confidence
        :math:`(c_0, c_1)`.
    target
        :math:`(t_0, t_1)`.
    item_offset
        float32, shape (n_items,); None means zeros.
    ridge
        float32, shape (n_rows,), on the host: what each row adds to the diagonal of `prior`; None means zeros.
    device
        ``"cuda"`` or ``"cuda:<number>"``.
    stream
        The stream to work on.

    Returns
    -------
    DeviceArray
        float32, shape (n_rows, f); zeros for a row without entries.

    Raises
    ------
    DeviceError
        The device cannot be used, an array lies elsewhere, or CUDA fails.
    DataError, ShapeError, DTypeError, ConfigError
        As for :func:`recsys_core.ops.solve_rows`; ConfigError also where f is too large for the device.

    Notes
    -----
    Solutions that must not be negative are for the CPU.
    """
    place = place_of(device, stream)
    rows = _validate.csr_arrays(histories, "histories")
    return _solved(
        rows,
        item_factors,
        prior=device_matrix(prior, "prior"),
        confidence=_validate.pair(confidence, "confidence"),
        target=_validate.pair(target, "target"),
        item_offset=None if item_offset is None else device_vector(item_offset, "item_offset"),
        ridge=None if ridge is None else _validate.vector(ridge, "ridge", size=len(rows[0]) - 1),
        place=place,
    )


def fold_in(
    histories: CSR,
    item_factors: Input,
    *,
    regularization: float = 0.01,
    regularization_exponent: float = 0.0,
    alpha: float = 1.0,
    unobserved_weight: float = 1.0,
    device: str = "cuda",
    stream: int = 0,
) -> DeviceArray:
    """Compute the vectors that :func:`als` would give to new users, from their interactions and the item factors.

    Parameters
    ----------
    histories
        CSR on the host, shape (n_rows, n_items), float32, finite.  Entries that repeat within a row are summed.
    item_factors
        float32, shape (n_items, f); on the host or on the device.
    regularization
        lambda, at least 0, as given to :func:`als`.
    regularization_exponent
        nu, at least 0, as given to :func:`als`.
    alpha
        At least 0, as given to :func:`als`.
    unobserved_weight
        w, in [0, 1], as given to :func:`als`.
    device
        ``"cuda"`` or ``"cuda:<number>"``.
    stream
        The stream to work on.

    Returns
    -------
    DeviceArray
        float32, shape (n_rows, f); zeros for a row without entries.

    Raises
    ------
    DeviceError
        The device cannot be used, an array lies elsewhere, or CUDA fails.
    DataError, ShapeError, DTypeError, ConfigError
        As for :func:`recsys_core.ops.fold_in`; ConfigError also where f is too large for the device.
    """
    shared = _validate.number(regularization, "regularization", minimum=0.0)
    exponent = _validate.number(regularization_exponent, "regularization_exponent", minimum=0.0)
    slope = _validate.number(alpha, "alpha", minimum=0.0)
    weight = _validate.unobserved_weight(unobserved_weight)
    place = place_of(device, stream)
    rows = _validate.unique_csr_arrays(histories, "histories")
    own = None
    if exponent != 0.0:
        own, shared = row_ridges(rows[0], rows[3], shared, exponent, weight), 0.0
    return _solved(
        rows,
        item_factors,
        gram_weight=weight,
        gram_ridge=shared,
        ridge=own,
        confidence=(1.0 - weight, slope),
        target=(1.0, slope),
        place=place,
    )


def to_ranking(arrays: tuple[DeviceArray, DeviceArray]) -> Ranking:
    """Copy indices and scores to the host."""
    indices, scores = arrays
    return Ranking(indices.numpy(), scores.numpy())


def _solved(
    histories: _validate.CsrArrays,
    item_factors: Input,
    *,
    prior: object | None = None,
    gram_weight: float = 1.0,
    gram_ridge: float = 0.0,
    ridge: FloatArray | None = None,
    confidence: tuple[float, float],
    target: tuple[float, float],
    item_offset: object | None = None,
    place: tuple[int, int],
) -> DeviceArray:
    """Solve the rows; what `prior` is when not given, gram_weight Y^T Y + gram_ridge I, is made on the device."""
    return cast(
        "DeviceArray",
        cuda_module().solve_rows(
            histories,
            device_matrix(item_factors, "item_factors"),
            prior=prior,
            gram_weight=gram_weight,
            gram_ridge=gram_ridge,
            ridge=ridge,
            confidence=confidence,
            target=target,
            item_offset=item_offset,
            place=place,
        ),
    )
