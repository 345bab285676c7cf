from __future__ import annotations

import datetime as dt
import logging

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from recsys_core.data import IdMap, Interactions
from recsys_core.errors import ConfigError, DataError, DTypeError, ShapeError

COLUMNS = {"user_id": "who", "item_id": "what", "weight": "stars", "datetime": "when"}
DATA = {
    "who": ["ann", "bob", "ann", "ann"],
    "what": [20, 10, 10, 20],
    "stars": [4.0, 5.0, 1.0, 2.0],
    "when": [dt.datetime(2024, 1, day) for day in (3, 2, 1, 4)],
    "other": [None, "x", "y", "z"],
}


def frames():
    table = pl.DataFrame(DATA)
    pandas = pd.DataFrame(DATA)
    return {
        "polars": table,
        "lazy": table.lazy(),
        "pandas": pandas,
        "pandas-object": pandas.astype({"who": object}),
        "pandas-category": pandas.astype({"who": "category"}),
        "pandas-nullable": pandas.astype({"what": "Int64", "stars": "Float32"}),
        "pandas-zone": pandas.assign(when=pandas["when"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")),
        "pandas-arrow": pandas.astype({"who": "string[pyarrow]", "what": "int64[pyarrow]"}),
        "pandas-index": pandas.set_axis([7, 7, 8, 9]),
        "arrow": pa.table(DATA),
        "arrow-dictionary": pa.table({**DATA, "who": pa.array(DATA["who"]).dictionary_encode()}),
    }


@pytest.mark.parametrize("kind", frames())
def test_every_frame_reads_alike(kind):
    interactions = Interactions.from_frame(frames()[kind], columns=COLUMNS)
    assert interactions.users.ids.to_list() == ["ann", "bob"]
    assert interactions.items.ids.to_list() == [10, 20]
    assert interactions.user_index.tolist() == [0, 1, 0, 0]
    assert interactions.item_index.tolist() == [1, 0, 0, 1]
    assert interactions.weight.tolist() == [4, 5, 1, 2]
    days = interactions.datetime.astype("datetime64[us]").astype("datetime64[D]").astype(str)
    assert days.tolist() == ["2024-01-03", "2024-01-02", "2024-01-01", "2024-01-04"]
    assert [a.dtype for a in (interactions.user_index, interactions.item_index)] == [np.int32, np.int32]
    assert (interactions.weight.dtype, interactions.datetime.dtype) == (np.float32, np.int64)


def test_histories_are_in_time_order_and_keep_repeats():
    interactions = Interactions.from_frame(frames()["polars"], columns=COLUMNS)
    histories = interactions.histories()
    assert histories.rows([0]).indices.tolist() == [0, 1, 1]
    assert histories.rows([0]).weights.tolist() == [1, 4, 2]
    assert histories.rows([1]).indices.tolist() == [0]


def test_equal_and_unknown_times_keep_the_row_order():
    items = ["c", "a", "b", "a"]
    for times in (None, [5, 5, 5, 5]):
        histories = Interactions.from_arrays([1] * 4, items, None, times).histories()
        assert histories.indices.tolist() == [2, 0, 1, 0]


def test_last_is_the_last_in_time_not_in_the_rows():
    interactions = Interactions.from_arrays([1, 1, 1], ["a", "a", "b"], [9, 2, 3], [200, 100, 100])
    assert interactions.to_csr("last").toarray().tolist() == [[9, 3]]
    assert interactions.to_csr("sum").toarray().tolist() == [[11, 3]]
    assert interactions.to_csr("max").toarray().tolist() == [[9, 3]]
    assert interactions.to_csr("count").toarray().tolist() == [[2, 1]]
    assert interactions.to_csr("binary").toarray().tolist() == [[1, 1]]


def test_matrices_are_cached_and_nothing_can_be_written():
    interactions = Interactions.from_arrays([1, 2], [1, 2])
    matrix = interactions.to_csr()
    assert interactions.to_csr() is matrix
    histories = interactions.histories()
    for array in (
        *(matrix.data, matrix.indices, interactions.weight, interactions.user_index),
        *(histories.indptr, histories.indices, histories.weights),
    ):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 3
    with pytest.raises(AttributeError):
        interactions.weight = np.ones(2)
    assert matrix.copy().data.flags.writeable


@pytest.mark.parametrize("writable", [True, False])
def test_nobody_else_can_change_it(writable):
    names = {"user_index": np.int32, "item_index": np.int32, "weight": np.float32, "datetime": np.int64}
    arrays = {name: np.zeros(2, dtype) for name, dtype in names.items()}
    passed = {name: array.view() for name, array in arrays.items()}
    for array in passed.values():
        array.flags.writeable = writable
    interactions = Interactions(IdMap([1, 2]), IdMap([1, 2]), **passed)
    for name, array in arrays.items():
        array[0] = 1  # the caller's arrays stay theirs
        assert getattr(interactions, name)[0] == 0, name


def test_from_csr_does_not_hold_on_to_the_matrix():
    matrix = sp.csr_matrix(np.array([[0, 2, 0], [1, 0, 3]], dtype=np.float32))
    interactions = Interactions.from_csr(matrix)
    before = interactions.to_frame()
    matrix.indices[0] = 0
    matrix.data[0] = 9
    assert interactions.to_frame().equals(before)


def test_frozen_arrays_are_not_copied():
    first = Interactions.from_arrays([1, 1, 2], [1, 2, 3], datetimes=[1, 2, 3])
    for other in (first.with_features(pl.DataFrame({"item_id": [1]})), first.select(slice(None))):
        for name in ("weight", "datetime"):
            assert np.shares_memory(getattr(first, name), getattr(other, name)), name


@given(st.permutations(range(6)))
def test_indices_do_not_depend_on_the_order_of_the_rows(order):
    users, items = np.array([5, 3, 5, 1, 3, 9]), np.array(["b", "a", "ä", "b", "Z", "a"])
    first, second = (Interactions.from_arrays(users[o], items[o]) for o in (np.arange(6), np.array(order)))
    assert (first.users, first.items) == (second.users, second.items)
    assert first.users.ids.to_list() == [1, 3, 5, 9]
    assert first.items.ids.to_list() == ["Z", "a", "b", "ä"]
    np.testing.assert_array_equal(first.to_csr().toarray(), second.to_csr().toarray())


def test_ids_keep_their_type():
    interactions = Interactions.from_arrays(np.array([3, 1], np.uint16), [dt.date(2024, 1, 2), dt.date(2024, 1, 1)])
    assert interactions.users.dtype == "uint16"
    assert interactions.to_frame()["item_id"].to_list() == [dt.date(2024, 1, 2), dt.date(2024, 1, 1)]


def test_to_frame_round_trip():
    interactions = Interactions.from_frame(frames()["polars"], columns=COLUMNS)
    frame = interactions.to_frame()
    assert frame.columns == ["user_id", "item_id", "weight", "datetime"]
    assert frame.schema["datetime"] == pl.Datetime("us", "UTC")
    assert Interactions.from_frame(frame).to_frame().equals(frame)
    assert interactions.select([0]).to_frame().equals(frame[:1])


def test_from_csr_keeps_the_positions():
    matrix = sp.coo_matrix(np.array([[0, 2, 0], [0, 0, 0], [1, 0, 0]], dtype=np.int64))
    interactions = Interactions.from_csr(matrix, item_ids=["z", "y", "x"])
    assert (interactions.n_users, interactions.n_items, len(interactions)) == (3, 3, 2)
    assert interactions.items.ids.to_list() == ["z", "y", "x"]
    assert interactions.users.ids.to_list() == [0, 1, 2]
    np.testing.assert_array_equal(interactions.to_csr().toarray(), matrix.toarray())
    assert interactions.histories().lengths.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("matrix", "options", "message"),
    [
        (np.eye(2), {}, "expected a scipy sparse matrix, got ndarray"),
        (sp.csr_matrix((2, 2)), {}, "expected at least one row"),
        (sp.csr_matrix([[-1.0]]), {}, r"matrix: expected a weight of at least 0 in every row, got row 0 \(-1.0\)"),
        (sp.csr_matrix([[1.0]]), {"user_ids": [1, 2]}, "user_ids: expected 1 ids"),
    ],
)
def test_from_csr_refuses(matrix, options, message):
    with pytest.raises(DataError, match=message):
        Interactions.from_csr(matrix, **options)


@pytest.mark.parametrize(
    ("frame", "columns", "error", "message"),
    [
        ({"userId": [1], "item_id": [1]}, None, DataError,
         r"""user_id: expected a column 'user_id', got 'userId', 'item_id'; pass columns=\{"user_id": 'userId'\}"""),
        ({"user_id": [1], "movie": [1]}, None, DataError, r"""pass columns=\{"item_id": 'movie'\}"""),
        ({"user_id": [1], "item_id": [1]}, {"weight": "rate"}, DataError, "weight: expected a column 'rate'"),
        ({"user_id": [1], "item_id": [1]}, {"user_id": "user_ids"}, DataError, r"""\{"user_id": 'user_id'\}"""),
        ({"u": [1], "item_id": [1]}, {"u": "user_id"}, ConfigError, "the mapping is the wrong way round"),
        ({"user_id": [], "item_id": []}, None, DataError, "expected at least one row, got none"),
        ({"user_id": [1, None, None], "item_id": [1, 1, 1]}, None, DataError, "got null at rows 1, 2; drop these"),
        ({"user_id": [1.0, 2.0], "item_id": [1, 1]}, None, DTypeError, "user_id: .* got Float64; cast the column"),
    ],
)  # fmt: skip
def test_unusable_ids_and_columns(frame, columns, error, message):
    with pytest.raises(error, match=message):
        Interactions.from_frame(pl.DataFrame(frame), columns=columns)


@pytest.mark.parametrize(
    "read",
    [lambda data: Interactions.from_frame(pd.DataFrame(data)), lambda data: Interactions.from_arrays(*data.values())],
    ids=["pandas", "lists"],
)
def test_ids_of_two_types_are_refused(read):
    with pytest.raises(DTypeError, match=r"int \(1 at row 0\), str \('1' at row 1\); 1 of them are duplicated ids"):
        read({"user_id": [1, "1", 2], "item_id": [1, 2, 3]})


def test_a_missing_string_of_pandas_is_null_not_a_type():
    frame = pd.DataFrame({"user_id": pd.Series(["a", np.nan, "b"], dtype=object), "item_id": [1, 2, 3]})
    with pytest.raises(DataError, match="user_id: expected an id in every row, got null at row 1"):
        Interactions.from_frame(frame)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, float("nan"), 1.0], r"weight: expected a finite weight in every row, got row 1 \(nan\)"),
        ([1.0, 1.0, float("inf")], r"row 2 \(inf\)"),
        ([1.0, 1e300, 1.0], r"row 1 \(1e\+300\)"),
        ([1.0, None, 1.0], r"row 1 \(None\)"),
        ([1.0, -0.5, -1.0], r"at least 0 in every row, got rows 1 \(-0.5\), 2 \(-1.0\); drop these rows, or shift"),
        (["1", "2", "3"], r"weight: expected numbers, got String \(row 0 is '1'\); cast the column to a float"),
    ],
)
def test_unusable_weights(weights, message):
    with pytest.raises(DataError, match=message):
        Interactions.from_arrays([1, 2, 3], [1, 2, 3], weights)


def test_only_the_first_bad_rows_are_named():
    with pytest.raises(DataError, match=r"rows 0 \(-1\), .*, 4 \(-1\) and 15 more"):
        Interactions.from_arrays(range(20), range(20), [-1] * 20)


def test_weights_may_be_booleans_integers_or_absent():
    assert Interactions.from_arrays([1, 2], [1, 2], [True, False]).weight.tolist() == [1, 0]
    assert Interactions.from_arrays([1, 2], [1, 2], np.array([3, 0], np.int8)).weight.tolist() == [3, 0]
    assert Interactions.from_arrays([1, 2], [1, 2]).weight.tolist() == [1, 1]


def test_lengths_must_agree():
    with pytest.raises(ShapeError, match=r"expected one length, got {'user_id': 2, 'item_id': 1}"):
        Interactions.from_arrays([1, 2], [1])
    with pytest.raises(DTypeError, match=r"frame: expected a data frame .* got list; use from_csr"):
        Interactions.from_frame([1, 2])


def test_two_columns_of_one_name():
    frame = pd.DataFrame([[1, 2, 3]], columns=["user_id", "item_id", "item_id"])
    with pytest.raises(DataError, match="column names must be unique"):
        Interactions.from_frame(frame)


def test_an_unmapped_rating_is_not_lost_silently(caplog):
    frame = pl.DataFrame({"user_id": [1], "item_id": [1], "rating": [5]})
    with caplog.at_level(logging.WARNING, "recsys_core.data"):
        assert Interactions.from_frame(frame).weight.tolist() == [1]
    assert "all weights are 1, though the column 'rating' looks like it" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, "recsys_core.data"):
        Interactions.from_frame(frame, columns={"weight": None})
    assert caplog.text == ""


def test_features_follow_the_ids(caplog):
    films = pd.DataFrame({"what": [30, 20, 10], "title": ["C", "B", "A"], "year": [2001, 2002, 2003]})
    people = pl.DataFrame({"user_id": ["bob"], "age": [40]})
    with caplog.at_level(logging.INFO, "recsys_core.data"):
        interactions = Interactions.from_frame(
            frames()["polars"], columns=COLUMNS, item_features=films, user_features=people
        )
    assert "1 of 3 rows describe items without interactions and are dropped" in caplog.text
    assert "1 of 2 users with interactions have no row and get nulls" in caplog.text
    assert interactions.item_features.rows() == [(10, "A", 2003), (20, "B", 2002)]
    assert interactions.user_features.rows() == [("ann", None), ("bob", 40)]
    only_first = interactions.select([0])
    assert only_first.item_features.rows() == [(20, "B", 2002)]
    assert only_first.user_features.rows() == [("ann", None)]
    assert interactions.with_features(user_features=people).item_features is interactions.item_features


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"id": [10]}, "item_features: expected a column 'item_id', got 'id'; rename"),
        ({"item_id": [10, 10]}, "expected one row an id, got 2 rows that share an id, such as 10"),
        ({"item_id": [10, None]}, r"item_features\['item_id'\]: expected an id in every row, got null at row 1"),
        ({"item_id": ["10"]}, r"ids of another type than in the interactions \(values: expected integer"),
    ],
)
def test_unusable_features(table, message):
    with pytest.raises(DataError, match=message):
        Interactions.from_arrays([1], [10]).with_features(pl.DataFrame(table))


def test_items_without_interactions_join_the_ids_when_asked():
    data = Interactions.from_arrays(["a", "b", "a"], [7, 9, 9])
    table = pl.DataFrame({"item_id": pl.Series([1, 9, 3], dtype=pl.Int32), "title": ["one", "nine", "three"]})
    grown = data.with_features(table, cold_items=True)
    assert grown.items.ids.to_list() == [7, 9, 1, 3]
    assert grown.item_features["title"].to_list() == [None, "nine", "one", "three"]
    np.testing.assert_array_equal(grown.to_csr().toarray(), [[1, 1, 0, 0], [0, 1, 0, 0]])
    assert data.with_features(table).n_items == 2
    with pytest.raises(DataError, match="share an id"):
        data.with_features(pl.concat([table, table]), cold_items=True)


def test_a_feature_table_out_of_order_is_refused():
    with pytest.raises(DataError, match="use with_features"):
        Interactions(
            IdMap([1]), IdMap([1, 2]), np.zeros(1, np.int32), np.zeros(1, np.int32), np.ones(1),
            item_features=pl.DataFrame({"item_id": [2, 1]}),
        )  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=30), st.data())
def test_select_keeps_exactly_these_events(events, data):
    interactions = Interactions.from_arrays(*zip(*events, strict=True), weights=range(len(events)))
    rows = data.draw(st.lists(st.integers(0, len(events) - 1), min_size=1))
    selected = interactions.select(rows)
    expected = interactions.to_frame()[rows]
    assert selected.to_frame().equals(expected)
    assert selected.users.ids.to_list() == sorted(set(expected["user_id"]))
    assert selected.items.ids.to_list() == sorted(set(expected["item_id"]))
    mask = np.isin(np.arange(len(events)), rows)
    assert interactions.select(slice(0, None, 2)).to_frame().equals(interactions.to_frame()[::2])
    assert interactions.select(mask).to_frame().equals(interactions.to_frame().filter(mask))


def test_select_refuses_what_is_not_there():
    interactions = Interactions.from_arrays([1, 2], [1, 2])
    with pytest.raises(DataError, match="expected at least one interaction"):
        interactions.select([])
    with pytest.raises(ShapeError, match=r"expected a mask of shape \(2,\), got \(1,\)"):
        interactions.select(np.array([True]))
    with pytest.raises(IndexError):
        interactions.select([2])


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=60))
def test_the_core_is_the_largest_part_with_enough_events(events):
    kept = list(events)
    while True:  # drop one user or item at a time
        users, items = ([event[side] for event in kept] for side in (0, 1))
        poor = [e for e in kept if users.count(e[0]) < 2 or items.count(e[1]) < 3]
        if not poor:
            break
        kept.remove(poor[0])
    interactions = Interactions.from_arrays(*zip(*events, strict=True))
    if kept:
        core = interactions.filter_min(users=2, items=3)
        assert sorted(core.to_frame().select("user_id", "item_id").rows()) == sorted(kept)
    else:
        with pytest.raises(DataError, match="users=2, items=3: no interaction is left"):
            interactions.filter_min(users=2, items=3)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"user_index": [0, 1]}, DataError, r"user_index: expected values in \[0, 1\), got \[0, 1\]"),
        ({"item_index": [-1, 0]}, DataError, r"item_index: expected values in \[0, 2\), got \[-1, 0\]"),
        ({"weight": [1.0, float("nan")]}, DataError, "weight: expected finite weights of at least 0"),
        ({"weight": [float("inf"), 1.0]}, DataError, "weight: expected finite weights"),
        ({"weight": [-1.0, 1.0]}, DataError, "weight: expected finite weights"),
        ({"weight": [1.0]}, ShapeError, r"weight: expected shape \(2,\)"),
        ({"datetime": [1]}, ShapeError, r"datetime: expected shape \(2,\)"),
        ({"user_index": [], "item_index": [], "weight": []}, DataError, "expected at least one interaction"),
    ],
)
def test_the_constructor_checks(change, error, message):
    given_ = {"users": IdMap([1]), "items": IdMap([1, 2]), "user_index": [0, 0], "item_index": [0, 1], "weight": [1, 1]}
    with pytest.raises(error, match=message):
        Interactions(**(given_ | change))


def test_repr_names_what_is_there():
    interactions = Interactions.from_frame(
        frames()["polars"], columns=COLUMNS, user_features=pl.DataFrame({"user_id": ["ann"], "age": [1]}), source="here"
    )
    assert repr(interactions) == (
        "Interactions(4 events, 2 users, 2 items, 2024-01-01 to 2024-01-04, user features age, source 'here')"
    )
