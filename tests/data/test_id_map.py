from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_core.data import IdMap
from recsys_core.errors import DataError, DTypeError, FormatError


@given(st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1)), unique=True), st.lists(st.integers(-5, 5)))
def test_a_lookup_of_integers_equals_a_dictionary(ids, asked):
    table = {value: index for index, value in enumerate(ids)}
    expected = [table.get(value, -1) for value in asked + ids]
    assert IdMap(ids).index_of(asked + ids).tolist() == expected


@given(st.lists(st.text(), unique=True), st.lists(st.text(max_size=2)))
def test_a_lookup_of_strings_equals_a_dictionary(ids, asked):
    table = {value: index for index, value in enumerate(ids)}
    if ids:  # without ids there is no type to compare with
        assert IdMap(ids).index_of(asked + ids).tolist() == [table.get(value, -1) for value in asked + ids]


@pytest.mark.parametrize(
    "dtype",
    [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64],
    ids=lambda d: d.__name__,
)
def test_integers_keep_their_width_and_are_found_at_any_other(dtype):
    ids = IdMap(np.array([7, 3, 100], dtype=dtype))
    assert ids.dtype == np.dtype(dtype).name
    assert ids.index_of([100, 3, 300, -1]).tolist() == [2, 1, -1, -1]


def test_dates_strings_and_categories():
    assert IdMap([dt.date(2024, 5, 1), dt.date(2023, 1, 1)]).index_of([dt.date(2023, 1, 1)]).tolist() == [1]
    categories = pd.Series(["b", "a"], dtype="category")
    assert IdMap(categories).dtype == "string"
    assert IdMap(categories).ids.to_list() == ["b", "a"]
    assert IdMap(["a", "b"]).index_of(pd.Series(["b", None, "c"], dtype="category")).tolist() == [1, -1, -1]


def test_missing_has_the_index_asked_for_and_null_is_missing():
    assert IdMap([1, 2]).index_of([2, None, 9], missing=-7).tolist() == [1, -7, -7]
    assert IdMap(["a"]).index_of([None, None]).tolist() == [-1, -1]
    assert IdMap(["a"]).index_of([]).tolist() == []
    assert IdMap([]).index_of(["a"]).tolist() == [-1]


@pytest.mark.parametrize("values", [["1"], [1.0], [True], [dt.date(2024, 1, 1)]], ids=repr)
def test_looking_up_another_kind_of_id_is_an_error(values):
    with pytest.raises(DTypeError, match=r"values: expected integer ids as in the map \(int64\), got"):
        IdMap([1, 2]).index_of(values)
    assert values[0] not in IdMap([2, 3])


def test_a_single_string_is_no_list_of_ids():
    with pytest.raises(DTypeError, match="'ab'; wrap it in a list"):
        IdMap(["ab"]).index_of("ab")


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([1, 2, 1], DataError, "got 1 that occur more than once, the first 1"),
        ([1, None], DataError, "null at row 1"),
        ([1, "1"], DTypeError, r"int \(1 at row 0\), str \('1' at row 1\); 1 of them are duplicated ids of different"),
        ([0.5, 1.0], DTypeError, "got Float64; cast the column to int64"),
        ([True, False], DTypeError, "got Boolean; cast the column to strings"),
        ([uuid.UUID(int=1)], DTypeError, "got UUID"),
        ([2**70], DTypeError, "expected integers of at most 64 bits, .* got Int128; cast the column to strings"),
        ([1, 2**70], DTypeError, "expected integers of at most 64 bits as ids, got wider ones; cast"),
        (np.zeros((2, 2)), DTypeError, r"array of shape \(2, 2\)"),
    ],
    ids=["repeated", "null", "mixed", "float", "bool", "uuid", "wide", "wider", "two-dimensional"],
)
def test_bad_ids(ids, error, message):
    with pytest.raises(error, match=message):
        IdMap(ids)


def test_labels():
    ids = IdMap(["b", "a", "c"])
    assert ids.labels([2, -1, 0, 0]).to_list() == ["c", None, "b", "b"]
    assert ids.labels([]).to_list() == []
    for outside in (3, -2):
        with pytest.raises(DataError, match=r"expected values in \[-1, 3\)"):
            ids.labels([0, outside])


def test_select_and_equality():
    ids = IdMap([30, 10, 20])
    assert ids.select([2, 0]) == IdMap([20, 30])
    assert ids.select([2, 0]) != IdMap([30, 20])
    assert IdMap(np.array([1], dtype=np.int32)) != IdMap([1])
    assert len({ids, IdMap([30, 10, 20])}) == 1
    assert list(ids) == [30, 10, 20]
    assert ids != [30, 10, 20]


@pytest.mark.parametrize(
    "ids",
    [[3, 1, 2], ["ü", 'quote"', "line\n", ""], [dt.date(2024, 5, 1)], np.array([2**64 - 1], dtype=np.uint64), []],
    ids=["int", "string", "date", "uint64", "empty"],
)
def test_json_round_trip(ids):
    written = IdMap(ids).to_json()
    assert IdMap.from_json(written) == IdMap(ids)
    assert set(json.loads(written)) == {"dtype", "ids"}
    assert IdMap(ids).digest == hashlib.sha256(written.encode()).hexdigest()


def test_json_is_stable():
    # The digest is stored in exported models: this text must never change.
    assert IdMap(["é", "b"]).to_json() == '{"dtype":"string","ids":["é","b"]}'
    assert IdMap([2, 1]).to_json() == '{"dtype":"int64","ids":[2,1]}'
    assert IdMap([dt.date(2024, 5, 1)]).to_json() == '{"dtype":"date","ids":["2024-05-01"]}'


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"dtype":"int8","ids":[300]}', '{"dtype":"int64","ids":["a"]}', '{"dtype":"float64","ids":[1]}',
     '{"dtype":"int64","ids":[1,1]}', '{"dtype":"date","ids":["today"]}', '{"dtype":"string","ids":null}'],
)  # fmt: skip
def test_malformed_json(text):
    with pytest.raises(FormatError, match="text: expected an id map"):
        IdMap.from_json(text)


def test_the_caller_s_series_is_not_renamed_or_changed():
    series = pl.Series("mine", [2, 1])
    IdMap(series)
    assert series.name == "mine"
    assert series.to_list() == [2, 1]
