"""Times of any spelling to microseconds since the epoch, UTC."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

import numpy as np
import polars as pl

from recsys_core.data.validation import Finding, describe_rows, first_rows
from recsys_core.errors import ConfigError, DTypeError

if TYPE_CHECKING:
    import numpy.typing as npt

    from recsys_core.types import IndexArray

__all__ = ["TimeUnit", "guess_time_unit", "parse_datetimes"]

TimeUnit: TypeAlias = Literal["s", "ms", "us", "ns"]
"""Unit of times that are numbers: seconds down to nanoseconds since 1970-01-01 UTC."""

_PER_SECOND: Final[dict[TimeUnit, int]] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
# The year 5138 in seconds; three more digits a unit.
_LARGEST_SECONDS: Final = 10**11
_FIRST: Final = -62_135_596_800_000_000  # 0001-01-01 in microseconds
_LAST: Final = 253_402_300_799_999_999  # the end of 9999
_FORMATS: Final = tuple(
    f"%Y-%m-%d{separator}%H:%M:%S%.f{offset}" for separator in ("T", " ") for offset in ("", "Z", "%:z")
)


def guess_time_unit(largest: float) -> TimeUnit:
    """Guess the unit of integer times from the largest magnitude among them.

    Below 1e11 seconds, then milliseconds below 1e14, microseconds below 1e17, else nanoseconds.  Each guess is
    right for all times between March 1973 and the year 5138; small counters are read as seconds, which keeps
    their order.
    """
    for power, unit in enumerate(get_args(TimeUnit)[:-1]):
        if largest < _LARGEST_SECONDS * 1000**power:
            return unit  # type: ignore[no-any-return]
    return "ns"


def parse_datetimes(
    times: pl.Series, column: str, time_unit: TimeUnit | None = None
) -> tuple[IndexArray | None, list[Finding]]:
    """Return times as int64 microseconds since 1970-01-01 UTC, shape (n,), or None and the errors.

    Parameters
    ----------
    times
        Datetimes (with a zone: converted; without: taken as UTC), dates (midnight), ISO 8601 strings, or numbers
        since the epoch.
    column
        Name for the messages.
    time_unit
        Unit of numbers; guessed by :func:`guess_time_unit` if None, which the findings then say.
    """
    if time_unit is not None and time_unit not in _PER_SECOND:
        raise ConfigError(f"time_unit: expected one of {', '.join(_PER_SECOND)} or None, got {time_unit!r}")
    missing = times.is_null() | times.is_nan() if times.dtype.is_float() else times.is_null()
    if missing.any():
        rows, count = first_rows(missing), int(missing.sum())
        message = f"{column}: expected a time in every row, got null at {describe_rows(rows, count)}"
        remedy = "drop these rows, or leave the column out to take the row order as the time order"
        return None, [Finding("null-times", "error", message, remedy, count, rows)]
    if times.dtype.is_numeric():
        return _from_numbers(times, column, time_unit)
    if times.dtype in (pl.Datetime, pl.Date):
        micros = times.cast(pl.Datetime("us", getattr(times.dtype, "time_zone", None))).to_physical()
        return micros.to_numpy(), []
    if times.dtype in (pl.String, pl.Categorical, pl.Enum):
        return _from_strings(times.cast(pl.String), column)
    message = f"{column}: expected datetimes, dates, ISO 8601 strings or numbers, got {times.dtype}"
    remedy = "convert the column to one of them"
    return None, [Finding("time-type", "error", message, remedy, len(times), error=DTypeError)]


def _from_numbers(times: pl.Series, column: str, time_unit: TimeUnit | None) -> tuple[IndexArray | None, list[Finding]]:
    findings = []
    values = times.to_numpy()
    # In float64, since abs(int64 minimum) overflows; a rounded bound is good enough for a guess.
    largest = float(np.abs(values.astype(np.float64)).max()) if len(values) else 0.0
    unit = time_unit
    if unit is None:
        unit = guess_time_unit(largest)
        message = f"{column}: numbers read as {unit} since 1970-01-01 UTC, guessed from the largest, {largest:.0f}"
        findings.append(Finding("time-unit", "info", message, "pass time_unit to say which unit it is"))
    per_second = _PER_SECOND[unit]
    first, last = _FIRST * per_second / 10**6, _LAST * per_second / 10**6
    outside = ~((values >= first) & (values <= last))
    if outside.any():
        rows, count = first_rows(outside), int(outside.sum())
        got = describe_rows(rows, count, [times[row] for row in rows])
        message = f"{column}: expected times in the years 1 to 9999, got {got} in {unit}"
        return None, [Finding("time-range", "error", message, "check the values, and pass time_unit", count, rows)]
    findings += _other_units(values, column, unit)
    if times.dtype.is_float():
        micros = np.rint(values.astype(np.float64) * (10**6 / per_second)).astype(np.int64)
    elif per_second > 10**6:
        micros = values.astype(np.int64) // (per_second // 10**6)
    else:
        micros = values.astype(np.int64) * (10**6 // per_second)
    return micros, findings


def _other_units(values: npt.NDArray[Any], column: str, unit: TimeUnit) -> list[Finding]:
    """Numbers that in ``unit`` are before March 1973, but not in the coarser unit that their size suggests."""
    units = get_args(TimeUnit)
    sizes = np.abs(values.astype(np.float64))
    bounds = [_LARGEST_SECONDS * 1000**power for power in range(len(units) - 1)]
    suggested = np.searchsorted(bounds, sizes, side="right")
    coarser = (suggested < units.index(unit)) & (sizes >= _LARGEST_SECONDS / 1000)
    if not coarser.any():
        return []
    rows, count = first_rows(coarser), int(coarser.sum())
    others = " or ".join(units[power] for power in np.unique(suggested[coarser]))
    message = f"{column}: {count} times look like {others} among times in {unit}, at {describe_rows(rows, count)}"
    remedy = f"read as {unit} they are before March 1973; if the units are mixed, convert them to one"
    return [Finding("mixed-time-units", "warning", message, remedy, count, rows)]


def _from_strings(times: pl.Series, column: str) -> tuple[IndexArray | None, list[Finding]]:
    micros = pl.Series(np.full(len(times), None), dtype=pl.Int64)
    for pattern in ("%Y-%m-%d", *_FORMATS):
        if pattern == "%Y-%m-%d":
            parsed = times.str.strptime(pl.Date, pattern, strict=False).cast(pl.Datetime("us"))
        else:
            parsed = times.str.strptime(pl.Datetime("us"), pattern, strict=False)
        micros = pl.select(pl.coalesce(micros, parsed.to_physical())).to_series()
        if not micros.null_count():
            return micros.to_numpy(), []
    # The rarer spellings of ISO 8601, one distinct string at a time.
    left = micros.is_null()
    spelled = times.filter(left).unique()
    table = {text: _from_iso(text) for text in spelled}
    bad = times.is_in([text for text, value in table.items() if value is None])
    if bad.any():
        rows, count = first_rows(bad), int(bad.sum())
        got = describe_rows(rows, count, [times[row] for row in rows])
        message = f"{column}: expected ISO 8601 times such as '2024-05-31T18:30:00Z', got {got}"
        remedy = "parse the column into datetimes first, or cast digits to integers"
        return None, [Finding("time-format", "error", message, remedy, count, rows)]
    micros = pl.select(
        pl.coalesce(micros, times.replace_strict(table, default=None, return_dtype=pl.Int64))
    ).to_series()
    return micros.to_numpy(), []


def _from_iso(text: str) -> int | None:
    if text.isdigit():  # 20240531 may be a date or a number of seconds: not for us to guess
        return None
    try:
        return to_micros(dt.datetime.fromisoformat(text))
    except ValueError:
        return None


def to_micros(moment: dt.datetime) -> int:
    """Return microseconds since the epoch; a datetime without a zone is taken as UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    delta = moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return delta // dt.timedelta(microseconds=1)


def as_micros(moment: Any, argument: str) -> int:
    """Read one moment: a datetime, a date, an ISO 8601 string or a NumPy datetime64."""
    if isinstance(moment, np.datetime64):
        moment = moment.astype("datetime64[us]").item()
    if isinstance(moment, str):
        micros = _from_iso(moment)
        if micros is not None:
            return micros
    elif isinstance(moment, dt.datetime):
        return to_micros(moment)
    elif isinstance(moment, dt.date):
        return to_micros(dt.datetime(moment.year, moment.month, moment.day))
    raise DTypeError(f"{argument}: expected a datetime, a date or an ISO 8601 string, got {moment!r}")
