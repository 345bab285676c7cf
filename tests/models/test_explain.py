"""``explain``: the items of a history that a recommendation rests on."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from form_examples import FORMS, N_CANDIDATES, N_ITEMS, N_USERS, make_form

from recsys_core import Interactions, ItemItemForm, StaticForm, create, runtime, save_bundle
from recsys_core.data import Histories, IdMap
from recsys_core.errors import ConfigError, DataError, UnknownIdError
from recsys_core.models import DotForm, FittedModel, FoldIn, explanation

ITEMS = ["ale", "gin", "rum", "tea", "wine"]
# Row j is what item j in a history adds.
WEIGHTS = np.array([[0, 1, 2, 3, 4], [5, 0, 5, 1, -1], [1, 1, 0, 9, 0], [8, 8, 2, 0, 2], [0, 0, 0, 0, 0]], np.float32)
COLUMNS = ["user_id", "item_id", "score", "reason_item_id", "contribution", "rank"]


@pytest.fixture
def shop() -> FittedModel:
    histories = Histories.from_lists([[0, 1, 2], [1, 1, 3], []])
    return FittedModel(ItemItemForm(WEIGHTS), IdMap(["ann", "bob", "eve"]), IdMap(ITEMS), histories)


def scores_after(model: FittedModel, history: list[int]) -> np.ndarray:
    """Scores of all items, by asking for all of them."""
    ranking = model.recommend_indices(histories=Histories.from_lists([history]), k=N_ITEMS, filter_seen=False)
    scores = np.full(N_ITEMS, np.nan, np.float32)
    found = ranking.indices[0] >= 0
    scores[ranking.indices[0][found]] = ranking.scores[0][found]
    return scores


def test_a_sum_over_the_history_is_taken_apart(shop):
    table = shop.explain("ann", k=2)
    assert table.columns == COLUMNS
    assert table.rows() == [
        ("ann", "tea", 13.0, "rum", 9.0, 1),
        ("ann", "tea", 13.0, "ale", 3.0, 2),
        ("ann", "tea", 13.0, "gin", 1.0, 3),
        ("ann", "wine", 3.0, "ale", 4.0, 1),
        ("ann", "wine", 3.0, "gin", -1.0, 2),  # speaks against it; rum changes nothing, and is no reason
    ]


def test_an_item_that_came_twice_goes_as_a_whole(shop):
    assert shop.explain("bob", item_ids="ale").select("reason_item_id", "contribution").rows() == [
        ("tea", 8.0),
        ("gin", 5.0),
    ]


def test_no_more_reasons_than_asked_for(shop):
    table = shop.explain(["ann", "bob"], n_reasons=1)
    assert table["rank"].to_list() == [1] * len(table)
    assert table["user_id"].unique(maintain_order=True).to_list() == ["ann", "bob"]


def test_who_has_had_nothing_has_no_reasons(shop):
    assert shop.explain("eve").rows() == []
    assert shop.explain([]).schema == shop.explain("ann").schema
    assert shop.explain(histories=[[]], item_ids="tea").schema["user_id"] == pl.Int64


def test_histories_and_items_of_the_callers_choice(shop):
    table = shop.explain(histories={"x": ["tea"], "y": ["ale"]}, item_ids=["gin", "gin", "rum"])
    assert table.select("user_id", "item_id", "reason_item_id", "contribution").rows() == [
        ("x", "gin", "tea", 8.0),
        ("x", "rum", "tea", 2.0),
        ("y", "gin", "ale", 1.0),
        ("y", "rum", "ale", 2.0),
    ]


def test_a_fallback_has_no_reasons(shop):
    table = shop.explain(["ann", "nobody"], k=1, on_unknown="fallback")
    assert set(table["user_id"]) == {"ann"}


@pytest.mark.parametrize("name", FORMS)
def test_a_contribution_is_what_the_score_loses(name):
    form = make_form(name)
    if isinstance(form, StaticForm) or not form.accepts_histories:
        pytest.skip("does not score from histories")
    model = FittedModel(
        form, IdMap(np.arange(N_USERS)), IdMap(np.arange(N_ITEMS)), Histories.from_lists([[]] * N_USERS)
    )
    history = [7, 3, 11, 3, 150]
    candidates = [5, 3, 90, 42] if "two_stage" not in name else list(range(20, 20 + N_CANDIDATES + 5))
    table = model.explain(histories=[history], item_ids=candidates, n_reasons=9)
    assert set(table["item_id"]) <= set(candidates)
    assert len(table) > 0

    def scores(asked: list[int]) -> np.ndarray:
        if "two_stage" not in name:
            return scores_after(model, asked)
        one_by_one = [
            model.recommend_indices(
                histories=Histories.from_lists([asked]), k=1, allow=np.array([item]), filter_seen=False
            ).scores[0, 0]
            for item in range(N_ITEMS)
        ]
        return np.array(one_by_one)

    whole = scores(history)
    for reason in set(history):
        without = scores([item for item in history if item != reason])
        for item in candidates:
            found = table.filter((pl.col("item_id") == item) & (pl.col("reason_item_id") == reason))
            contribution = found["contribution"][0] if len(found) else 0.0
            np.testing.assert_allclose(contribution, whole[item] - without[item], atol=2e-5 * np.abs(whole).max())
    for _, rows in table.group_by("item_id"):
        assert rows["rank"].to_list() == list(range(1, len(rows) + 1))
        assert rows["contribution"].is_sorted(descending=True)


def test_fold_in_against_a_solve_in_float64():
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(30, 6)).astype(np.float32)
    prior = (factors.T @ factors + 2 * np.eye(6)).astype(np.float32)
    form = DotForm(factors, fold_in=FoldIn(prior, (0.0, 1.5), (1.0, 1.5)))
    model = FittedModel(form, IdMap([0]), IdMap(np.arange(30)), Histories.from_lists([[]]))

    def vector(items: list[int]) -> np.ndarray:
        rows = factors[items].astype(np.float64)
        return np.linalg.solve(prior + 1.5 * rows.T @ rows, 2.5 * rows.sum(axis=0))

    history = [1, 4, 9, 16]
    table = model.explain(histories=[history], item_ids=[25], n_reasons=4)
    expected = {
        gone: factors[25] @ (vector(history) - vector([item for item in history if item != gone])) for gone in history
    }
    found = dict(table.select("reason_item_id", "contribution").rows())
    assert found.keys() == expected.keys()
    for gone, contribution in expected.items():
        np.testing.assert_allclose(found[gone], contribution, rtol=1e-4, atol=1e-5)


def test_a_long_history_is_shortened_in_parts(shop, monkeypatch):
    whole = shop.explain(["ann", "bob"])
    monkeypatch.setattr(explanation, "_HELD_ENTRIES", 1)
    assert shop.explain(["ann", "bob"]).equals(whole)


@pytest.mark.parametrize("backend", ["core", "onnx"])
def test_a_bundle_explains_as_the_model_does(tmp_path, backend):
    rng = np.random.default_rng(0)
    model = create("als", n_factors=8, regularization=1.0).fit(
        Interactions.from_arrays(rng.integers(0, 30, 400), rng.integers(0, 40, 400))
    )
    save_bundle(model, tmp_path / "als")
    served = runtime.load(tmp_path / "als", backend=backend)
    expected, found = model.explain([3, 9], k=4), served.explain([3, 9], k=4)
    np.testing.assert_allclose(found["contribution"], expected["contribution"], atol=1e-4)
    assert found.select("user_id", "item_id", "rank").equals(expected.select("user_id", "item_id", "rank"))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"users": "ann", "k": 0}, ConfigError, "k: expected an integer of at least 1, got 0"),
        ({"users": "ann", "n_reasons": 1.5}, ConfigError, "n_reasons: expected an integer of at least 1, got 1.5"),
        ({"users": "ann", "item_ids": ["tea", "milk"]}, UnknownIdError, "item_ids: unknown item 'milk'"),
        ({"users": "zoe"}, UnknownIdError, r"users: 1 unknown user\(s\): 'zoe'"),
        ({}, DataError, "expected either users or histories, got neither"),
    ],
)
def test_bad_requests(shop, arguments, error, message):
    with pytest.raises(error, match=message):
        shop.explain(**arguments)


@pytest.mark.parametrize("name", ["popularity", "bpr"])
def test_models_without_reasons_say_so(name):
    model = create(name).fit(Interactions.from_arrays(["ann", "bob", "bob"], ["tea", "tea", "rum"]))
    with pytest.raises(DataError, match=f"explain: expected a model whose scores depend on a history, got {name}; use"):
        model.explain("ann")
