"""From a feature table to the arrays that encoders take, the same for every table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import polars as pl

from recsys_core.data.feature_encoder import FeatureEncoder
from recsys_core.data.texts import SentenceModel, hashed_ngrams
from recsys_core.errors import DataError, DTypeError, FormatError
from recsys_core.types import CSR, FloatArray, IndexArray

__all__ = ["FeaturePreparation"]

_IDS = ("user_id", "item_id")


@dataclass(frozen=True)
class FeaturePreparation:
    """What training learned of a feature table: the scales of its numbers, the values of its categories.

    Parameters
    ----------
    encoder
        Numbers and categories, or None if there are none.
    text_columns
        Columns of texts; a row's texts are read as one.
    n_buckets
        Numbers that n-grams are hashed to; used where there is no ``text_model``.
    text_model
        Path of a sentence-transformer in ONNX, or None to hash n-grams; see
        :class:`~recsys_core.data.SentenceModel`.
    widths
        Places of each categorical column: the longest list that training saw.
    unread
        Columns of the first table that are not read: numbers that are the same everywhere, values of too few rows.

    Examples
    --------
    >>> import polars as pl
    >>> films = pl.DataFrame({"title": ["Tea", "Rum", None], "year": [1990, 2000, None], "kind": ["a", "b", "a"]})
    >>> preparation = FeaturePreparation.from_table(films, min_count=1, text_columns=["title"], n_buckets=100)
    >>> arrays = preparation.arrays(films)
    >>> arrays["numeric"].ravel(), arrays["categorical"].ravel()
    (array([-1.,  1., nan], dtype=float32), array([0, 1, 0]))
    """

    encoder: FeatureEncoder | None
    text_columns: tuple[str, ...] = ()
    n_buckets: int = 10_000
    text_model: str | None = None
    widths: tuple[int, ...] = field(default=())
    unread: tuple[str, ...] = field(default=())

    @classmethod
    def from_table(
        cls,
        table: pl.DataFrame,
        *,
        columns: Sequence[str] | None = None,
        text_columns: Sequence[str] | None = None,
        n_buckets: int = 10_000,
        text_model: str | None = None,
        min_count: int = 2,
    ) -> Self:
        """Learn from the rows of a table.

        Parameters
        ----------
        table
            Rows that training has interactions of.
        columns
            Names of the columns to read beside the texts; all others but ``item_id`` and ``user_id`` if None.
        text_columns
            Columns to read as texts; if None, the columns of strings that hold blanks and of which most are unlike
            any other, as titles are.
        n_buckets, text_model
            As above.
        min_count
            A categorical value of fewer rows is left out, at least 1.

        Raises
        ------
        DataError
            A text column is missing, or nothing in the table can be used.
        """
        texts = _text_columns(table) if text_columns is None else list(text_columns)
        missing = [name for name in texts if name not in table.columns]
        if missing:
            raise DataError(f"text_columns: expected columns of the features, got {', '.join(missing)}.")
        others = [name for name in table.columns if name not in (*_IDS, *texts) and table[name].dtype != pl.Null]
        if columns is not None:
            others = [name for name in columns if name not in texts]
        encoder = None
        if others:
            encoder = FeatureEncoder.from_table(table, columns=others, min_count=min_count)
        elif not texts:
            raise DataError("features: expected a column beside the ids, got none.")
        widths = () if encoder is None else tuple(_widths(encoder, encoder.encode(table)))
        read = {column.name for column in encoder.columns} if encoder is not None else set()
        unread = tuple(name for name in table.columns if name not in (*_IDS, *texts) and name not in read)
        return cls(encoder, tuple(texts), n_buckets, text_model, widths, unread)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that are read."""
        return (*(column.name for column in self._columns), *self.text_columns)

    def sizes(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Sizes of what :meth:`arrays` returned, as fields of ``recsys_neural.encoders.EntityInputs``."""
        return {
            "n_numeric": self.n_numbers,
            "widths": self.widths,
            "n_values": self.n_values,
            "n_buckets": self.n_buckets if "text" in arrays else 0,
            "vector_dims": arrays["vector"].shape[1] if "vector" in arrays else 0,
        }

    @property
    def n_numbers(self) -> int:
        """Number of numeric columns."""
        return len(self._numbers)

    @property
    def n_values(self) -> int:
        """Number of values of all categorical columns together."""
        return sum(len(column.values) for column in self._columns if column.kind == "values")

    def arrays(self, table: pl.DataFrame, *, argument: str = "features") -> dict[str, FloatArray | IndexArray]:
        """The features of a table's rows, as the arrays that encoders take.

        Parameters
        ----------
        table
            A table with the columns of the first.
        argument
            What to call the table in an error.

        Returns
        -------
        dict
            As far as there are any: ``numeric`` float32 [B, n], (value - mean) / scale within -10 and 10, NaN where
            missing; ``categorical`` int64 [B, sum(widths)], the places of one column after the other, each a number of
            the values of all columns together, -1 where missing; and of the texts, ``text`` int64 [B, W], hashed
            n-grams with -1 behind them, or ``vector`` float32 [B, d], NaN where missing.  What training did not see is
            missing; of a list longer than any that it saw, the first values are kept.

        Raises
        ------
        DataError
            A column is missing or holds an infinite number.
        DTypeError
            A column is of another type than in the first table.
        """
        arrays: dict[str, FloatArray | IndexArray] = {}
        if self.encoder is not None:
            matrix = self.encoder.encode(table, argument=argument)
            if self._numbers:
                arrays["numeric"] = self._numeric(table, matrix)
            if self.widths:
                arrays["categorical"] = self._categorical(matrix)
        if self.text_columns:
            texts = [" ".join(filter(None, row)) for row in self._texts(table, argument).iter_rows()]
            if self.text_model is None:
                arrays["text"] = hashed_ngrams(texts, self.n_buckets)
            else:
                arrays["vector"] = SentenceModel(self.text_model).encode(texts)
        return arrays

    def made_up(self, rng: np.random.Generator, n_rows: int, vector_dims: int | None = None) -> dict[str, Any]:
        """Arrays such as :meth:`arrays` returns, by chance, to try a graph on.

        Parameters
        ----------
        rng
            Draws them.
        n_rows
            Rows; of the first nothing is known, and of the others more or less.
        vector_dims
            Length of a text's vector, of which the text model is asked if None.
        """
        arrays: dict[str, Any] = {}
        known = rng.random((n_rows, 1)) < 0.9
        known[:1] = False
        if self._numbers:
            there = known & (rng.random((n_rows, len(self._numbers))) < 0.8)
            arrays["numeric"] = np.where(there, rng.normal(size=there.shape), np.nan).astype(np.float32)
        if self.widths:
            values = rng.integers(-1, self.n_values, (n_rows, sum(self.widths)))
            arrays["categorical"] = np.where(known, values, -1)
        if self.text_columns and self.text_model is None:
            n_places = int(rng.integers(2, 9))
            there = known & (np.arange(n_places) < rng.integers(0, n_places + 1, (n_rows, 1)))
            arrays["text"] = np.where(there, rng.integers(0, self.n_buckets, there.shape), -1)
        elif self.text_columns:
            n_dims = SentenceModel(self.text_model or "").n_dims if vector_dims is None else vector_dims
            arrays["vector"] = np.where(known, rng.normal(size=(n_rows, n_dims)), np.nan).astype(np.float32)
        return arrays

    def _texts(self, table: pl.DataFrame, argument: str) -> pl.DataFrame:
        for name in self.text_columns:
            if name not in table.columns:
                raise DataError(f"{argument}: expected a column {name!r}, got {', '.join(map(repr, table.columns))}")
            if table[name].dtype not in (pl.String, pl.Null):
                raise DTypeError(f"{argument}[{name!r}]: expected texts as in the first table, got {table[name].dtype}")
        return table.select(self.text_columns)

    def _numeric(self, table: pl.DataFrame, matrix: CSR) -> FloatArray:
        places = [start for column, start in self._starts() if column.kind == "number"]
        numbers = np.asarray(matrix[:, places].toarray(), np.float32).clip(-10.0, 10.0)
        for place, name in enumerate(self._numbers):
            missing = table[name].is_null()
            if table[name].dtype.is_float():
                missing |= table[name].is_nan().fill_null(True)
            numbers[missing.to_numpy(), place] = np.nan  # in the matrix it is 0, the mean
        return numbers

    def _categorical(self, matrix: CSR) -> IndexArray:
        parts = []
        first = 0
        for (column, start), width in zip(
            [(column, start) for column, start in self._starts() if column.kind == "values"], self.widths, strict=True
        ):
            part = matrix[:, start : start + len(column.values)].tocsr()
            table = np.full((part.shape[0], width), -1, np.int64)
            rows = np.repeat(np.arange(part.shape[0]), np.diff(part.indptr))
            places = np.arange(part.nnz) - part.indptr[rows]
            kept = places < width
            table[rows[kept], places[kept]] = part.indices[kept] + first
            parts.append(table)
            first += len(column.values)
        return np.concatenate(parts, axis=1)

    def to_dict(self) -> dict[str, Any]:
        """Return the preparation as plain values, ready for JSON."""
        return {
            "encoder": None if self.encoder is None else self.encoder.to_dict(),
            "text_columns": list(self.text_columns),
            "n_buckets": self.n_buckets,
            "text_model": self.text_model,
            "widths": list(self.widths),
            "unread": list(self.unread),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_dict`."""
        try:
            return cls(
                None if plain["encoder"] is None else FeatureEncoder.from_dict(plain["encoder"]),
                tuple(plain["text_columns"]),
                plain["n_buckets"],
                plain["text_model"],
                tuple(plain["widths"]),
                tuple(plain.get("unread", ())),
            )
        except (KeyError, TypeError) as fault:
            raise FormatError(f"features: expected what FeaturePreparation.to_dict returns, got {plain!r}.") from fault

    @property
    def _columns(self) -> tuple[Any, ...]:
        return () if self.encoder is None else self.encoder.columns

    @property
    def _numbers(self) -> list[str]:
        return [column.name for column in self._columns if column.kind == "number"]

    def _starts(self) -> list[tuple[Any, int]]:
        """Each column with the place of its first one in the encoder's matrix."""
        starts, start = [], 0
        for column in self._columns:
            starts.append((column, start))
            start += len(column.names)
        return starts


def _text_columns(table: pl.DataFrame) -> list[str]:
    chosen = []
    for name in table.columns:
        if name in _IDS or table[name].dtype != pl.String:
            continue
        texts = table[name].drop_nulls()
        if len(texts) and 2 * texts.n_unique() > len(texts) and texts.str.contains(r"\s").any():
            chosen.append(name)
    return chosen


def _widths(encoder: FeatureEncoder, matrix: CSR) -> list[int]:
    by_column, widths, start = matrix.tocsc(), [], 0
    for column in encoder.columns:
        stop = start + len(column.names)
        if column.kind == "values":
            widths.append(
                int(np.bincount(by_column.indices[by_column.indptr[start] : by_column.indptr[stop]]).max(initial=1))
            )
        start = stop
    return widths
