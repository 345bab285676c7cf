"""``recommend``: ids in, a table out."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from recsys_core import Interactions, ItemItemForm, StaticForm
from recsys_core.data import Histories, IdMap
from recsys_core.errors import ConfigError, DataError, DTypeError, UnknownIdError
from recsys_core.models import DotForm, FittedModel, Provenance

USERS = ["ann", "bob", "eve"]
ITEMS = ["ale", "gin", "rum", "tea", "wine"]
# Row j is what item j in a history adds: whoever had ale gets 1 for gin, 2 for rum and so on.
WEIGHTS = np.array(
    [
        [0, 1, 2, 3, 4],
        [5, 0, 5, 1, 1],
        [1, 1, 0, 9, 1],
        [8, 8, 2, 0, 2],
        [0, 0, 0, 0, 0],
    ],
    np.float32,
)


@pytest.fixture
def shop() -> FittedModel:
    histories = Histories.from_lists([[0], [1, 3], [4, 3, 3]])
    return FittedModel(ItemItemForm(WEIGHTS), IdMap(USERS), IdMap(ITEMS), histories)


def items_of(table: pl.DataFrame, user: object) -> list[str]:
    return table.filter(pl.col("user_id") == user)["item_id"].to_list()


def test_the_table_has_four_columns_and_ranks_from_one(shop):
    table = shop.recommend(users=["ann"], k=3)
    assert table.columns == ["user_id", "item_id", "score", "rank"]
    assert table.rows() == [("ann", "wine", 4.0, 1), ("ann", "tea", 3.0, 2), ("ann", "rum", 2.0, 3)]
    assert table.schema == {"user_id": pl.String, "item_id": pl.String, "score": pl.Float32, "rank": pl.Int32}


@pytest.mark.parametrize(
    "users",
    [
        "ann",
        ["ann"],
        ("ann",),
        np.array(["ann"]),
        pl.Series(["ann"]),
        pd.Series(["ann"], index=[7]),
        pd.Index(["ann"]),
        pa.array(["ann"]),
        {"ann"},
        {"ann": 1}.keys(),
    ],
    ids=lambda users: type(users).__name__,
)
def test_users_may_be_one_id_or_any_sequence(shop, users):
    assert shop.recommend(users, k=2)["item_id"].to_list() == ["wine", "tea"]


@pytest.mark.parametrize("user", [7, np.int64(7), np.int32(7)])
def test_a_number_is_one_id(user):
    model = FittedModel(
        StaticForm(np.ones(2, np.float32)), IdMap([5, 7]), IdMap([1, 2]), Histories.from_lists([[], [0]])
    )
    assert model.recommend(user).rows() == [(7, 2, 1.0, 1)]


def test_users_keep_their_order_and_may_repeat(shop):
    table = shop.recommend(["eve", "ann", "eve"], k=1)
    assert table["user_id"].to_list() == ["eve", "ann", "eve"]


@pytest.mark.parametrize("nobody", [[], np.array([], str), pl.Series([], dtype=pl.String)])
def test_no_users_get_an_empty_table(shop, nobody):
    table = shop.recommend(nobody)
    assert table.shape == (0, 4)
    assert table.columns == ["user_id", "item_id", "score", "rank"]
    assert table["item_id"].dtype == pl.String


def test_seen_items_are_left_out_unless_asked_for(shop):
    assert items_of(shop.recommend("bob"), "bob") == ["ale", "rum", "wine"]
    assert items_of(shop.recommend("bob", filter_seen=False), "bob") == ["ale", "gin", "rum", "wine", "tea"]


def test_fewer_admissible_items_are_fewer_rows(shop):
    assert len(shop.recommend("ann", k=100)) == 4
    assert len(shop.recommend(["ann", "bob"], k=100)) == 7


HISTORIES = {
    "list": ["ale", "tea"],
    "tuple": ("ale", "tea"),
    "array": np.array(["ale", "tea"]),
    "polars series": pl.Series(["ale", "tea"]),
    "list of lists": [["ale", "tea"]],
    "list of tuples": [("ale", "tea")],
    "list of arrays": [np.array(["ale", "tea"])],
    "list of series": [pl.Series(["ale", "tea"])],
    "list of pandas series": [pd.Series(["ale", "tea"])],
    "two-dimensional array": np.array([["ale", "tea"]]),
    "dict": {0: ["ale", "tea"]},
    "polars frame": pl.DataFrame({"user_id": [0, 0], "item_id": ["ale", "tea"]}),
    "pandas frame": pd.DataFrame({"user_id": [0, 0], "item_id": ["ale", "tea"]}),
    "arrow table": pa.table({"user_id": [0, 0], "item_id": ["ale", "tea"]}),
    "lazy frame": pl.LazyFrame({"user_id": [0, 0], "item_id": ["ale", "tea"]}),
    "interactions": Interactions.from_arrays([0, 0], ["ale", "tea"]),
}


@pytest.mark.parametrize("histories", HISTORIES.values(), ids=HISTORIES.keys())
def test_histories_come_in_many_shapes(shop, histories):
    table = shop.recommend(histories=histories, k=2)
    assert table.rows() == [(0, "gin", 9.0, 1), (0, "wine", 6.0, 2)]


def test_histories_are_labelled_by_position_or_by_key(shop):
    assert shop.recommend(histories=[["ale"], ["tea"]], k=1)["user_id"].to_list() == [0, 1]
    table = shop.recommend(histories={"b": ["ale"], "a": ["tea"]}, k=1)
    assert table.rows() == [("b", "wine", 4.0, 1), ("a", "ale", 8.0, 1)]


def test_the_items_of_a_history_are_not_recommended_back(shop):
    assert "ale" not in shop.recommend(histories=["ale"])["item_id"]
    assert "ale" in shop.recommend(histories=["ale"], filter_seen=False)["item_id"]


def test_a_frame_carries_weights(shop):
    frame = pl.DataFrame({"user_id": ["x", "x"], "item_id": ["ale", "gin"], "weight": [1.0, 3.0]})
    weighted = FittedModel(ItemItemForm(WEIGHTS, binary=False), shop.users, shop.items, shop.histories)
    table = weighted.recommend(histories=frame)
    assert table.filter(pl.col("item_id") == "rum")["score"].item() == 2 + 3 * 5


def test_a_history_may_map_items_to_weights(shop):
    weighted = FittedModel(ItemItemForm(WEIGHTS, binary=False), shop.users, shop.items, shop.histories)
    table = weighted.recommend(histories=[{"ale": 1.0, "gin": 3}, ["ale"]], k=5)
    assert table.filter(user_id=0, item_id="rum")["score"].item() == 2 + 3 * 5
    assert table.filter(user_id=1, item_id="rum")["score"].item() == 2, "no weight counts 1"
    by_label = weighted.recommend(histories={"x": {"ale": 1.0, "gin": 3}}, k=5)
    assert by_label.drop("user_id").equals(table.filter(user_id=0).drop("user_id"))
    for wrong in (-1.0, np.nan, np.inf, "2", None):
        with pytest.raises(
            DataError, match=r"^histories\[0\]: expected weights of at least 0 and finite, got .* 'gin'"
        ):
            weighted.recommend(histories=[{"gin": wrong}])


def test_repeats_in_a_history_count_once_for_a_binary_form(shop):
    assert shop.recommend(histories=["ale", "ale"]).equals(shop.recommend(histories=["ale"]))


def test_a_user_is_answered_as_his_history_would_be(shop):
    by_user = shop.recommend("eve", k=5).drop("user_id")
    by_history = shop.recommend(histories=["wine", "tea", "tea"], k=5).drop("user_id")
    assert by_user.equals(by_history)


def test_an_empty_history_gets_nothing_where_all_scores_would_be_zero(shop):
    table = shop.recommend(histories=[[], ["ale"], []], k=2)
    assert table["user_id"].to_list() == [1, 1]
    assert items_of(table, 1) == items_of(shop.recommend(histories=["ale"], k=2), 0)


def test_a_history_of_unknown_items_only_is_an_empty_one(shop):
    assert not len(shop.recommend(histories=[["absinthe"]], on_unknown="ignore"))
    popular = shop.recommend(["nobody"], k=2, on_unknown="fallback")["item_id"].to_list()
    for history in ([], ["absinthe"]):
        table = shop.recommend(histories=[history], k=2, on_unknown="fallback")
        assert table["item_id"].to_list() == popular


def test_no_histories_get_an_empty_table(shop):
    for nothing in ([], {}):
        assert shop.recommend(histories=nothing).shape == (0, 4)


@pytest.mark.parametrize(
    ("histories", "message"),
    [
        ("ale", "histories: expected a list of item ids, got 'ale'; wrap it in a list."),
        ([["ale"], "gin"], "histories[1]: expected a list of item ids, got 'gin'."),
        ({"ann": "ale"}, "histories['ann']: expected a list of item ids, got 'ale'."),
        ({"ann": None}, "histories['ann']: expected a list of item ids, got None."),
    ],
)
def test_a_string_is_not_a_history(shop, histories, message):
    with pytest.raises(DataError) as caught:
        shop.recommend(histories=histories)
    assert str(caught.value) == message


def test_allow_and_deny(shop):
    assert items_of(shop.recommend("ann", allow=["gin", "rum", "ale"]), "ann") == ["rum", "gin"]
    assert items_of(shop.recommend("ann", deny=["wine"]), "ann") == ["tea", "rum", "gin"]
    assert items_of(shop.recommend("ann", allow=["gin", "rum"], deny=["rum"]), "ann") == ["gin"]
    assert items_of(shop.recommend("ann", allow="gin"), "ann") == ["gin"]


def test_unknown_items_in_allow_and_deny_change_nothing(shop):
    assert items_of(shop.recommend("ann", allow=["gin", "cola"]), "ann") == ["gin"]
    assert shop.recommend("ann", deny=["cola"]).equals(shop.recommend("ann"))
    assert shop.recommend("ann", deny=[]).equals(shop.recommend("ann"))


def test_allowing_nothing_recommends_nothing(shop):
    assert shop.recommend("ann", allow=[]).shape == (0, 4)


def test_an_allow_list_without_any_known_item_is_reported(shop):
    with pytest.raises(UnknownIdError, match=r"^allow: 2 unknown item\(s\): 'cola', 'wien'; expected items seen in"):
        shop.recommend("ann", allow=["cola", "wien", "cola"])
    with pytest.warns(UserWarning, match=r"^allow: 1 unknown item\(s\): 'cola'; left out\.$"):
        shop.recommend("ann", allow=["cola"], on_unknown="warn")
    for quiet in ("ignore", "fallback"):
        assert shop.recommend(["ann", "zoe"], allow=["cola"], on_unknown=quiet).shape == (0, 4)


def test_an_unknown_user_is_an_error(shop):
    with pytest.raises(UnknownIdError) as caught:
        shop.recommend(["ann", "zoe", "yan", "zoe"])
    assert str(caught.value) == (
        "users: 2 unknown user(s): 'zoe', 'yan'; expected users seen in training; pass on_unknown='ignore' to leave "
        "them out or 'fallback' for the most popular items."
    )


def test_an_unknown_user_can_be_left_out(shop):
    with pytest.warns(UserWarning, match=re.escape("users: 1 unknown user(s): 'zoe'; left out.")) as caught:
        table = shop.recommend(["zoe", "ann"], k=1, on_unknown="warn")
    assert table.rows() == [("ann", "wine", 4.0, 1)]
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert shop.recommend(["zoe", "ann"], k=1, on_unknown="ignore").equals(table)
        assert shop.recommend(["zoe"], on_unknown="ignore").shape == (0, 4)


def test_an_unknown_user_can_get_what_is_popular(shop):
    table = shop.recommend(["zoe", "ann", "yan"], k=2, on_unknown="fallback")
    assert table.rows() == [
        ("zoe", "tea", 2.0, 1),
        ("zoe", "ale", 1.0, 2),
        ("ann", "wine", 4.0, 1),
        ("ann", "tea", 3.0, 2),
        ("yan", "tea", 2.0, 1),
        ("yan", "ale", 1.0, 2),
    ]


def test_what_is_popular_is_what_most_users_had(shop):
    regulars = Histories.from_lists([[0, 0, 0, 0], [1], [1]])
    popular = FittedModel(shop.form, shop.users, shop.items, regulars).recommend("zoe", k=2, on_unknown="fallback")
    assert popular.drop("user_id").rows() == [("gin", 2.0, 1), ("ale", 1.0, 2)]


def test_a_known_user_of_whom_the_model_says_nothing_can_get_what_is_popular(shop):
    histories = Histories.from_lists([[0], [1, 3], [4, 3, 3], []])
    grown = FittedModel(shop.form, IdMap([*USERS, "kim"]), shop.items, histories)
    assert grown.recommend("kim").shape == (0, 4)
    asked = ["kim", "zoe", "ann"]
    table = grown.recommend(asked, k=2, deny=["gin"], on_unknown="fallback")
    assert [items_of(table, user) for user in asked] == [["tea", "ale"], ["tea", "ale"], ["wine", "tea"]]


def test_what_is_popular_leaves_out_what_its_reader_had():
    user_factors = np.array([[1], [0]], np.float32)  # of the second nothing was learned, though she had something
    form = DotForm(np.arange(1, 6, dtype=np.float32)[:, None], user_factors=user_factors)
    model = FittedModel(form, IdMap(["ann", "kim"]), IdMap(ITEMS), Histories.from_lists([[3, 0], [3]]))
    assert model.recommend("kim").shape == (0, 4)
    for filter_seen, expected in ((True, ["ale", "gin"]), (False, ["tea", "ale"])):
        table = model.recommend(["ann", "kim"], k=2, filter_seen=filter_seen, on_unknown="fallback")
        assert items_of(table, "kim") == expected
        assert items_of(table, "ann")[0] == "wine"


def test_the_fallback_gives_nothing_where_the_filters_leave_nothing(shop):
    keeps_nobody = FittedModel(shop.form, IdMap([]), shop.items, Histories.from_lists([]))
    for model in (shop, keeps_nobody):
        table = model.recommend(histories=[["ale"], ["tea"]], allow=["ale"], k=2, on_unknown="fallback")
        assert table.rows() == [(1, "ale", 8.0, 1)]


def test_the_fallback_keeps_to_the_filters(shop):
    table = shop.recommend(["zoe"], k=9, allow=["ale", "gin", "tea"], deny=["tea"], on_unknown="fallback")
    assert table["item_id"].to_list() == ["ale", "gin"]


def test_an_unknown_item_in_a_history_is_an_error(shop):
    with pytest.raises(UnknownIdError) as caught:
        shop.recommend(histories=[["ale", "cola"], ["cola"]])
    assert str(caught.value) == (
        "histories: 1 unknown item(s): 'cola'; expected items seen in training; pass on_unknown='ignore' to leave "
        "them out."
    )


def test_an_unknown_item_in_a_history_can_be_left_out(shop):
    expected = shop.recommend(histories=[["ale", "tea"], []], k=2)
    asked = [["ale", "cola", "tea"], ["cola"]]
    with pytest.warns(UserWarning, match=re.escape("histories: 1 unknown item(s): 'cola'; left out.")):
        assert shop.recommend(histories=asked, k=2, on_unknown="warn").equals(expected)
    assert shop.recommend(histories=asked, k=2, on_unknown="ignore").equals(expected)


def test_a_history_of_which_nothing_is_left_can_get_what_is_popular(shop):
    table = shop.recommend(histories=[["cola"], ["ale", "cola"], []], k=1, on_unknown="fallback")
    assert table.rows() == [(0, "tea", 2.0, 1), (1, "wine", 4.0, 1), (2, "tea", 2.0, 1)]


def test_no_k_makes_an_answer_large(shop):
    k = 1 << 62  # as many places would take up all memory
    assert shop.recommend(["ann", "zoe"], k=k, on_unknown="fallback").height == 4 + 5
    assert shop.similar_items("ale", k=k).height == 4
    assert shop.explain("ann", k=k)["item_id"].n_unique() == 4


def test_many_unknown_ids_are_not_all_listed(shop):
    with pytest.raises(UnknownIdError, match=re.escape("users: 9 unknown user(s): 'u0', 'u1', 'u2', 'u3', 'u4'; ")):
        shop.recommend([f"u{n}" for n in range(9)])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, DataError, "recommend: expected either users or histories, got neither; give exactly one."),
        (
            {"users": ["ann"], "histories": [["ale"]]},
            DataError,
            "recommend: expected either users or histories, got both; give exactly one.",
        ),
        (
            {"users": ["ann"], "on_unknown": "skip"},
            ConfigError,
            "on_unknown: expected one of raise, warn, ignore, fallback, got 'skip'.",
        ),
        ({"users": ["ann"], "k": 0}, ConfigError, "k: expected an integer of at least 1, got 0."),
        ({"users": ["ann"], "k": -3}, ConfigError, "k: expected an integer of at least 1, got -3."),
        ({"users": ["ann"], "k": 2.5}, ConfigError, "k: expected an integer of at least 1, got 2.5."),
        ({"users": ["ann"], "k": True}, ConfigError, "k: expected an integer of at least 1, got True."),
    ],
)
def test_requests_that_make_no_sense(shop, arguments, error, message):
    with pytest.raises(error) as caught:
        shop.recommend(**arguments)
    assert str(caught.value) == message


def test_ids_of_another_type_are_an_error_whatever_on_unknown_says(shop):
    with pytest.raises(DTypeError, match=r"expected string ids as in the map \(string\), got integer"):
        shop.recommend([1, 2], on_unknown="ignore")
    with pytest.raises(DTypeError, match="expected string ids as in the map"):
        shop.recommend(histories=[[1, 2]], on_unknown="ignore")


def test_a_model_of_known_users_takes_no_histories():
    form = DotForm(np.ones((2, 1), np.float32), None, np.ones((1, 1), np.float32))
    model = FittedModel(form, IdMap(["ann"]), IdMap(["x", "y"]), Histories.from_lists([[0]]), None, Provenance("bpr"))
    with pytest.raises(DataError, match="histories: bpr answers only for users it was trained on; pass users="):
        model.recommend(histories=[["x"]])
    assert model.recommend("ann")["item_id"].to_list() == ["y"]


def test_similar_items(shop):
    table = shop.similar_items("ale", k=2)
    assert table.rows() == [("ale", "wine", 4.0, 1), ("ale", "tea", 3.0, 2)]
    assert table.columns == ["item_id", "similar_item_id", "score", "rank"]
    many = shop.similar_items(["tea", "ale"], k=1)
    assert many.rows() == [("tea", "ale", 8.0, 1), ("ale", "wine", 4.0, 1)]
    assert len(shop.similar_items("ale", k=50)) == 4


def test_similar_items_of_what_is_unknown(shop):
    with pytest.raises(UnknownIdError) as caught:
        shop.similar_items(["ale", "cola", "milk"])
    assert str(caught.value) == "item_ids: unknown item 'cola' (2 unknown in all)."
    with pytest.raises(ConfigError, match="k: expected an integer of at least 1, got 0"):
        shop.similar_items("ale", k=0)


@pytest.mark.parametrize("n_threads", [1, 2, 0])
def test_a_batch_is_its_users_one_by_one(fitted, n_threads):
    users = fitted.users.ids[:20].to_list()
    batch = fitted.recommend(users, k=7, n_threads=n_threads)
    single = pl.concat([fitted.recommend(user, k=7) for user in users])
    assert batch.drop("score").equals(single.drop("score"))
    np.testing.assert_allclose(batch["score"], single["score"], rtol=1e-5, atol=1e-6)
