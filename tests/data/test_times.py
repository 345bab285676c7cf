from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_core.data.times import as_micros, guess_time_unit, parse_datetimes
from recsys_core.errors import ConfigError, DTypeError

MOMENT = 1_717_180_200_000_000  # 2024-05-31T18:30:00Z
SUMMER = dt.timezone(dt.timedelta(hours=2))


def parse(values, **options):
    micros, findings = parse_datetimes(pl.Series("when", values), "when", **options)
    assert [str(f) for f in findings if f.severity == "error"] == []
    assert micros.dtype == np.int64
    return micros.tolist()


def problem(values, **options):
    micros, findings = parse_datetimes(pl.Series("when", values), "when", **options)
    assert micros is None
    return str(findings[-1])


@pytest.mark.parametrize(
    "value",
    [
        "2024-05-31T18:30:00Z",
        "2024-05-31 18:30:00",
        "2024-05-31T20:30:00+02:00",
        "2024-05-31 20:30:00.000+02:00",
        "2024-05-31T18:30:00.000000",
        "2024-05-31T18:30",
        "20240531T183000",
        dt.datetime(2024, 5, 31, 18, 30),
        dt.datetime(2024, 5, 31, 20, 30, tzinfo=SUMMER),
    ],
    ids=str,
)
def test_one_moment_in_many_spellings(value):
    assert parse([value]) == [MOMENT]
    assert as_micros(value, "at") == MOMENT


def test_spellings_may_be_mixed():
    assert parse(["2024-05-31", "2024-05-31T18:30:00Z", "20240531T183000.5", "2024-05-31 18:30:00.25"]) == [
        MOMENT - (18 * 60 + 30) * 60 * 10**6,
        MOMENT,
        MOMENT + 500_000,
        MOMENT + 250_000,
    ]


@given(st.datetimes(timezones=st.sampled_from([dt.UTC, SUMMER, dt.timezone(dt.timedelta(hours=-9, minutes=-30))])))
def test_iso_strings_keep_microseconds_and_zones(moment):
    expected = (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
    assert parse([moment.isoformat()]) == [expected]
    assert as_micros(moment, "at") == expected


def test_dates_are_midnight():
    midnight = dt.date(2024, 5, 31)
    assert parse([midnight]) == [MOMENT - (18 * 60 + 30) * 60 * 10**6]
    assert as_micros(midnight, "at") == parse([midnight])[0]
    assert as_micros(np.datetime64("2024-05-31T18:30"), "at") == MOMENT


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_datetime_columns_of_any_unit(unit):
    series = pl.Series([dt.datetime(2024, 5, 31, 18, 30)]).cast(pl.Datetime(unit))
    assert parse(series) == [MOMENT]
    assert parse(series.dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo")) == [MOMENT]


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_the_unit_of_numbers_is_guessed(unit, factor):
    seconds = MOMENT // 10**6
    assert parse([seconds * factor]) == [MOMENT]
    assert parse([seconds * factor], time_unit=unit) == [MOMENT]
    _, findings = parse_datetimes(pl.Series([seconds * factor]), "when")
    assert f"read as {unit} since 1970-01-01 UTC, guessed" in str(findings[0])
    assert parse_datetimes(pl.Series([seconds * factor]), "when", unit)[1] == []


def test_the_guess_holds_for_the_documented_range():
    for year in (1974, 2024, 5000):
        seconds = (dt.datetime(year, 1, 1) - dt.datetime(1970, 1, 1)).total_seconds()
        assert [guess_time_unit(seconds * f) for f in (1, 1e3, 1e6, 1e9)] == ["s", "ms", "us", "ns"]
    assert guess_time_unit(3) == "s"


def test_a_given_unit_overrules_the_guess():
    assert parse([1000], time_unit="ms") == [10**6]
    assert parse([2**31 - 1], time_unit="s") == [(2**31 - 1) * 10**6]
    with pytest.raises(ConfigError, match="time_unit: expected one of s, ms, us, ns or None, got 'h'"):
        parse([1], time_unit="h")


def test_fractions_of_seconds_and_times_before_the_epoch():
    assert parse([1.25, -1.25]) == [1_250_000, -1_250_000]
    assert parse([-1_500], time_unit="ns") == [-2]  # downwards, as later times of the same unit are
    assert parse(["1969-12-31T23:59:59Z"]) == [-(10**6)]


def test_integer_nanoseconds_are_exact():
    assert parse([MOMENT * 1000 + 999], time_unit="ns") == [MOMENT]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["2024-05-31", "soon", "2024-13-01"], r"got rows 1 ('soon'), 2 ('2024-13-01'); parse the column"),
        (["20240531"], "row 0 ('20240531')"),
        (["2024-05-31", None], "got null at row 1"),
        ([1.0, float("nan")], "got null at row 1"),
        ([2**62], "got row 0 (4611686018427387904) in s; check the values, and pass time_unit"),
        ([True], "got Boolean"),
    ],
)
def test_unreadable_times(values, message):
    options = {"time_unit": "s"} if values == [2**62] else {}
    assert message in problem(values, **options)


def test_smallest_integer():
    assert "expected times in the years 1 to 9999" in problem([-(2**63)], time_unit="s")


def test_a_nat_of_pandas_is_null():
    from recsys_core.data.frames import to_series

    series = to_series(pd.Series(pd.to_datetime(["2024-05-31", None])), "when")
    assert "got null at row 1" in problem(series)


def test_no_moment():
    for value in ("soon", 3, "20240531"):
        with pytest.raises(DTypeError, match="at: expected a datetime, a date or an ISO 8601 string, got"):
            as_micros(value, "at")
