"""The checks of a table of interactions: each is written once.

A check returns findings.  Reading data raises the first that is an error; :func:`recsys_core.data.audit` lists
them all.  Rows are counted from 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
import polars as pl

from recsys_core.errors import DataError, DTypeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from recsys_core.types import FloatArray

__all__ = ["ID_DTYPES", "Finding", "Severity", "check_ids", "check_not_empty", "parse_weights", "raise_first"]

Severity: TypeAlias = Literal["error", "warning", "info"]

SHOWN_ROWS = 5

# What tables write for a number that is not there; lower case.
_MISSING: Final = ("", "nan", "na", "n/a", "null", "none")

ID_DTYPES: Final[dict[str, Any]] = {
    "int8": pl.Int8,
    "int16": pl.Int16,
    "int32": pl.Int32,
    "int64": pl.Int64,
    "uint8": pl.UInt8,
    "uint16": pl.UInt16,
    "uint32": pl.UInt32,
    "uint64": pl.UInt64,
    "string": pl.String,
    "date": pl.Date,
}
"""The types that ids are kept in, by the names that files call them."""


@dataclass(frozen=True)
class Finding:
    """One thing that a check found.

    Attributes
    ----------
    check
        Stable name of the check, such as ``null-ids``.
    severity
        "error": the data cannot be read; "warning": it can, but results may mislead; "info": good to know.
    message
        What was expected and what was found.
    remedy
        What to do about it.
    count
        Number of rows, ids or values concerned.
    rows
        The first rows concerned, counted from 0; empty where a row makes no sense.
    error
        What reading the data raises, if the severity is "error".
    """

    check: str
    severity: Severity
    message: str
    remedy: str = ""
    count: int = 0
    rows: tuple[int, ...] = ()
    error: type[DataError] = DataError

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as plain values, ready for JSON."""
        names = ("check", "severity", "message", "remedy", "count")
        return {**{name: getattr(self, name) for name in names}, "rows": list(self.rows)}


def raise_first(findings: Sequence[Finding]) -> None:
    """Raise the first finding that is an error, if there is one."""
    for finding in findings:
        if finding.severity == "error":
            raise finding.error(str(finding))


def first_rows(mask: npt.NDArray[np.bool_] | pl.Series) -> tuple[int, ...]:
    """Return the first few rows where the mask holds."""
    return tuple(np.flatnonzero(np.asarray(mask))[:SHOWN_ROWS].tolist())


def describe_rows(rows: Sequence[int], count: int, values: Sequence[Any] | None = None) -> str:
    """Word the first rows of a finding: ``row 3 (nan), 7 (-1.0) and 12 more``."""
    parts = [str(row) if values is None else f"{row} ({values[i]!r})" for i, row in enumerate(rows)]
    more = f" and {count - len(rows)} more" if count > len(rows) else ""
    return ("row " if count == 1 else "rows ") + ", ".join(parts) + more


def counted(count: int, one: str, many: str) -> str:
    """Word a number of things: ``1 event repeats`` and ``1,200 events repeat``."""
    return f"{count:,} {one if count == 1 else many}"


def check_not_empty(n_rows: int) -> list[Finding]:
    """Check that there is at least one row."""
    if n_rows:
        return []
    remedy = "check the file or the query that it comes from"
    return [Finding("empty", "error", "interactions: expected at least one row, got none", remedy)]


def check_ids(ids: pl.Series, column: str) -> list[Finding]:
    """Check that ids are there and of one usable type: integers, strings, categories or dates."""
    missing = ids.is_null() | ids.is_nan() if ids.dtype.is_float() else ids.is_null()
    if missing.any():
        rows, count = first_rows(missing), int(missing.sum())
        message = f"{column}: expected an id in every row, got null at {describe_rows(rows, count)}"
        return [Finding("null-ids", "error", message, "drop these rows or fill in their ids", count, rows)]
    dtype = ids.dtype
    if dtype in (*ID_DTYPES.values(), pl.Categorical, pl.Enum, pl.Null):
        return []
    if dtype == pl.Object:
        return [_object_ids(ids.to_list(), column)]
    expected = "integers, strings or dates"
    if dtype.is_float():
        remedy = "cast the column to int64, or to strings if the fraction matters"
    elif dtype.is_integer():
        expected = "integers of at most 64 bits, strings or dates"
        remedy = "cast the column to strings"
    else:
        remedy = "cast the column to strings or integers"
    message = f"{column}: expected {expected} as ids, got {dtype}"
    return [Finding("id-type", "error", message, remedy, len(ids), error=DTypeError)]


def _object_ids(ids: list[Any], column: str) -> Finding:
    example: dict[type, int] = {}
    for row, value in enumerate(ids):
        example.setdefault(type(value), row)
    seen = ", ".join(f"{kind.__name__} ({ids[row]!r} at row {row})" for kind, row in example.items())
    remedy = "cast the whole column to one type, such as strings"
    rows = tuple(list(example.values())[:SHOWN_ROWS])
    if set(example) == {int}:  # wider than any type for integers
        message = f"{column}: expected integers of at most 64 bits as ids, got wider ones"
        return Finding("id-type", "error", message, "cast the column to strings", len(ids), error=DTypeError)
    if len(example) == 1:
        message = f"{column}: expected integers, strings or dates as ids, got {seen}"
        return Finding("id-type", "error", message, remedy, len(ids), rows, DTypeError)
    distinct = set(ids)
    collisions = len(distinct) - len(set(map(str, distinct)))
    message = f"{column}: expected ids of one type, got {seen}"
    if collisions:
        message += f"; {collisions} of them are duplicated ids of different type, such as 1 and '1'"
    return Finding("mixed-id-types", "error", message, remedy, len(ids), rows, DTypeError)


def parse_weights(weights: pl.Series, column: str) -> tuple[FloatArray | None, list[Finding]]:
    """Return weights as float32, shape (n,), or None and the errors that prevent it.

    A weight is a finite number of at least 0; booleans count as 0 and 1.  Text is no number, but it is read as far as
    it goes, so that the cells which made a column of numbers one of text are found.
    """
    numbers: pl.Series = weights
    findings: list[Finding] = []
    if weights.dtype == pl.String:
        numbers, findings = _numbers_in_text(weights, column)
    elif weights.dtype == pl.Object or not (weights.dtype.is_numeric() or weights.dtype in (pl.Boolean, pl.Null)):
        return None, [_not_numbers(weights, column)]
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is reported as such
        values = numbers.cast(pl.Float64).fill_null(np.nan).to_numpy().astype(np.float32)
    for check, expected, bad in (
        ("finite-weights", "a finite weight", ~np.isfinite(values) & ~_unreadable(weights)),
        ("negative-weights", "a weight of at least 0", values < 0),
    ):
        if bad.any():
            findings.append(_bad_weights(check, column, expected, weights, bad))
    if weights.dtype == pl.String and not findings:
        findings = [_not_numbers(weights, column)]
    return (None if findings else values), findings


def _numbers_in_text(weights: pl.Series, column: str) -> tuple[pl.Series, list[Finding]]:
    """The numbers in a column of text, null where there is none, and an error if some cells are neither nor empty."""
    bad = _unreadable(weights)
    findings = []
    if bad.any():
        rows, count = first_rows(bad), int(bad.sum())
        got = describe_rows(rows, count, [weights[row] for row in rows])
        message = f"{column}: expected numbers, got {got}"
        remedy = "mend these cells, or drop their rows"
        findings.append(Finding("weight-type", "error", message, remedy, count, rows, DTypeError))
    return weights.str.strip_chars().cast(pl.Float64, strict=False), findings


def _unreadable(weights: pl.Series) -> npt.NDArray[np.bool_]:
    """Where a column of text has a cell that is neither a number nor one of the words for a missing one."""
    if weights.dtype != pl.String:
        return np.zeros(len(weights), np.bool_)
    text = weights.str.strip_chars()
    missing = text.is_null() | text.str.to_lowercase().is_in(_MISSING)
    return (text.cast(pl.Float64, strict=False).is_null() & ~missing).to_numpy()


def _not_numbers(weights: pl.Series, column: str) -> Finding:
    message = f"{column}: expected numbers, got {weights.dtype} (row 0 is {weights[0]!r})"
    return Finding("weight-type", "error", message, "cast the column to a float", len(weights), error=DTypeError)


def _bad_weights(check: str, column: str, expected: str, weights: pl.Series, bad: npt.NDArray[np.bool_]) -> Finding:
    rows, count = first_rows(bad), int(bad.sum())
    values = [weights[row] for row in rows]
    message = f"{column}: expected {expected} in every row, got {describe_rows(rows, count, values)}"
    if check == "negative-weights":
        remedy = "drop these rows, or shift the weights; a weight says how strong the evidence for the item is"
    else:
        remedy = "drop these rows or fill in a weight"
    return Finding(check, "error", message, remedy, count, rows)
