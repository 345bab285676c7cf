"""Checks and conversions of what callers pass to the operations.

Each function returns an array that the compiled core takes as it is: the caller's own array where its type and layout
already fit, else a converted copy.  Messages name the argument, say what was expected, what came, and what to do.
The core itself checks what needs a look at every value: NaN, infinities and indices out of range.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any, SupportsFloat, SupportsIndex, TypeAlias, TypedDict, TypeGuard, cast

import numpy as np
import numpy.typing as npt

from recsys_core.errors import ConfigError, DataError, DTypeError, ShapeError

if TYPE_CHECKING:
    from recsys_core.types import CSR, FloatArray, Index32Array, IndexArray

__all__ = [
    "csr_arrays",
    "csr_from_arrays",
    "csr_pattern",
    "filters",
    "function",
    "index_vector",
    "integer",
    "is_sparse",
    "matrix",
    "number",
    "one_of",
    "pair",
    "positive",
    "random_seed",
    "two",
    "unique_csr_arrays",
    "unobserved_weight",
    "vector",
]

CsrArrays: TypeAlias = "tuple[IndexArray, Index32Array, FloatArray, int]"
CsrPattern: TypeAlias = "tuple[IndexArray, Index32Array, int]"


class Filters(TypedDict):
    """The filters of a top-k call, by the names of the core's arguments."""

    exclude: CsrPattern | None
    allow: CsrPattern | IndexArray | None
    deny: IndexArray | None


_MAX_INT32 = np.iinfo(np.int32).max
_MAX_INT64 = int(np.iinfo(np.int64).max)
_MAX_FLOAT32 = float(np.finfo(np.float32).max)


def integer(value: SupportsIndex, name: str, *, minimum: int, maximum: int = _MAX_INT64) -> int:
    """Return `value` as an int in [`minimum`, `maximum`]; a bool or a float is refused."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool | np.bool_):
        raise ConfigError(f"{name} must be an integer, got {value!r}")
    if number < minimum:
        raise ConfigError(f"{name} must be at least {minimum}, got {number}")
    if number > maximum:
        raise ConfigError(f"{name} must be at most {maximum}, got {number}")
    return number


def number(value: SupportsFloat, name: str, *, minimum: float = -math.inf) -> float:
    """Return `value` as a float of at least `minimum` that is finite in float32; a bool or a string is refused."""
    if isinstance(value, bool | np.bool_ | str) or not isinstance(value, SupportsFloat):
        raise ConfigError(f"{name} must be a number, got {value!r}")
    limit = f"{name} must fit float32, whose largest number is {_MAX_FLOAT32:g}"
    try:
        real = float(value)
    except TypeError:  # an array of several numbers
        raise ConfigError(f"{name} must be a number, got {value!r}") from None
    except OverflowError:  # an integer beyond even float64
        raise ConfigError(f"{limit}, got a larger one") from None
    if not math.isfinite(real):
        raise ConfigError(f"{name} must be finite, got {real}")
    if real < minimum:
        raise ConfigError(f"{name} must be at least {minimum:g}, got {real:g}")
    if abs(real) > _MAX_FLOAT32:
        raise ConfigError(f"{limit}, got {real:g}")
    return real


def positive(value: SupportsFloat, name: str) -> float:
    """Return `value` as a float above 0, likewise."""
    real = number(value, name)
    if real <= 0.0:
        raise ConfigError(f"{name} must be above 0, got {real:g}")
    return real


def unobserved_weight(value: SupportsFloat) -> float:
    """Return the confidence of the cells that are not stored, in [0, 1]."""
    weight = number(value, "unobserved_weight", minimum=0.0)
    if weight > 1.0:
        raise ConfigError(f"unobserved_weight must be at most 1, the least weight of a stored entry, got {weight:g}")
    return weight


def one_of(value: Any, name: str, known: tuple[str, ...]) -> str:
    """Return `value` where it is one of `known`."""
    if isinstance(value, str) and value in known:
        return value
    raise ConfigError(f"{name} must be one of {', '.join(known)}, got {value!r}")


def two(value: Any, name: str, parts: str) -> tuple[Any, Any]:
    """Return `value` as a tuple of two, which `parts` names."""
    try:
        first, second = value
    except (TypeError, ValueError):
        got = f"{len(value)} parts" if hasattr(value, "__len__") else type(value).__name__
        raise ShapeError(f"{name} must be a pair {parts}, got {got}") from None
    return first, second


def pair(value: tuple[float, float], name: str) -> tuple[float, float]:
    """Return `value` as a constant and a slope."""
    constant, slope = two(value, name, "(constant, slope)")
    return number(constant, f"{name}[0]"), number(slope, f"{name}[1]")


def function(value: Any, name: str) -> None:
    """Check that `value` can be called, or is None."""
    if value is not None and not callable(value):
        raise DTypeError(f"{name} must be a function, got {type(value).__name__}")


def random_seed(value: SupportsIndex) -> int:
    """Return `random_state` as an int of 64 bits."""
    return integer(value, "random_state", minimum=0, maximum=2**64 - 1)


def matrix(value: npt.ArrayLike | CSR, name: str, *, n_columns: int | None = None) -> FloatArray:
    """Return `value` as a C-order float32 matrix, without a copy where it is one."""
    array = _float32(value, name)
    if array.ndim != 2:
        remedy = "; pass one row as array[None, :]" if array.ndim == 1 else ""
        raise ShapeError(f"{name} must be a matrix, got {array.ndim} dimension(s){remedy}")
    if n_columns is not None and array.shape[1] != n_columns:
        raise ShapeError(f"{name} must have {n_columns} columns, got shape {array.shape}")
    return array


def vector(value: npt.ArrayLike | CSR, name: str, *, size: int | None = None) -> FloatArray:
    """Return `value` as a contiguous float32 vector, without a copy where it is one."""
    array = _float32(value, name)
    if array.ndim != 1:
        raise ShapeError(f"{name} must be a vector, got shape {array.shape}; flatten it with .ravel()")
    if size is not None and array.shape[0] != size:
        raise ShapeError(f"{name} must have {size} entries, got {array.shape[0]}")
    return array


def index_vector(value: npt.ArrayLike, name: str) -> IndexArray:
    """Return `value` as a contiguous int64 vector; a boolean mask is refused, since 0 and 1 are indices too."""
    array = _array(value, name)
    if array.ndim != 1:
        raise ShapeError(f"{name} must be a vector of indices, got shape {array.shape}")
    if array.size == 0:  # an empty list arrives as float64
        return np.empty(0, dtype=np.int64)
    if array.dtype == np.bool_:
        raise DTypeError(f"{name} must hold indices, got a boolean mask; pass numpy.flatnonzero(mask)")
    if not np.issubdtype(array.dtype, np.integer):
        raise DTypeError(f"{name} must hold integers, got {array.dtype}; convert it with .astype(numpy.int64)")
    if array.max() > _MAX_INT64:  # which the cast would make negative
        raise DataError(f"{name} must hold indices, got {array.max()}")
    return np.ascontiguousarray(array, dtype=np.int64)


def filters(exclude: CSR | None, allow: npt.ArrayLike | CSR | None, deny: npt.ArrayLike | None) -> Filters:
    """Return the filters converted; None stays None, which the core takes as no restriction."""
    allowed: CsrPattern | IndexArray | None = None
    if is_sparse(allow):
        allowed = csr_pattern(allow, "allow")
    elif isinstance(allow, list | tuple | np.ndarray) and len(allow) and np.ndim(allow[0]):
        raise ShapeError("allow must be a vector of indices, or CSR with a row for each query, got rows")
    elif allow is not None:
        allowed = index_vector(cast("npt.ArrayLike", allow), "allow")
    return {
        "exclude": None if exclude is None else csr_pattern(exclude, "exclude"),
        "allow": allowed,
        "deny": None if deny is None else index_vector(deny, "deny"),
    }


def csr_arrays(value: CSR, name: str) -> CsrArrays:
    """Return (indptr int64, indices int32, data float32, n_columns) of a SciPy CSR matrix or array."""
    indptr, indices, n_columns = csr_pattern(value, name)
    return indptr, indices, vector(value.data, f"{name}.data"), n_columns


def unique_csr_arrays(value: CSR, name: str) -> CsrArrays:
    """As :func:`csr_arrays`, with columns ascending and repeated entries of a row summed (in a copy, if need be)."""
    indptr, indices, _ = csr_pattern(value, name)
    _check_lengths(indptr, indices.size, np.size(value.data), name)
    if not value.has_canonical_format:
        value = value.copy()
        value.sum_duplicates()
    return csr_arrays(value, name)


def csr_pattern(value: CSR, name: str) -> CsrPattern:
    """Return (indptr int64, indices int32, n_columns) of a SciPy CSR matrix or array, whatever type its data has."""
    if getattr(value, "format", None) != "csr":
        raise DTypeError(f"{name} must be a scipy.sparse CSR matrix, got {_describe(value)}")
    n_columns = int(value.shape[1])
    if n_columns > _MAX_INT32:
        raise ShapeError(f"{name} must have at most {_MAX_INT32} columns, got {n_columns}")
    indices = np.asarray(value.indices)
    if indices.dtype != np.int32 and indices.size and not 0 <= indices.min() <= indices.max() < n_columns:
        # Checked before the cast, which could wrap a column that is out of range into one that is not.
        raise DataError(f"{name} must have column indices in [0, {n_columns}), got {indices.min()} to {indices.max()}")
    return (
        np.ascontiguousarray(value.indptr, dtype=np.int64),
        np.ascontiguousarray(indices, dtype=np.int32),
        n_columns,
    )


def _check_lengths(indptr: IndexArray, n_indices: int, n_values: int, name: str) -> None:
    # The core checks this too, but SciPy, which looks for repeats first, reads foreign memory where it is wrong.
    remedy = "build the matrix with scipy.sparse"
    if indptr.size == 0 or indptr[0] != 0:
        raise DataError(f"{name}.indptr must start with 0; {remedy}")
    falls = np.flatnonzero(indptr[1:] < indptr[:-1])
    if falls.size:
        raise DataError(f"{name}.indptr must never fall, but does after row {falls[0]}; {remedy}")
    if indptr[-1] != n_indices:
        raise DataError(f"{name}.indptr must end at the number of stored entries, {n_indices}, got {indptr[-1]}")
    if n_values != n_indices:
        raise ShapeError(f"{name} must have as many values as column indices, got {n_values} and {n_indices}")


def csr_from_arrays(arrays: CsrArrays) -> CSR:
    """Build the SciPy matrix of sorted CSR arrays that the core returns."""
    import scipy.sparse as sp

    indptr, indices, data, n_columns = arrays
    matrix = sp.csr_matrix((data, indices, indptr), shape=(len(indptr) - 1, n_columns))
    matrix.has_canonical_format = True
    return matrix


def is_sparse(value: object) -> TypeGuard[CSR]:
    """Tell a SciPy sparse matrix from anything else, without importing SciPy."""
    return hasattr(value, "tocsr")


def _float32(value: npt.ArrayLike | CSR, name: str) -> FloatArray:
    if is_sparse(value):
        raise DTypeError(f"{name} must be a dense array, got the {value.format} format; convert it with .toarray()")
    array = _array(value, name)
    if array.dtype.kind not in "fiub":
        raise DTypeError(f"{name} must hold real numbers, got {array.dtype}; convert it with .astype(numpy.float32)")
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, which the core reports with its place
        return np.ascontiguousarray(array, dtype=np.float32).reshape(array.shape)


def _array(value: Any, name: str) -> npt.NDArray[Any]:
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as fault:  # rows of several lengths, or a tensor NumPy cannot read
        raise DTypeError(f"{name} must be an array, got {type(value).__name__} that is none: {fault}") from None


def _describe(value: object) -> str:
    if is_sparse(value):
        return f"the {value.format} format; convert it with .tocsr()"
    return f"{type(value).__name__}; build one with scipy.sparse.csr_array(...)"
