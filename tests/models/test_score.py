"""``score``: given items for given users or histories."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
import pytest

from recsys_core import Interactions, StaticForm, create, runtime, save_bundle
from recsys_core.data import Histories, IdMap
from recsys_core.errors import ConfigError, DataError, ShapeError, UnknownIdError
from recsys_core.models import FittedModel, ItemItemForm

ITEMS = ["ale", "gin", "rum"]
WEIGHTS = np.array([[0, 1, 2], [5, 0, 3], [7, 1, 0]], np.float32)


@pytest.fixture
def shop() -> FittedModel:
    return FittedModel(
        ItemItemForm(WEIGHTS), IdMap(["ann", "bob", "eve"]), IdMap(ITEMS), Histories.from_lists([[0], [1, 2], []])
    )


def test_users_and_items_are_paired_one_by_one(shop):
    table = shop.score(["bob", "ann", "bob"], item_ids=["ale", "rum", "rum"])
    assert table.schema == {"user_id": pl.String, "item_id": pl.String, "score": pl.Float32}
    assert table.rows() == [("bob", "ale", 12.0), ("ann", "rum", 2.0), ("bob", "rum", 3.0)]


def test_one_of_either_is_paired_with_all_of_the_other(shop):
    assert shop.score("bob", item_ids=ITEMS)["score"].to_list() == [12.0, 1.0, 3.0]
    assert shop.score(["ann", "bob"], item_ids="rum").rows() == [("ann", "rum", 2.0), ("bob", "rum", 3.0)]
    assert shop.score("ann", item_ids=[]).shape == shop.score([], item_ids="rum").shape == (0, 3)


def test_histories_are_scored_too(shop):
    table = shop.score(histories={"x": ["ale"], "y": ["gin", "rum"]}, item_ids=["rum", "ale"])
    assert table.rows() == [("x", "rum", 2.0), ("y", "ale", 12.0)]
    assert shop.score(histories=["ale"], item_ids=["gin", "rum"]).rows() == [(0, "gin", 1.0), (0, "rum", 2.0)]


def test_a_history_that_says_nothing_has_no_scores(shop):
    assert shop.score("eve", item_ids=ITEMS)["score"].to_list() == [None] * 3
    assert shop.score(histories=[[]], item_ids="ale")["score"].to_list() == [None]
    popular = FittedModel(StaticForm(np.array([3, 2, 1])), shop.users, shop.items, shop.histories)
    assert popular.score(histories=[[]], item_ids="gin")["score"].to_list() == [2.0]


def test_unknown_ids_are_errors_or_have_no_score(shop):
    with pytest.raises(UnknownIdError, match=r"^users: 1 unknown user\(s\): 'zoe'"):
        shop.score(["ann", "zoe"], item_ids="rum")
    with pytest.raises(UnknownIdError, match=r"^item_ids: 1 unknown item\(s\): 'cola'"):
        shop.score("ann", item_ids=["rum", "cola"])
    with pytest.raises(UnknownIdError, match=r"^histories: 1 unknown item\(s\): 'cola'"):
        shop.score(histories=["ale", "cola"], item_ids="rum")
    table = shop.score(["zoe", "ann", "ann"], item_ids=["rum", "cola", "rum"], on_unknown="ignore")
    assert table.rows() == [("zoe", "rum", None), ("ann", "cola", None), ("ann", "rum", 2.0)]
    with pytest.warns(UserWarning, match="'zoe'; left out"):
        shop.score("zoe", item_ids="rum", on_unknown="warn")


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        (
            {"users": ["ann", "bob"], "item_ids": ITEMS},
            ShapeError,
            "item_ids: expected 2 items, one for each of the users, got 3; to score all items for all, repeat both.",
        ),
        ({"item_ids": "rum"}, DataError, "score: expected either users or histories, got neither; give exactly one."),
        (
            {"users": "ann", "item_ids": "rum", "on_unknown": "fallback"},
            ConfigError,
            "on_unknown: expected one of raise, warn, ignore, got 'fallback'.",
        ),
    ],
)
def test_what_cannot_be_scored_is_said(shop, asked, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        shop.score(**asked)


def test_positions_are_checked(shop):
    with pytest.raises(ShapeError, match=r"^item_index: expected one item for each of 2 queries, got 1"):
        shop.score_indices(np.array([0, 1]), item_index=np.array([0]))
    with pytest.raises(DataError, match=r"^item_index: expected positions from 0 to 2, got 3"):
        shop.score_indices(np.array([0]), item_index=np.array([3]))
    with pytest.raises(DataError, match=r"^row: expected positions from 0 to 1, got 2"):
        shop.score_indices(item_index=np.array([0]), histories=Histories.from_lists([[0], [1]]), row=np.array([2]))


@pytest.mark.parametrize("name", ["als", "explicit_mf", "ease", "item_knn", "bpr", "popularity"])
@pytest.mark.parametrize("backend", ["core", "onnx"])
def test_the_model_the_bundle_and_the_graph_give_one_score(tmp_path, name, backend):
    rng = np.random.default_rng(0)
    users, items = np.repeat(np.arange(40), 8), (rng.random(320) ** 2 * 30).astype(int)
    events = Interactions.from_arrays(users, items, weights=rng.integers(1, 6, 320).astype(np.float32))
    model = create(name).fit(events)
    served = runtime.load(save_bundle(model, tmp_path / "bundle"), backend=backend)
    asked = rng.integers(0, 40, 60), rng.choice(items, 60)
    table = model.score(asked[0], item_ids=asked[1])
    np.testing.assert_allclose(served.score(asked[0], item_ids=asked[1])["score"], table["score"], rtol=1e-5)
    for user, item, score in table.head(10).rows():
        alone = served.recommend(user, k=1, allow=[item], filter_seen=False)
        np.testing.assert_allclose(alone["score"][0], score, rtol=1e-4, atol=1e-5)
