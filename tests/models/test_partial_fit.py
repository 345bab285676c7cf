"""New interactions: what grows, what stays, and who can."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from recsys_core import Interactions, create, runtime, save_bundle
from recsys_core.data import Histories, IdMap
from recsys_core.errors import DataError, DTypeError, ShapeError, UnknownModelError
from recsys_core.models.update import grow
from recsys_core.testing import block_interactions

OLD = Interactions.from_arrays(
    ["ann", "ann", "bob", "eve"], ["tea", "rum", "tea", "gin"], [1, 2, 3, 4], [10, 20, 30, 40], time_unit="s"
)
# Out of their order in time, with a new user, a new item and a repeat.
NEW = Interactions.from_arrays(
    ["zoe", "ann", "bob", "ann"], ["ale", "gin", "ale", "tea"], [5, 6, 7, 8], [400, 300, 200, 100], time_unit="s"
)


@pytest.mark.parametrize(
    ("ids", "more", "expected"),
    [
        (["b", "c"], ["a", "c", "a", None], ["b", "c", "a"]),
        ([3, 1], [1, 3], [3, 1]),
        (pl.Series([3, 1], dtype=pl.Int8), [1000, 2], [3, 1, 1000, 2]),
        ([], ["x"], ["x"]),
    ],
)
def test_an_id_map_grows_behind(ids, more, expected) -> None:
    ids = IdMap(ids)
    grown = ids.extended(more)
    assert grown.ids.to_list() == expected
    assert grown.index_of(expected).tolist() == list(range(len(expected)))
    assert ids.extended(ids.ids) is ids


def test_ids_of_another_kind_are_refused() -> None:
    with pytest.raises(DTypeError, match="expected string ids"):
        IdMap(["a"]).extended([1])


def test_histories_grow_behind() -> None:
    old = Histories.from_lists([[3, 1], [], [2]], [[1, 2], [], [3]])
    grown = old.extended(5, [4, 0, 4, 2], [7, 8, 9, 3], [4, 5, 6, 7])
    assert [grown.indices[a:b].tolist() for a, b in zip(grown.indptr, grown.indptr[1:], strict=False)] == [
        [3, 1, 8], [], [2, 3], [], [7, 9],
    ]  # fmt: skip
    assert grown.weights.tolist() == [1, 2, 5, 3, 7, 4, 6]
    for rows, n_rows in (([5], 5), ([-1], 5), ([0], 2)):
        with pytest.raises(DataError, match="n_rows"):
            old.extended(n_rows, rows, [0], [1])
    with pytest.raises(ShapeError, match="one length"):
        old.extended(3, [0], [0, 1], [1, 1])


def test_an_update_has_the_new_events_in_time_and_everything_grown() -> None:
    features = pl.DataFrame({"item_id": ["tea", "gin"], "kind": ["soft", "hard"]})
    more = pl.DataFrame({"item_id": ["ale", "gin"], "kind": ["mild", "ignored"], "other": [1, 2]})
    before = create("popularity").fit(OLD.with_features(features)).fitted
    update = grow(before, NEW.with_features(more))
    assert update.users.ids.to_list() == ["ann", "bob", "eve", "zoe"]
    assert update.items.ids.to_list() == ["gin", "rum", "tea", "ale"]
    assert update.user_index.tolist() == [0, 1, 0, 3]
    assert update.item_index.tolist() == [2, 3, 0, 3]
    assert update.weight.tolist() == [8, 7, 6, 5]
    assert update.touched_users.tolist() == [0, 1, 3]
    assert update.touched_items.tolist() == [0, 2, 3]
    assert update.histories.rows([0]).indices.tolist() == [2, 1, 2, 0]
    assert update.item_features is not None
    assert update.item_features.rows() == [("gin", "hard"), ("rum", None), ("tea", "soft"), ("ale", "mild")]
    assert len(update.interactions()) == 8


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("popularity", {}),
        ("popularity", {"by": "weights"}),
        ("item_knn", {}),
        ("item_knn", {"similarity": "bm25", "binary": True}),
    ],
)
def test_what_counts_is_updated_exactly(name: str, settings: dict) -> None:
    whole = block_interactions(random_state=3)
    early = whole.datetime <= np.median(whole.datetime)
    updated = create(name, **settings).fit(whole.select(early)).partial_fit(whole.select(~early))
    fitted = create(name, **settings).fit(whole)
    users = whole.users.ids.to_list()
    got, expected = (
        model.recommend(users, k=40, filter_seen=False).sort("user_id", "item_id") for model in (updated, fitted)
    )
    assert got["item_id"].equals(expected["item_id"])
    np.testing.assert_allclose(got["score"], expected["score"], rtol=1e-5)


def test_the_first_interactions_are_fitted() -> None:
    model = create("als", n_factors=2, regularization=0.1).partial_fit(OLD)
    assert model.users == OLD.users


@pytest.mark.parametrize("name", ["ease", "slim"])
def test_a_model_that_cannot_says_so(name: str) -> None:
    model = create(name, **({"l1": 0.1} if name == "slim" else {})).fit(OLD)
    with pytest.raises(DataError, match=r"expected a model that can take new interactions, got .*; fit it again"):
        model.partial_fit(NEW)
    assert model.users == OLD.users


def test_a_decay_cannot_be_updated() -> None:
    model = create("popularity", half_life_days=1.0).fit(OLD)
    with pytest.raises(DataError, match="expected half_life_days to be None"):
        model.partial_fit(NEW)


def test_what_is_no_interactions_is_refused() -> None:
    model = create("als", n_factors=2, regularization=0.1).fit(OLD)
    with pytest.raises(DTypeError, match="expected Interactions, got DataFrame"):
        model.partial_fit(NEW.to_frame())
    with pytest.raises(DTypeError, match="expected string ids"):
        model.partial_fit(Interactions.from_arrays([1], [2]))


@pytest.mark.parametrize("backend", ["onnx", "core"])
def test_a_served_bundle_is_updated_beside_the_old_one(tmp_path, backend) -> None:
    model = create("als", n_factors=2, regularization=0.1).fit(OLD)
    save_bundle(model, tmp_path / "drinks")
    served = runtime.load(tmp_path / "drinks", backend=backend)
    updated = served.update(NEW)
    assert "zoe" not in served.users
    expected = model.partial_fit(NEW).recommend(["zoe", "ann"], k=2)
    got = updated.recommend(["zoe", "ann"], k=2)
    assert got["item_id"].equals(expected["item_id"])
    np.testing.assert_array_equal(got["score"], expected["score"])
    assert updated.manifest == served.manifest
    save_bundle(updated, tmp_path / "drinks", overwrite=True)
    again = runtime.load(tmp_path / "drinks").update(NEW).recommend("zoe", k=1)
    assert again.height == 1


def test_a_bundle_of_a_class_without_a_plugin_cannot_be_updated(tmp_path) -> None:
    from recsys_classic.popularity import Popularity

    save_bundle(Popularity().fit(OLD), tmp_path / "drinks")
    with pytest.raises(UnknownModelError, match="no plugin registers"):
        runtime.load(tmp_path / "drinks").update(NEW)
