"""Scoring forms: what they compute, and that their arrays are all there is to them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from form_examples import (
    FORMS,
    N_FACTORS,
    N_ITEMS,
    N_USERS,
    decayed_sum,
    make_encoder,
    make_form,
    pair_scores,
    standardized,
)

from recsys_core.data import Histories
from recsys_core.errors import ConfigError, DataError, FormatError, ShapeError
from recsys_core.models import (
    DotForm,
    Filters,
    FoldIn,
    ItemItemForm,
    PairForm,
    StaticForm,
    form_from_state,
    standardized_scores,
)

K = 12
SILENT_WITHOUT_A_HISTORY = {
    "implicit_fold_in",
    "ridged_fold_in",
    "histories_only",
    "dense",
    "dense_weighted",
    "sparse",
    "encoder_with_users",
    "encoder_of_the_described",
    "two_stage_fold_in",
    "two_stage_item_item",
    "two_stage_standardized",
    "two_stage_described",
}
"""Their scores of an empty history would all be 0; the others have biases, one score an item, or a scorer of pairs."""


def dense_history(form, histories):
    matrix = histories.to_csr(N_ITEMS).toarray().astype(np.float64)
    return (matrix > 0).astype(np.float64) if isinstance(form, ItemItemForm) and form.binary else matrix


def solved(form, histories):
    """The fold-in of every row in float64, from the formula in FoldIn's documentation."""
    fold_in, items = form.fold_in, form.item_factors.astype(np.float64)
    offset = np.zeros(N_ITEMS) if fold_in.item_offset is None else fold_in.item_offset
    queries = np.zeros((len(histories), items.shape[1]))
    for row, (start, stop) in enumerate(zip(histories.indptr, histories.indptr[1:], strict=False)):
        index, r = histories.indices[start:stop], histories.weights[start:stop].astype(np.float64)
        confidence = fold_in.confidence[0] + fold_in.confidence[1] * r
        target = fold_in.target[0] + fold_in.target[1] * r - offset[index]
        system, right = fold_in.prior + (items[index].T * confidence) @ items[index], items[index].T @ target
        # Of those who ask by a history alone, no feature is known: the mean is what everybody shares.
        mean = np.zeros(items.shape[1]) if fold_in.mean is None else fold_in.mean.vectors[-1].astype(np.float64)
        if fold_in.ridge is not None:
            ridge = fold_in.ridge.scale * (max(len(index), 1) + fold_in.ridge.base) ** fold_in.ridge.exponent
            system, right = system + ridge * np.eye(items.shape[1]), right + ridge * mean
        queries[row] = np.linalg.solve(system, right) if len(index) else mean
    return queries


def encoded(form, histories):
    """The query of every row, by the formula of the encoder that the examples have."""
    rows = np.split(histories.indices, histories.indptr[1:-1])
    items = form.item_inputs if isinstance(form, PairForm) else form.item_factors
    return np.array([decayed_sum(row, items.astype(np.float64)) for row in rows])


def reference_scores(form, histories):
    """Scores of every row in float64: known users where the form looks them up, else their histories."""
    if isinstance(form, StaticForm):
        return np.broadcast_to(form.scores, (len(histories), N_ITEMS)).astype(np.float64)
    if isinstance(form, ItemItemForm):
        weights = form.weights.toarray() if sp.issparse(form.weights) else form.weights
        known = dense_history(form, histories)
        return silent_where(~known.any(axis=1), known @ weights.astype(np.float64))
    if isinstance(form, PairForm):
        queries = form.user_inputs.astype(np.float64) if form.accepts_users else encoded(form, histories)
        scores = pair_scores(queries, form.item_inputs.astype(np.float64))
        if form.retriever is not None:
            retrieved = reference_scores(form.retriever, histories)
            is_candidate = np.argsort(np.argsort(-retrieved, axis=1), axis=1) < form.n_candidates
            if form.scorer.takes_retrieved:
                scores += (standardized(retrieved, is_candidate) if form.standardized else retrieved) / 16
            scores[~is_candidate | np.isneginf(retrieved)] = -np.inf
        return scores
    strangers = encoded if form.encoder is not None else solved
    queries = form.user_factors.astype(np.float64) if form.accepts_users else strangers(form, histories)
    scores = queries @ form.item_factors.T.astype(np.float64)
    return scores + form.item_bias if form.item_bias is not None else silent_where(~queries.any(axis=1), scores)


def silent_where(rows, scores):
    """Nothing in the rows whose scores would all be 0."""
    return np.where(rows[:, None], -np.inf, scores)


def ask(form, histories, k=K, **filters):
    users = np.arange(N_USERS) if form.accepts_users else None
    return form.rank(users, None if form.accepts_users else histories, k, Filters(**filters))


@pytest.mark.parametrize("name", FORMS)
def test_scores_are_those_of_the_formula(name, histories):
    form = make_form(name)
    indices, scores = ask(form, histories)
    reference = reference_scores(form, histories)
    expected = np.take_along_axis(reference, indices, axis=1)
    np.testing.assert_array_equal(indices < 0, np.isneginf(expected))
    np.testing.assert_allclose(scores, expected, rtol=2e-4, atol=2e-4)
    # The k-th best is right too: no item that is left out scores clearly more.
    np.testing.assert_allclose(scores[:, -1], np.sort(reference, axis=1)[:, -K], rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(
    "name", ["implicit_fold_in", "explicit_fold_in", "ridged_fold_in", "fold_in_of_the_described", "histories_only"]
)
def test_histories_are_solved_even_where_users_are_known(name, histories):
    form = make_form(name)
    np.testing.assert_allclose(form.encode(None, histories), solved(form, histories), rtol=1e-3, atol=2e-3)
    mean = form.fold_in.mean
    alone = np.zeros(form.item_factors.shape[1]) if mean is None else mean.vectors[-1]
    np.testing.assert_array_equal(form.encode(None, histories)[3], alone, "an empty history is the mean")


@pytest.mark.parametrize("name", ["encoder", "encoder_with_users"])
def test_an_encoder_reads_the_newest_items_in_order(name):
    form = make_form(name)
    rng = np.random.default_rng(5)
    long = rng.integers(0, N_ITEMS, 3 * form.encoder.max_length).tolist()
    rows = Histories.from_lists([[4, 4, 7], long, [], [7, 4, 4], long[-form.encoder.max_length :]])
    queries = form.encode(None, rows)
    np.testing.assert_allclose(queries, encoded(form, rows), rtol=1e-4, atol=1e-5)
    assert not np.allclose(queries[0], queries[3]), "order counts"
    np.testing.assert_allclose(queries[1], queries[4], rtol=1e-6)
    assert not queries[2].any()


def test_a_query_does_not_depend_on_how_rows_are_batched(monkeypatch, histories):
    form = make_form("encoder")
    whole = form.encode(None, histories)
    monkeypatch.setattr("recsys_core.models.history_encoder.BATCH_NUMBERS", 700)
    np.testing.assert_allclose(form.encode(None, histories), whole, rtol=1e-5, atol=1e-6)


def test_a_history_is_read_in_one_way():
    form = make_form("implicit_fold_in")
    with pytest.raises(DataError, match="fold_in or encoder, got both"):
        DotForm(form.item_factors, fold_in=form.fold_in, encoder=make_encoder())


def test_known_users_are_looked_up():
    form = make_form("implicit_fold_in")
    np.testing.assert_array_equal(form.encode(np.array([4, 4, 0]), None), form.user_factors[[4, 4, 0]])


@pytest.mark.parametrize("name", FORMS)
def test_filters_are_passed_on(name, histories):
    form = make_form(name)
    exclude = sp.csr_matrix(np.arange(N_USERS * N_ITEMS).reshape(N_USERS, N_ITEMS) % 3 == 0, dtype=np.float32)
    allow, deny = np.arange(50), np.arange(0, 50, 7)
    indices, _ = ask(form, histories, k=60, exclude=exclude, allow=allow, deny=deny)
    for row, found in enumerate(indices):
        left = set(range(50)) - set(deny.tolist()) - set(exclude[row].indices.tolist())
        says_something = histories.lengths[row] or name not in SILENT_WITHOUT_A_HISTORY or form.accepts_users
        assert set(found[found >= 0].tolist()) == (left if says_something else set())


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_its_state(name, histories):
    form = make_form(name)
    arrays, meta = form.state()
    again = form_from_state(form.kind, arrays, json.loads(json.dumps(meta)))
    assert type(again) is type(form)
    assert (again.n_items, again.accepts_users, again.accepts_histories) == (
        N_ITEMS,
        form.accepts_users,
        form.accepts_histories,
    )
    for before, after in zip(ask(form, histories), ask(again, histories), strict=True):
        np.testing.assert_array_equal(before, after)
    if form.accepts_histories:
        for before, after in zip(form.rank(None, histories, K), again.rank(None, histories, K), strict=True):
            np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("name", FORMS)
def test_a_state_is_plain_arrays_and_json(name):
    arrays, meta = make_form(name).state()
    assert all(type(array) is np.ndarray for array in arrays.values())
    assert json.loads(json.dumps(meta)) == meta


@pytest.mark.parametrize("name", FORMS)
def test_a_missing_array_is_named(name):
    form = make_form(name)
    arrays, meta = form.state()
    required = {"dot": "item_factors", "item_item": "weights.data", "pair": "scorer.graph", "static": "scores"}[
        form.kind
    ]
    if required == "weights.data" and "weights" in arrays:
        required = "weights"
    del arrays[required]
    with pytest.raises(FormatError, match=f"form '{form.kind}': .* is missing from the saved state; write it again"):
        form_from_state(form.kind, arrays, meta)


def test_an_unknown_form_comes_from_the_future():
    with pytest.raises(
        FormatError, match="form: expected one of dot, item_item, static, pair, got 'tree'; it was written by"
    ):
        form_from_state("tree", {}, {})


def test_a_binary_form_takes_weights_for_ones(histories):
    form = make_form("dense")
    heavy = Histories(histories.indptr, histories.indices, histories.weights * 7)
    for before, after in zip(form.rank(None, histories, K), form.rank(None, heavy, K), strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_weighted_form_does_not():
    weights = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], np.float32)
    rows = Histories.from_lists([[0, 1]], [[2.0, 3.0]])
    indices, scores = ItemItemForm(weights, binary=False).rank(None, rows, 3)
    assert indices.tolist() == [[2, 1, 0]]
    assert scores.tolist() == [[3.0, 2.0, 0.0]]


def test_dense_and_sparse_weights_agree(histories):
    sparse = make_form("sparse")
    dense = ItemItemForm(sparse.weights.toarray(), binary=False)
    np.testing.assert_allclose(
        dense.rank(None, histories, K).scores, sparse.rank(None, histories, K).scores, rtol=1e-5, atol=1e-5
    )


def test_static_scores_are_for_anybody(histories):
    form = StaticForm(np.array([1, 3, 2, 3], np.float32))
    rows = Histories.from_lists([[], [1], [0, 0]])
    indices, scores = form.rank(None, rows, 5)
    assert indices.tolist() == [[1, 3, 2, 0, -1]] * 3
    assert scores.tolist() == [[3.0, 3.0, 2.0, 1.0, -np.inf]] * 3
    assert form.rank(np.array([9, 0]), None, 1).indices.tolist() == [[1], [1]]


@pytest.mark.parametrize("name", ["users_only", "histories_only", "dense", "sparse"])
def test_similar_items_leave_out_the_item_itself(name):
    form = make_form(name)
    asked = np.array([5, 0, 5])
    indices, scores = form.similar(asked, 10)
    assert not (indices == asked[:, None]).any()
    np.testing.assert_array_equal(indices[0], indices[2])
    if isinstance(form, DotForm):
        unit = form.item_factors / np.linalg.norm(form.item_factors, axis=1, keepdims=True)
        expected = unit[asked] @ unit.T
    else:
        expected = (form.weights.toarray() if sp.issparse(form.weights) else form.weights)[asked]
    found = indices >= 0
    np.testing.assert_allclose(
        scores[found], np.take_along_axis(expected, indices, axis=1)[found], rtol=1e-4, atol=1e-5
    )
    if isinstance(form, ItemItemForm):
        # At a weight of 0 items are not alike: a row with fewer positive weights has fewer similar items.
        expected[np.arange(3), asked] = 0
        assert found.sum(axis=1).tolist() == np.minimum((expected > 0).sum(axis=1), 10).tolist()


def test_one_score_an_item_relates_no_items():
    with pytest.raises(DataError, match="similar_items: expected a model that relates items to each other"):
        make_form("static").similar(np.array([0]), 3)


FACTORS = np.ones((N_ITEMS, N_FACTORS), np.float32)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: DotForm(FACTORS), DataError, "DotForm: expected user_factors, fold_in or encoder, got none"),
        (
            lambda: DotForm(FACTORS, None, np.ones((3, 2), np.float32)),
            ShapeError,
            r"user_factors: expected shape \(any, 16\), got \(3, 2\)\.",
        ),
        (
            lambda: DotForm(FACTORS, None, None, FoldIn(np.eye(3, dtype=np.float32), (0, 1), (1, 1))),
            ShapeError,
            r"fold_in\.prior: expected shape \(16, 16\), got \(3, 3\)\.",
        ),
        (
            lambda: ItemItemForm(np.ones((3, 2), np.float32)),
            ShapeError,
            r"weights: expected shape \(3, 3\), got \(3, 2\)\.",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()


@pytest.mark.parametrize("name", FORMS)
def test_an_empty_history_gets_nothing_where_its_scores_tell_no_items_apart(name):
    form = make_form(name)
    if not form.accepts_histories:
        pytest.skip("takes no histories")
    rows = Histories.from_lists([[], [4, 9], []])
    indices, scores = form.rank(None, rows, K)
    silent = name in SILENT_WITHOUT_A_HISTORY
    assert (indices >= 0).all(axis=1).tolist() == [not silent, True, not silent]
    assert (np.isneginf(scores) == (indices < 0)).all()
    pairs = np.repeat(np.arange(3), 5), np.tile(np.arange(5), 3)
    told = np.isfinite(form.score(None, rows, *pairs)).reshape(3, 5)
    assert told.all(axis=1).tolist() == [not silent, True, not silent]


def test_a_user_whose_vector_is_zero_gets_nothing_either(histories):
    form = make_form("implicit_fold_in")
    users = form.user_factors.copy()
    users[1] = 0
    indices, _ = DotForm(form.item_factors, None, users).rank(np.array([0, 1]), None, K)
    assert (indices >= 0).all(axis=1).tolist() == [True, False]
    indices, _ = DotForm(form.item_factors, np.ones(N_ITEMS, np.float32), users).rank(np.array([1]), None, K)
    assert (indices >= 0).all()


@pytest.mark.parametrize("name", FORMS)
def test_the_score_of_a_pair_is_what_it_is_ranked_by(name, histories):
    form = make_form(name)
    rng = np.random.default_rng(4)
    row, item = rng.integers(0, N_USERS, 500), rng.integers(0, N_ITEMS, 500)
    for by_user in (True, False):
        if not (form.accepts_users if by_user else form.accepts_histories):
            continue
        asked = (np.arange(N_USERS), None) if by_user else (None, histories)
        scores = form.score(*asked, row, item)
        assert scores.dtype == np.float32
        allowed = sp.csr_matrix((np.ones(500, np.float32), (np.arange(500), item)), shape=(500, N_ITEMS))
        alone = (row, None) if by_user else (None, histories.rows(row))
        indices, ranked = form.rank(*alone, 1, Filters(allow=allowed))
        np.testing.assert_array_equal(indices[:, 0] < 0, np.isnan(scores))
        found = indices[:, 0] >= 0
        assert found.any()
        np.testing.assert_allclose(scores[found], ranked[found, 0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["dense_weighted", "sparse", "users_only", "pair_users"])
def test_pairs_are_scored_in_parts(name, histories, monkeypatch):
    form = make_form(name)
    asked = (np.arange(N_USERS), None) if form.accepts_users else (None, histories)
    pairs = np.arange(N_USERS).repeat(3), np.arange(3 * N_USERS) % N_ITEMS
    whole = form.score(*asked, *pairs)
    for module, held in (("item_item", "HELD_ENTRIES"), ("dot", "HELD_NUMBERS"), ("pair", "RUN_NUMBERS")):
        monkeypatch.setattr(f"recsys_core.models.forms.{module}.{held}", 64)
    np.testing.assert_allclose(form.score(*asked, *pairs), whole, rtol=1e-5, atol=1e-5)
    assert form.score(*asked, *(part[:0] for part in pairs)).shape == (0,)


def test_scores_are_standardized_within_their_list():
    scores = np.array([[3, 1, -np.inf, 2], [5, 5, 5, 5], [-np.inf] * 4, [1e6, 1e6 + 1, 1e6, 1e6]], np.float32)
    found = standardized_scores(scores)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], [1.5**0.5, -(1.5**0.5), 0, 0], rtol=5e-4)
    assert not found[1:3].any(), "0 where all are alike, and where there is none"
    assert np.abs(found[3]).max() < 0.01, "what may be rounding is not blown up"
    scaled = standardized_scores(8 * scores[:1])
    np.testing.assert_allclose(scaled, found[:1], rtol=1e-6)


def test_what_is_allowed_does_not_change_the_score_of_a_standardized_pair(histories):
    form = make_form("two_stage_standardized")
    asked, k = (np.arange(N_USERS), None), N_ITEMS
    seen, rare = histories.to_csr(N_ITEMS), np.arange(0, N_ITEMS, 7)
    whole = form.rank(*asked, k, Filters(exclude=seen))
    among = form.rank(*asked, k, Filters(exclude=seen, allow=rare))
    by_item = np.full((N_USERS, N_ITEMS), np.nan, np.float32)
    row, column = np.nonzero(among.indices >= 0)
    by_item[row, among.indices[row, column]] = among.scores[row, column]
    row, column = np.nonzero(np.isin(whole.indices, rare))
    assert len(row)
    np.testing.assert_allclose(
        by_item[row, whole.indices[row, column]], whole.scores[row, column], rtol=1e-4, atol=1e-4
    )
    alone = form.rank(*asked, 1, Filters(exclude=seen, allow=rare[:1]))
    np.testing.assert_allclose(alone.scores[:, 0], np.where(np.isnan(by_item[:, 0]), -np.inf, by_item[:, 0]), rtol=1e-4)


def test_what_is_excluded_or_denied_is_not_in_the_list_that_scores_are_standardized_by(histories):
    form = make_form("two_stage_standardized")
    best, _ = form.retriever.rank(np.arange(N_USERS), None, 5)
    exclude = sp.csr_matrix((np.ones(best.size), (np.arange(N_USERS).repeat(5), best.ravel())), (N_USERS, N_ITEMS))
    retrieved = reference_scores(form.retriever, histories)
    for filters, left in (
        (Filters(exclude=exclude), np.where(exclude.toarray() > 0, -np.inf, retrieved)),
        (Filters(deny=best[0]), np.where(np.isin(np.arange(N_ITEMS), best[0]), -np.inf, retrieved)),
    ):
        listed = np.argsort(np.argsort(-left, axis=1), axis=1) < form.n_candidates
        expected = pair_scores(form.user_inputs.astype(float), form.item_inputs.astype(float))
        expected = np.where(listed, expected + standardized(left, listed) / 16, -np.inf)
        indices, scores = form.rank(np.arange(N_USERS), None, K, filters)
        np.testing.assert_allclose(scores, -np.sort(-expected, axis=1)[:, :K], rtol=1e-4, atol=1e-4)
        assert listed[np.arange(N_USERS)[:, None], indices].all()


def test_only_a_retrievers_scores_can_be_standardized():
    form = make_form("pair_users")
    with pytest.raises(ConfigError, match="standardized: expected a retriever"):
        replace(form, standardized=True)


def test_a_state_without_the_word_standardized_is_of_plain_scores():
    arrays, meta = make_form("two_stage_item_item").state()
    del meta["standardized"]
    assert not form_from_state("pair", arrays, meta).standardized
