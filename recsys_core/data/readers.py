"""Files to interactions."""

from __future__ import annotations

import codecs
import csv
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import narwhals as nw
import polars as pl

from recsys_core.data.interactions import Interactions
from recsys_core.errors import ConfigError, DataError, FormatError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from recsys_core.data.times import TimeUnit

__all__ = ["read_interactions", "scan_table"]

_SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}


def read_interactions(
    path: str | os.PathLike[str],
    *,
    columns: Mapping[str, str | None] | None = None,
    item_features: Any = None,
    user_features: Any = None,
    time_unit: TimeUnit | None = None,
    separator: str | None = None,
    names: Sequence[str] | None = None,
    schema: Mapping[str, Any] | None = None,
) -> Interactions:
    """Read interactions from a CSV, TSV or Parquet file.

    Parameters
    ----------
    path
        The file; CSV and TSV may be compressed (``.gz``, ``.zst``).  Columns that play no part are not read.
    columns, item_features, user_features, time_unit
        As in :meth:`Interactions.from_frame`.
    separator
        One character between the fields of a text file; told from the suffix (``.csv``, ``.tsv``, ``.tab``) if
        None.
    names
        The column names of a text file without a header line.
    schema
        polars types of some columns of a text file, such as ``{"user": pl.String}`` for ids with leading zeros,
        which would be read as integers.

    Returns
    -------
    Interactions
        Its ``source`` is the path.

    Raises
    ------
    FormatError
        If the file cannot be parsed.
    DataError
        If there is no such file; and as in :meth:`Interactions.from_frame`.
    """
    try:
        table = scan_table(path, separator=separator, names=names, schema=schema)
        return Interactions.from_frame(
            table,
            columns=columns,
            item_features=item_features,
            user_features=user_features,
            time_unit=time_unit,
            source=str(path),
        )
    except (pl.exceptions.PolarsError, nw.exceptions.NarwhalsError) as error:
        raise FormatError(f"path: cannot read {str(path)!r}: {_reason(error, Path(path), separator)}") from error


def scan_table(
    path: str | os.PathLike[str],
    *,
    separator: str | None = None,
    names: Sequence[str] | None = None,
    schema: Mapping[str, Any] | None = None,
) -> pl.LazyFrame:
    """Open a CSV, TSV or Parquet file as a lazy polars frame; parameters as in :func:`read_interactions`."""
    path = Path(path)
    if not path.exists():
        raise DataError(f"path: expected a file, got {str(path)!r}, which does not exist")
    if path.is_dir():
        raise DataError(f"path: expected a file, got {str(path)!r}, which is a folder")
    suffixes = [suffix for suffix in path.suffixes if suffix not in (".gz", ".zst")]
    suffix = suffixes[-1].lower() if suffixes else ""
    if suffix in (".parquet", ".pq"):
        return pl.scan_parquet(path)
    separator = _SEPARATORS.get(suffix) if separator is None else separator
    if separator is None:
        raise ConfigError(
            f"separator: expected one for {path.name!r}, since only the suffixes {', '.join(_SEPARATORS)} and .parquet "
            "tell how a file is read; pass separator=','"
        )
    if len(separator) != 1:
        raise ConfigError(f"separator: expected one character for {path.name!r}, got {separator!r}")
    _check_utf8(path)
    scan = partial(
        pl.scan_csv,
        path,
        separator=separator,
        has_header=names is None,
        new_columns=None if names is None else list(names),
        # The whole file: an id such as "B00X" may come after thousands of numbers.
        infer_schema_length=None,
    )
    given = dict(schema or {})
    return scan(schema_overrides=given | _texts_of_digits(scan(schema_overrides=given), scan, set(given)))


def _reason(error: Exception, path: Path, separator: str | None) -> str:
    """What polars says, in one line; of a line with too many fields, which one it is."""
    told = str(error).strip().partition("\n")[0]
    if "more fields than" not in told:
        return told
    separator = _SEPARATORS.get(path.suffix.lower()) if separator is None else separator
    place = "a line"
    if separator is not None:  # not within a compressed file
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            lines = csv.reader(file, delimiter=separator)
            n_fields = len(next(lines))
            place = next((f"line {lines.line_num}" for fields in lines if len(fields) > n_fields), place)
    return f"{place} has more fields than the first; mend it, or quote what holds the separator"


def _check_utf8(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(2)
    if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise FormatError(
            f"path: expected UTF-8 in {path.name!r}, got UTF-16; convert it, such as by "
            f"`iconv -f UTF-16 -t UTF-8 {path.name}`"
        )


def _texts_of_digits(inferred: pl.LazyFrame, scan: Callable[..., pl.LazyFrame], given: set[str]) -> dict[str, Any]:
    """Columns to read as text although they look like numbers: as a number, the id "007" would become 7."""
    numbers = [name for name, dtype in inferred.collect_schema().items() if dtype.is_integer() and name not in given]
    if not numbers:
        return {}
    texts = scan(schema_overrides=dict.fromkeys(numbers, pl.String))
    padded = texts.select(pl.col(numbers).str.contains(r"^[+-]?0[0-9]").any()).collect().row(0)
    return {name: pl.String for name, found in zip(numbers, padded, strict=True) if found}
