"""Whatever layout an author's arrays have, a form holds them in one; what cannot be used is refused at once."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from form_examples import FORMS, make_form

import recsys_core
from recsys_core.data import Histories, IdMap
from recsys_core.errors import DataError, DTypeError, ShapeError
from recsys_core.models import DotForm, FittedModel, FoldIn, ItemItemForm, StaticForm

RNG = np.random.default_rng(0)
SQUARE = RNG.normal(size=(6, 6))


@pytest.mark.parametrize(
    "weights",
    [
        SQUARE,
        SQUARE.astype(np.float32).T,
        np.asfortranarray(SQUARE),
        np.repeat(SQUARE, 2, axis=0)[::2],
        sp.csc_matrix(SQUARE),
        sp.coo_matrix(SQUARE),
        sp.csr_array(SQUARE),
    ],
)
def test_weights_of_any_layout_are_saved_as_they_score(weights, tmp_path):
    form = ItemItemForm(weights)
    expected = (weights.toarray() if sp.issparse(weights) else weights).astype(np.float32)
    assert form.weights.dtype == np.float32
    fitted = FittedModel(form, IdMap([0, 1]), IdMap(list(range(6))), Histories.from_lists([[0, 3], [5]]))
    for backend in ("core", "onnx"):
        path = tmp_path / backend
        loaded = recsys_core.runtime.load(recsys_core.save_bundle(fitted, path), backend=backend)
        ranking = loaded.recommend_indices(np.array([0, 1]), k=6, filter_seen=False)
        scores = np.stack([expected[0] + expected[3], expected[5]])
        np.testing.assert_allclose(ranking.scores, -np.sort(-scores, axis=1), rtol=1e-5)


def test_repeated_entries_of_sparse_weights_are_summed_without_touching_the_argument():
    weights = sp.csr_matrix((np.ones(3), np.array([2, 1, 1]), np.array([0, 3, 3, 3])), shape=(3, 3))
    assert ItemItemForm(weights).weights.toarray().tolist() == [[0, 2, 1], [0, 0, 0], [0, 0, 0]]
    assert weights.nnz == 3


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: StaticForm(np.array([1.0, np.nan])), DataError, r"scores: expected finite numbers, got nan at \(1,\)"),
        (lambda: StaticForm(np.array([1e300])), DataError, "scores: expected finite numbers, got inf"),
        (lambda: StaticForm(np.array([[1.0]])), ShapeError, r"scores: expected shape \(any\), got \(1, 1\)"),
        (lambda: StaticForm(np.array(["a"])), DTypeError, "scores: expected real numbers"),
        (lambda: StaticForm(np.array([True])), DTypeError, "scores: expected real numbers, got bool"),
        (lambda: ItemItemForm(sp.csr_matrix([[np.inf]])), DataError, "weights.data: expected finite numbers"),
        (lambda: ItemItemForm(sp.csr_matrix((2, 3))), ShapeError, r"weights: expected shape \(2, 2\), got \(2, 3\)"),
        (
            lambda: DotForm(np.ones((3, 2)), np.ones(2), np.ones((1, 2))),
            ShapeError,
            r"item_bias: expected shape \(3\), got \(2,\)",
        ),
        (
            lambda: DotForm(np.ones((3, 2)), fold_in=FoldIn(np.eye(2), (0, 1), (1, 1), np.ones(2))),
            ShapeError,
            "fold_in.item_offset",
        ),
        (lambda: FoldIn(np.ones((2, 2)), (0, 1), (1, 1)), DataError, "positive definite"),
        (lambda: FoldIn(np.ones(2), (0, 1), (1, 1)), ShapeError, "fold_in.prior"),
    ],
)
def test_what_cannot_be_used_is_refused_at_once(build, error, message):
    with pytest.raises(error, match=message):
        build()


@pytest.mark.parametrize("name", FORMS)
def test_fitted_models_can_be_copied_and_pickled_after_use(name):
    histories = Histories.from_lists([[1, 2]] * 50)
    fitted = FittedModel(make_form(name), IdMap(list(range(50))), IdMap(list(range(200))), histories)
    before = fitted.recommend([1, 2], k=5)
    for again in (copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted))):
        assert again.recommend([1, 2], k=5).equals(before)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"allow": np.array([True] * 200)}, DTypeError, "allow: expected integers, got bool"),
        ({"deny": [200]}, DataError, "deny: expected positions from 0 to 199, got 200"),
        ({"deny": [-1]}, DataError, "deny: expected positions"),
        ({"exclude": sp.csc_matrix((2, 200))}, DTypeError, "exclude: expected a scipy.sparse CSR matrix, got the csc"),
        ({"exclude": sp.csr_matrix((3, 200))}, ShapeError, r"exclude: expected shape \(2, 200\)"),
        ({"histories": sp.csc_matrix((200, 200))}, DTypeError, "histories: expected a scipy.sparse CSR matrix"),
        ({"histories": Histories.from_lists([[200]])}, DataError, "histories: expected item positions below 200"),
    ],
)
def test_filters_are_checked_before_any_backend_sees_them(fitted, tmp_path, arguments, error, message):
    if "histories" in arguments and not fitted.form.accepts_histories:
        pytest.skip("it takes no histories")
    users = None if "histories" in arguments else np.array([0, 1])
    loaded = recsys_core.runtime.load(recsys_core.save_bundle(fitted, tmp_path / "bundle"))
    for model in (fitted, loaded):
        with pytest.raises(error, match=message):
            model.recommend_indices(users, **arguments)


@pytest.mark.parametrize("name", ["als", "bpr", "slim", "explicit_mf"])  # who hands it on to the core
def test_what_progress_returns_does_not_stop_the_training(name):
    rng = np.random.default_rng(0)
    pairs = np.unique(rng.integers(0, 30, (600, 2)), axis=0)
    sales = recsys_core.Interactions.from_arrays(pairs[:, 0], pairs[:, 1])
    plain = recsys_core.create(name).fit(sales)
    watched = recsys_core.create(name).fit(sales, progress=lambda done, total: True)
    assert plain.recommend([1], k=5).equals(watched.recommend([1], k=5))


def test_users_may_come_from_an_iterator():
    sales = recsys_core.Interactions.from_arrays([1, 2], ["a", "b"])
    model = recsys_core.create("popularity").fit(sales)
    assert model.recommend(iter([1, 2]), k=1)["user_id"].to_list() == [1, 2]
    assert model.recommend(np.array(2), k=1)["user_id"].to_list() == [2]
