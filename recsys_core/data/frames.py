"""Columns of any data frame as polars series.

Frames are read through narwhals, one column at a time, so that a wide frame is never copied whole and pandas
needs no pyarrow.  A column whose values have no single type becomes a series of Python objects; the checks in
:mod:`recsys_core.data.validation` say what is wrong with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import polars as pl

from recsys_core.errors import DataError, DTypeError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["count_rows", "open_frame", "read_columns", "read_table", "to_series"]


def open_frame(frame: Any, argument: str = "frame") -> nw.LazyFrame[Any] | nw.DataFrame[Any]:
    """Wrap a pandas, polars, Arrow or other frame that narwhals knows, lazy ones included.

    Raises
    ------
    DTypeError
        If the argument is no data frame.
    DataError
        If two columns have one name.
    """
    try:
        wrapped: nw.LazyFrame[Any] | nw.DataFrame[Any] = nw.from_native(frame)
    except TypeError:
        raise DTypeError(
            f"{argument}: expected a data frame (pandas, polars, Arrow or another that narwhals reads), got "
            f"{type(frame).__name__}; use from_csr for a sparse matrix, from_arrays for arrays, read for a file"
        ) from None
    except nw.exceptions.DuplicateError as error:
        raise DataError(f"{argument}: column names must be unique; rename or drop one ({error})") from None
    return wrapped


def read_columns(frame: nw.LazyFrame[Any] | nw.DataFrame[Any], names: Sequence[str]) -> list[pl.Series]:
    """Read some columns; of a lazy frame, only these are computed."""
    if not names:  # of which a lazy frame cannot select none
        return []
    if isinstance(frame, nw.LazyFrame):
        frame = frame.select(*dict.fromkeys(names)).collect(backend="polars")
    return [_read_column(frame, name) for name in names]


def count_rows(frame: nw.LazyFrame[Any] | nw.DataFrame[Any]) -> int:
    """Return the number of rows, which a lazy frame has to compute."""
    if isinstance(frame, nw.LazyFrame):
        return int(frame.select(nw.len()).collect(backend="polars").item())
    return len(frame)


def read_table(frame: Any, argument: str) -> pl.DataFrame:
    """Read all columns of a frame into polars."""
    opened = open_frame(frame, argument)
    return pl.DataFrame(read_columns(opened, opened.collect_schema().names()))


def _read_column(frame: nw.DataFrame[Any], name: str) -> pl.Series:
    """Read one column; nulls of any spelling (None, NaN in an object column, NaT, NA) become null."""
    series = frame[name]
    if series.implementation.is_pandas():
        return _from_pandas(series.to_native(), name)
    return series.to_polars().alias(name)


def to_series(values: Any, name: str = "values") -> pl.Series:
    """Read a list, an array or a series of any library into a polars series.

    Raises
    ------
    DTypeError
        If the argument is a single string, or not one-dimensional.
    """
    if isinstance(values, pl.Series):
        return values.alias(name)
    if isinstance(values, str | bytes):
        raise DTypeError(f"{name}: expected a sequence of values, got {values!r}; wrap it in a list")
    if isinstance(values, np.ndarray):
        if values.ndim != 1:
            raise DTypeError(f"{name}: expected one dimension, got an array of shape {values.shape}")
        return _from_objects(values.tolist(), name) if values.dtype == object else pl.Series(name, values)
    if type(values) in (list, tuple):  # no question for narwhals, which takes its time over it
        return _from_objects(values, name)
    try:
        wrapped = nw.from_native(values, series_only=True)
    except TypeError:
        # An Arrow array, which is no series to narwhals, would be a list of Arrow's own scalars.
        if hasattr(values, "__arrow_c_array__"):
            return pl.Series(name, values)
        return _from_objects(list(values), name)
    return _read_column(wrapped.alias(name).to_frame(), name)


def _from_pandas(native: Any, name: str) -> pl.Series:
    dtype = native.dtype
    if isinstance(dtype, np.dtype) and dtype.kind != "O":
        # Without nan_to_null: NaN in a weight column and null in it are two different faults.
        return pl.Series(name, native.to_numpy())
    if hasattr(native, "cat"):
        categories = to_series(native.cat.categories.to_numpy(), name)
        codes = pl.Series(native.cat.codes.to_numpy()).cast(pl.Int64)
        return categories.gather(codes.set(codes < 0, None)).alias(name)
    if getattr(dtype, "tz", None) is not None:
        utc = native.dt.tz_convert("UTC").dt.tz_localize(None)
        return pl.Series(name, utc.to_numpy()).dt.replace_time_zone("UTC")
    return _from_objects(native.astype(object).where(native.notna(), None).tolist(), name)


def _from_objects(values: Sequence[Any], name: str) -> pl.Series:
    kinds = set(map(type, values)) - {type(None)}
    if float in kinds and kinds <= {float, int}:
        return pl.Series(name, values, dtype=pl.Float64)
    if float in kinds:
        # A missing string is often a float NaN, the one object that differs from itself.
        values = [None if isinstance(value, float) and value != value else value for value in values]
        kinds = set(map(type, values)) - {type(None)}
    try:
        return pl.Series(name, values) if len(kinds) < 2 else pl.Series(name, values, dtype=pl.Object)
    except (TypeError, OverflowError, pl.exceptions.PolarsError):
        return pl.Series(name, values, dtype=pl.Object)
