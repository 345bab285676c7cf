"""``recommend_indices``: positions in, arrays out."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from form_examples import N_ITEMS, N_USERS, make_form

from recsys_core.data import Histories, IdMap
from recsys_core.errors import ConfigError, DataError, DTypeError, ShapeError
from recsys_core.models import DotForm, FittedModel, ItemItemForm, StaticForm


def ask_all(model, **options):
    return model.recommend_indices(np.arange(len(model.users)), **options)


def test_dtypes_and_shapes(fitted):
    ranking = ask_all(fitted, k=7)
    assert (ranking.indices.dtype, ranking.scores.dtype) == (np.int64, np.float32)
    assert ranking.indices.shape == ranking.scores.shape == (len(fitted.users), 7)


def check_found(fitted, indices, forbidden):
    """All admissible items are found, or of a second stage as many of them as there are candidates.

    None are for a user without a history whose scores would all be 0.
    """
    silent = np.isnan(fitted.score_indices(np.arange(len(fitted.users)), item_index=np.zeros(len(fitted.users), int)))
    forbidden = forbidden | (silent & (fitted.histories.lengths == 0))[:, None]
    candidates = fitted.form.n_candidates if getattr(fitted.form, "retriever", None) else len(fitted.items)
    for row, found in enumerate(indices):
        admissible = set(np.flatnonzero(~forbidden[row]).tolist())
        found = found[found >= 0].tolist()
        assert len(set(found)) == len(found) == min(candidates, len(admissible))
        assert set(found) <= admissible


def test_nothing_seen_is_recommended(fitted):
    seen = fitted.histories.to_csr(len(fitted.items)).toarray() > 0
    check_found(fitted, ask_all(fitted, k=len(fitted.items)).indices, seen)


def test_padding_is_last(fitted):
    n_items = len(fitted.items)
    ranking = ask_all(fitted, k=n_items + 5)
    padded = ranking.indices < 0
    assert padded[:, -5:].all()
    assert (np.diff(padded.astype(int), axis=1) >= 0).all()
    np.testing.assert_array_equal(padded, np.isneginf(ranking.scores))


def test_exclude_adds_to_what_is_seen(fitted):
    n_items = len(fitted.items)
    rng = np.random.default_rng(2)
    exclude = sp.random_array((len(fitted.users), n_items), density=0.4, rng=rng, format="csr", dtype=np.float32)
    exclude.data[::2] = 0.0  # a stored zero excludes as well
    stored = sp.csr_array((np.ones(exclude.nnz), exclude.indices, exclude.indptr), exclude.shape).toarray() > 0
    seen = fitted.histories.to_csr(n_items).toarray() > 0
    for filter_seen, forbidden in ((True, stored | seen), (False, stored)):
        indices = ask_all(fitted, k=n_items, exclude=exclude, filter_seen=filter_seen).indices
        check_found(fitted, indices, forbidden)


def test_histories_may_be_csr(fitted):
    if not fitted.form.accepts_histories:
        with pytest.raises(DataError, match="histories: this model answers only for users it was trained on"):
            fitted.recommend_indices(histories=fitted.histories)
        return
    csr = fitted.histories.to_csr(len(fitted.items))
    for given, expected in zip(
        fitted.recommend_indices(histories=csr), fitted.recommend_indices(histories=fitted.histories), strict=True
    ):
        np.testing.assert_array_equal(given, expected)


@pytest.mark.parametrize("name", ["histories_only", "dense", "dense_weighted", "sparse"])
def test_users_that_are_not_looked_up_are_asked_by_their_histories(name, histories):
    fitted = FittedModel(make_form(name), IdMap(list(range(N_USERS))), IdMap(list(range(N_ITEMS))), histories)
    assert not fitted.form.accepts_users
    rows = np.array([4, 3, 4])
    by_user = fitted.recommend_indices(rows)
    by_history = fitted.recommend_indices(histories=fitted.histories.rows(rows))
    for one, other in zip(by_user, by_history, strict=True):
        np.testing.assert_array_equal(one, other)


def test_nobody_gets_no_rows(fitted):
    for nobody in ([], np.zeros(0, np.int64)):
        assert fitted.recommend_indices(nobody, k=4).indices.shape == (0, 4)


@pytest.fixture
def small() -> FittedModel:
    return FittedModel(
        ItemItemForm(np.ones((3, 3), np.float32)),
        IdMap(["a", "b"]),
        IdMap([1, 2, 3]),
        Histories.from_lists([[0], [1, 2]]),
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, DataError, "recommend: expected either users or histories, got neither; give exactly one."),
        ({"user_index": [0], "k": 0}, ConfigError, "k: expected an integer of at least 1, got 0."),
        ({"user_index": [0, 2]}, DataError, "user_index: expected positions from 0 to 1, got 2."),
        ({"user_index": [-1]}, DataError, "user_index: expected positions from 0 to 1, got -1."),
        ({"user_index": [[0]]}, ShapeError, "user_index: expected one dimension, got shape (1, 1)."),
        (
            {"user_index": [0.0]},
            DTypeError,
            (
                "user_index: expected integers, got float64; pass np.flatnonzero(mask) for a mask, "
                "and use recommend(...) for ids."
            ),
        ),
        (
            {"user_index": [True, False]},
            DTypeError,
            (
                "user_index: expected integers, got bool; pass np.flatnonzero(mask) for a mask, "
                "and use recommend(...) for ids."
            ),
        ),
        (
            {"histories": sp.csr_matrix((1, 4), dtype=np.float32)},
            ShapeError,
            "histories: expected shape (any, 3), got (1, 4).",
        ),
        (
            {"user_index": [0], "exclude": sp.csr_matrix((2, 3), dtype=np.float32)},
            ShapeError,
            "exclude: expected shape (1, 3), got (2, 3).",
        ),
    ],
)
def test_arguments_that_do_not_fit(small, arguments, error, message):
    with pytest.raises(error) as caught:
        small.recommend_indices(**arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (StaticForm(np.ones(2, np.float32)), "form: expected scores for the 3 items of the id map, got 2."),
        (
            DotForm(np.ones((3, 1), np.float32), None, np.ones((5, 1), np.float32)),
            "form.user_factors: expected 2 rows, one a user, got 5.",
        ),
    ],
)
def test_a_form_must_fit_the_ids(small, form, message):
    with pytest.raises(ShapeError) as caught:
        FittedModel(form, small.users, small.items, small.histories)
    assert str(caught.value) == message
