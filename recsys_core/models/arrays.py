"""Checks of the arrays that models are made of and are asked with: one clear error each, and one layout after it."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_core.errors import DataError, DTypeError, ShapeError
from recsys_core.types import CSR, FloatArray, IndexArray

__all__ = ["finite_csr", "finite_floats", "pattern", "positions", "require_csr"]


def finite_floats(value: Any, name: str, *shape: int | None) -> FloatArray:
    """``value`` as C-contiguous float32 of this shape, where None is any size; no copy where it is so already.

    Raises
    ------
    ShapeError, DTypeError, DataError
        It has another shape, is not of real numbers, or holds NaN or an infinity; the place is named.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise DTypeError(f"{name}: expected real numbers, got {array.dtype}; convert it with .astype(numpy.float32).")
    wanted = "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"
    if array.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, array.shape, strict=True)):
        raise ShapeError(f"{name}: expected shape {wanted}, got {array.shape}.")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused below
        array = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(array).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise DataError(f"{name}: expected finite numbers, got {array[place]} at {place}; mend the training.")
    return array


def finite_csr(value: CSR, name: str) -> CSR:
    """A sparse matrix as canonical CSR of finite float32.

    Raises
    ------
    DataError
        It holds NaN or an infinity.
    """
    matrix = sp.csr_matrix(value)
    data = finite_floats(matrix.data, f"{name}.data", None)
    if data is not matrix.data or not matrix.has_canonical_format:
        matrix = sp.csr_matrix((data, matrix.indices, matrix.indptr), shape=matrix.shape, copy=True)
        matrix.sum_duplicates()
    return matrix


def require_csr(value: Any, name: str, shape: tuple[int | None, int]) -> CSR:
    """``value`` if it is a CSR matrix of this shape, where None is any number of rows.

    Raises
    ------
    DTypeError, ShapeError
        It is not.
    """
    if getattr(value, "format", None) != "csr":
        got = f"the {value.format} format" if hasattr(value, "tocsr") else type(value).__name__
        raise DTypeError(f"{name}: expected a scipy.sparse CSR matrix, got {got}; convert it with .tocsr().")
    if value.shape[1] != shape[1] or shape[0] not in (None, value.shape[0]):
        rows = "any" if shape[0] is None else shape[0]
        raise ShapeError(f"{name}: expected shape ({rows}, {shape[1]}), got {value.shape}.")
    matrix: CSR = value
    return matrix


def positions(value: Any, name: str, n: int) -> IndexArray:
    """``value`` as an int64 vector of positions from 0 to n - 1.

    Raises
    ------
    DTypeError, ShapeError, DataError
        It is of another type, such as a boolean mask, has another dimension, or leaves the range.
    """
    array = np.asarray(value)
    if array.ndim != 1:
        raise ShapeError(f"{name}: expected one dimension, got shape {array.shape}.")
    if array.size and array.dtype.kind not in "iu":
        raise DTypeError(
            f"{name}: expected integers, got {array.dtype}; pass np.flatnonzero(mask) for a mask, "
            "and use recommend(...) for ids."
        )
    array = array.astype(np.int64, copy=False)
    outside = (array < 0) | (array >= n)
    if outside.any():
        raise DataError(f"{name}: expected positions from 0 to {n - 1}, got {int(array[outside][0])}.")
    return array


def pattern(matrix: CSR) -> CSR:
    """The matrix with 1 for every stored entry, zeros included."""
    ones = np.ones(len(matrix.indices), np.float32)
    return sp.csr_matrix((ones, matrix.indices, matrix.indptr), shape=matrix.shape)
