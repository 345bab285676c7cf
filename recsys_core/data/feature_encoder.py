"""Feature tables as numbers: what a model can multiply, with the same columns for every table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import polars as pl

from recsys_core.data.frames import read_table
from recsys_core.data.id_map import IdMap
from recsys_core.errors import ConfigError, DataError, DTypeError, FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from recsys_core.types import CSR

__all__ = ["FeatureColumn", "FeatureEncoder"]

_ID_COLUMNS = ("user_id", "item_id")
_DAY = 86_400_000_000  # in microseconds


@dataclass(frozen=True)
class FeatureColumn:
    """How one column of a table becomes columns of the matrix.

    Attributes
    ----------
    name
        Of the column in the table.
    kind
        "number" is one column, (value - mean) / scale; "values" is one column of zeros and ones for each of
        ``values``, of which a row may have several.
    mean, scale
        Of a number.
    values
        Of "values", as strings in ascending order.
    """

    name: str
    kind: Literal["number", "values"]
    mean: float = 0.0
    scale: float = 1.0
    values: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the matrix columns: ``year``, or ``genres=Comedy`` and so on."""
        return (self.name,) if self.kind == "number" else tuple(f"{self.name}={value}" for value in self.values)

    @cached_property
    def _index(self) -> IdMap:
        return IdMap(pl.Series(self.values, dtype=pl.String))


@dataclass(frozen=True)
class FeatureEncoder:
    """From feature tables to sparse matrices whose columns are those of the table that it was made from.

    Numbers, dates and times are standardised (mean 0, standard deviation 1; unknown is 0, the mean).  Strings,
    categories and booleans become a column of zeros and ones for each value, and so do the elements of lists.

    Parameters
    ----------
    columns
        One for each column of the table that is used; usually from :meth:`from_table`.

    Examples
    --------
    >>> import polars as pl
    >>> films = pl.DataFrame(
    ...     {"item_id": [1, 2, 3], "genres": [["war"], ["war", "love"], ["love"]], "year": [1990, 2000, None]}
    ... )
    >>> encoder = FeatureEncoder.from_table(films)
    >>> encoder.names
    ('genres=love', 'genres=war', 'year')
    >>> encoder.encode(films).toarray()
    array([[ 0.,  1., -1.],
           [ 1.,  1.,  1.],
           [ 1.,  0.,  0.]], dtype=float32)
    >>> encoder.encode(pl.DataFrame({"genres": [["love", "crime"]], "year": [2010]})).toarray()
    array([[1., 0., 3.]], dtype=float32)
    """

    columns: tuple[FeatureColumn, ...]

    def __post_init__(self) -> None:
        if not self.columns:
            raise DataError("columns: expected at least one column of features, got none")

    @classmethod
    def from_table(cls, table: Any, *, columns: Sequence[str] | None = None, min_count: int = 2) -> Self:
        """Learn the columns, their values and scales from a table.

        Parameters
        ----------
        table
            A data frame, one row an item or a user.
        columns
            Names of the columns to use; all but ``item_id`` and ``user_id`` if None.
        min_count
            A value that fewer rows have is left out, at least 1.  What a single row has, such as its title, says
            nothing about another.

        Raises
        ------
        ConfigError
            `min_count` is below 1.
        DataError
            A column is missing, holds an infinite number, or nothing is left to encode.
        DTypeError
            A column holds neither numbers, times, strings, categories, booleans nor lists of these.

        Notes
        -----
        Whole numbers are quantities.  Cast the codes of categories to strings.  A number that is the same everywhere is
        left out.
        """
        if type(min_count) is not int or min_count < 1:
            raise ConfigError(f"min_count: expected an integer of at least 1, got {min_count!r}")
        frame = read_table(table, "features")
        chosen = [name for name in frame.columns if name not in _ID_COLUMNS] if columns is None else list(columns)
        learned = [_learn(_column(frame, name, "features"), min_count) for name in chosen]
        found = tuple(column for column in learned if column is not None)
        if not found:
            raise DataError(
                f"features: expected a value that at least {min_count} rows share or a number that varies, got none in "
                f"columns {', '.join(map(repr, chosen)) or '(none)'}; lower min_count or add columns"
            )
        return cls(found)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the matrix columns, in their order."""
        return tuple(name for column in self.columns for name in column.names)

    def encode(self, table: Any, *, argument: str = "features") -> CSR:
        """Return the features of a table's rows.

        Parameters
        ----------
        table
            A data frame with the columns of the first table, in any order, and any others.
        argument
            What to call the table in an error.

        Returns
        -------
        scipy.sparse.csr_matrix
            float32, shape (rows, len(names)), sorted and without zeros.  Values that the first table did not have are
            left out; a row of which nothing is known is empty.

        Raises
        ------
        DataError
            A column is missing or holds an infinite number.
        DTypeError
            A column that held numbers no longer does, or one that held values does.
        """
        import scipy.sparse as sp

        frame = read_table(table, argument)
        rows, places, values, offset = [], [], [], 0
        for column in self.columns:
            row, place, value = _entries(_column(frame, column.name, argument), column, argument)
            rows.append(row)
            places.append(place + offset)
            values.append(value)
            offset += len(column.names)
        cells = (np.concatenate(rows), np.concatenate(places))
        matrix: CSR = sp.csr_matrix((np.concatenate(values), cells), shape=(len(frame), offset), dtype=np.float32)
        matrix.eliminate_zeros()
        return matrix

    def to_dict(self) -> dict[str, Any]:
        """Return the encoder as plain values, ready for JSON."""
        return {"columns": [{**asdict(column), "values": list(column.values)} for column in self.columns]}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_dict`."""
        try:
            columns = [FeatureColumn(**{**column, "values": tuple(column["values"])}) for column in plain["columns"]]
        except (KeyError, TypeError) as error:
            raise FormatError(f"features: expected what FeatureEncoder.to_dict returns, got {plain!r}") from error
        return cls(tuple(columns))


def _column(frame: pl.DataFrame, name: str, argument: str) -> pl.Series:
    if name not in frame.columns:
        raise DataError(f"{argument}: expected a column {name!r}, got {', '.join(map(repr, frame.columns))}")
    return frame[name]


def _learn(series: pl.Series, min_count: int) -> FeatureColumn | None:
    if _is_number(series.dtype):
        numbers = _numbers(series, "features")
        known = numbers[~np.isnan(numbers)]
        if not known.size or known.min() == known.max():
            return None
        return FeatureColumn(series.name, "number", float(known.mean()), float(known.std()))
    counts = _values(series, "features")["value"].value_counts()
    kept = counts.filter(pl.col("count") >= min_count)["value"].sort().to_list()
    return FeatureColumn(series.name, "values", values=tuple(kept)) if kept else None


def _entries(
    series: pl.Series, column: FeatureColumn, argument: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Rows, matrix columns and values of one table column."""
    if _is_number(series.dtype) != (column.kind == "number") and series.dtype != pl.Null:
        expected = "numbers or times" if column.kind == "number" else "strings, categories, booleans or lists"
        raise DTypeError(f"{argument}[{series.name!r}]: expected {expected} as in the first table, got {series.dtype}")
    if column.kind == "number":
        numbers = _numbers(series, argument)
        row = np.flatnonzero(~np.isnan(numbers))
        scaled = (numbers[row] - column.mean) / column.scale
        return row, np.zeros(len(row), dtype=np.int64), scaled.astype(np.float32)
    pairs = _values(series, argument)
    place = column._index.index_of(pairs["value"])
    known = place >= 0
    return pairs["row"].to_numpy()[known], place[known], np.ones(int(known.sum()), dtype=np.float32)


def _is_number(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or (dtype.is_temporal() and dtype != pl.Duration)


def _numbers(series: pl.Series, argument: str) -> npt.NDArray[np.float64]:
    """Float64, NaN where unknown; dates and times in days, so that what they are measured in does not matter."""
    if series.dtype == pl.Time:
        numbers = series.cast(pl.Int64).cast(pl.Float64) / (1000 * _DAY)
    elif series.dtype.is_temporal():
        numbers = series.cast(pl.Datetime("us")).cast(pl.Int64).cast(pl.Float64) / _DAY
    else:
        numbers = series.cast(pl.Float64)
    array = numbers.fill_null(np.nan).to_numpy()
    if np.isinf(array).any():
        raise DataError(
            f"{argument}[{series.name!r}]: expected finite numbers, got {array[np.isinf(array)][0]} in row "
            f"{np.flatnonzero(np.isinf(array))[0]}; make it null or mend it"
        )
    return array


def _values(series: pl.Series, argument: str) -> pl.DataFrame:
    """Each row with each of its values as a string, once: columns row (int64) and value."""
    dtype = series.dtype
    inner = dtype.inner if isinstance(dtype, pl.List | pl.Array) else dtype
    usable = (pl.String, pl.Categorical, pl.Enum, pl.Boolean, pl.Null)
    if inner not in usable and not (inner is not dtype and inner.is_integer()):
        raise DTypeError(
            f"{argument}[{series.name!r}]: expected numbers, times, strings, booleans or lists of values, got "
            f"{dtype}; convert the column, or leave it out with columns=[...]"
        )
    pairs = pl.DataFrame({"row": np.arange(len(series), dtype=np.int64), "value": series})
    if inner is not dtype:
        pairs = pairs.explode("value")
    return pairs.with_columns(pl.col("value").cast(pl.String)).drop_nulls().unique(maintain_order=True)
