"""The exported graph, run by onnxruntime, against scores and rankings computed here in float64 NumPy."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import scipy.sparse as sp
from form_examples import decayed_sum, make_form, nothing_told, pair_scores, standardized

from recsys_core.data import Histories, IdMap
from recsys_core.export import OnnxRanker, build_onnx
from recsys_core.models import Filters, FittedModel, ItemItemForm, StaticForm


def expected_answer(fitted: FittedModel, users: np.ndarray, by_user: bool, k: int, filters: dict):
    form = fitted.form
    if form.kind != "pair":
        return expected_ranking(expected_scores(form, fitted, users, by_user), k, **filters)
    rows = fitted.histories.rows(users)
    items = form.item_inputs.astype(float)
    queries = form.user_inputs[users] if by_user else decayed_sums(rows, items)
    scores = pair_scores(queries.astype(float), items)
    if form.retriever is not None:
        retrieved = expected_scores(form.retriever, fitted, users, by_user)
        if form.scorer.takes_retrieved:
            unrestricted = {**filters, "allow": None}
            listed = among_the_best(retrieved, form.n_candidates, **unrestricted)
            scores += (standardized(retrieved, listed) if form.standardized else retrieved) / 16
        scores[~among_the_best(retrieved, form.n_candidates, **filters)] = -np.inf
    return expected_ranking(scores, k, **filters)


def decayed_sums(rows: Histories, items: np.ndarray) -> np.ndarray:
    return np.array([decayed_sum(row, items) for row in np.split(rows.indices, rows.indptr[1:-1])])


def expected_scores(form, fitted: FittedModel, users: np.ndarray, by_user: bool) -> np.ndarray:
    if form.kind == "static":
        return np.tile(form.scores.astype(float), (len(users), 1))
    history = fitted.histories.rows(users).to_csr(form.n_items).toarray().astype(float)
    if form.kind == "item_item":
        weights = form.weights if isinstance(form.weights, np.ndarray) else form.weights.toarray()
        scores = (np.sign(history) if form.binary else history) @ weights.astype(float)
        return silent(scores, ~history.any(axis=1))
    if by_user:
        queries = form.user_factors[users]
    elif form.encoder is not None:
        queries = decayed_sums(fitted.histories.rows(users), form.item_factors.astype(float))
    else:
        queries = np.array([solve(form, row) for row in history])
    scores = queries @ form.item_factors.T.astype(float)
    return silent(scores, ~queries.any(axis=1)) if form.item_bias is None else scores + form.item_bias.astype(float)


def silent(scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Nothing is known in these rows, and nothing is recommended."""
    return np.where(rows[:, None], -np.inf, scores)


def solve(form, row: np.ndarray) -> np.ndarray:
    fold_in, seen = form.fold_in, np.flatnonzero(row)
    vectors, ratings = form.item_factors[seen].astype(float), row[seen]
    confidence = fold_in.confidence[0] + fold_in.confidence[1] * ratings
    target = fold_in.target[0] + fold_in.target[1] * ratings
    if fold_in.item_offset is not None:
        target = target - fold_in.item_offset[seen]
    matrix, right = fold_in.prior.astype(float) + (vectors.T * confidence) @ vectors, vectors.T @ target
    # Of those who ask by a history alone, no feature is known: the mean is what everybody shares.
    mean = np.zeros(len(matrix)) if fold_in.mean is None else fold_in.mean.vectors[-1].astype(float)
    if fold_in.ridge is not None:
        ridge = fold_in.ridge.scale * (max(len(seen), 1) + fold_in.ridge.base) ** fold_in.ridge.exponent
        matrix, right = matrix + ridge * np.eye(len(matrix)), right + ridge * mean
    return np.linalg.solve(matrix, right) if len(seen) else mean


def expected_ranking(scores: np.ndarray, k: int, exclude=None, allow=None, deny=None):
    scores = scores.copy()
    if exclude is not None:
        scores[exclude.toarray() != 0] = -np.inf
    if allow is not None:
        scores[:, np.setdiff1d(np.arange(scores.shape[1]), allow)] = -np.inf
    if deny is not None:
        scores[:, deny] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    values = np.take_along_axis(scores, order, 1)
    padding = ((0, 0), (0, max(k - scores.shape[1], 0)))
    indices = np.pad(np.where(np.isneginf(values), -1, order), padding, constant_values=-1)
    return indices, np.pad(values, padding, constant_values=-np.inf)


def among_the_best(scores: np.ndarray, n: int, **filters) -> np.ndarray:
    """Which items are among the n best that pass, bool of the shape of ``scores``."""
    best, _ = expected_ranking(scores, n, **filters)
    return (best[:, :, None] == np.arange(scores.shape[1])).any(axis=1)


@pytest.fixture
def ranker(fitted: FittedModel, tmp_path) -> OnnxRanker:
    model = build_onnx(fitted)
    onnx.checker.check_model(model, full_check=True)
    onnx.save_model(model, tmp_path / "model.onnx")
    return OnnxRanker(tmp_path / "model.onnx")


def questions(fitted: FittedModel):
    asked = ((True, fitted.form.accepts_users), (False, fitted.form.accepts_histories))
    return [by_user for by_user, accepted in asked if accepted]


@pytest.mark.parametrize(("batch", "k"), [(1, 1), (1, 5), (7, 10), (50, 250)])
@pytest.mark.parametrize("filters", ["none", "exclude", "allow and exclude", "nothing allowed", "deny", "all"])
def test_graph_gives_the_reference_ranking(fitted: FittedModel, ranker: OnnxRanker, batch, k, filters) -> None:
    rng = np.random.default_rng(batch)
    n_items = fitted.form.n_items
    users = rng.integers(0, len(fitted.users), batch)
    users[0] = 3  # the one without a history
    exclude = fitted.histories.rows(users).to_csr(n_items)
    chosen = {
        "none": {},
        "exclude": {"exclude": exclude},
        "allow and exclude": {"exclude": exclude, "allow": np.arange(0, n_items, 3)},
        "nothing allowed": {"allow": np.array([], np.int64)},
        "deny": {"deny": np.arange(5)},
        "all": {"exclude": exclude, "allow": np.arange(0, n_items, 3), "deny": np.arange(0, n_items, 6)},
    }[filters]
    for by_user in questions(fitted):
        histories = None if by_user else fitted.histories.rows(users)
        ranking = ranker.rank(users if by_user else None, histories, k, Filters(**chosen))
        indices, scores = expected_answer(fitted, users, by_user, k, chosen)
        assert ranking.indices.shape == ranking.scores.shape == (batch, k)
        assert np.array_equal(ranking.indices >= 0, indices >= 0)
        found = indices >= 0
        scale = max(1.0, np.abs(scores[found]).max(initial=0))
        np.testing.assert_allclose(ranking.scores[found], scores[found], rtol=0, atol=2e-5 * scale)
        assert np.isneginf(ranking.scores[~found]).all()
        if fitted.form.kind == "static":
            assert np.array_equal(ranking.indices, indices)  # ties too


def test_answers_do_not_depend_on_the_rest_of_the_batch(fitted: FittedModel, ranker: OnnxRanker) -> None:
    users = np.arange(20)
    for by_user in questions(fitted):
        rows = fitted.histories.rows(users)
        together = ranker.rank(users if by_user else None, None if by_user else rows, 10)
        for user in users:
            one = np.array([user])
            alone = ranker.rank(one if by_user else None, None if by_user else fitted.histories.rows(one), 10)
            np.testing.assert_allclose(alone.scores[0], together.scores[user], rtol=2e-5, atol=1e-5)


def scores_of_known_and_unknown(form) -> np.ndarray:
    """Scores of user 5, and of a stranger who had item 7 once and item 9 twice, (2, n_items)."""
    row = np.zeros(200)
    row[[7, 9]] = 1, 2
    stranger = solve(form, row) if form.encoder is None else decayed_sum([7, 9], form.item_factors)
    bias = 0 if form.item_bias is None else form.item_bias
    return np.stack([form.user_factors[5], stranger]) @ form.item_factors.T + bias


def test_a_known_and_an_unknown_user_in_one_batch(fitted: FittedModel, ranker: OnnxRanker) -> None:
    if not {"user_index", "history"} <= ranker.inputs:
        pytest.skip("the graph takes one kind of question only")
    history = np.array([[7, 9, -1], [7, 9, -1]], np.int64)
    feeds = {
        "user_index": np.array([5, -1], np.int64),
        "history": history,
        "history_weight": np.array([[1, 2, np.nan], [1, 2, np.nan]], np.float32),
        "exclude": np.empty((2, 0), np.int64),
        "allow": np.empty(0, np.int64),
        "k": np.array(200, np.int64),
        **nothing_told(2),
    }
    feeds = {name: value for name, value in feeds.items() if name in ranker.inputs}
    index, score = ranker._session.run(["item_index", "score"], feeds)
    form = fitted.form
    if form.kind == "pair":
        queries = np.stack([form.user_inputs[5], decayed_sum([7, 9], form.item_inputs)])
        both = pair_scores(queries, form.item_inputs)
        if form.scorer.takes_retrieved:
            retrieved = scores_of_known_and_unknown(form.retriever)
            both += standardized(retrieved, among_the_best(retrieved, form.n_candidates)) / 16
    else:
        both = scores_of_known_and_unknown(form)
    for answered, expected in enumerate(both):
        found = index[answered] >= 0
        assert found.any()
        np.testing.assert_allclose(
            score[answered][found], expected[index[answered][found]], atol=2e-4 * np.abs(expected).max()
        )


def test_an_encoder_takes_padding_on_any_side_and_more_than_its_length(histories, tmp_path) -> None:
    form = make_form("encoder")
    fitted = FittedModel(form, IdMap(list(range(50))), IdMap(list(range(200))), histories)
    onnx.save_model(build_onnx(fitted), tmp_path / "model.onnx")
    session = OnnxRanker(tmp_path / "model.onnx")._session
    long = np.random.default_rng(2).integers(0, 200, 45).tolist()
    for lists, width in (([[3, 5, 3], []], 6), ([[], []], 4), ([[], []], 0), ([long, [9]], 45), ([long], 45)):
        scores = []
        for pads in (lambda n: (0, n), lambda n: (n, 0), lambda n: (n - n // 2, n // 2)):
            rows = [np.pad(np.array(row, np.int64), pads(width - len(row)), constant_values=-1) for row in lists]
            batch = np.array(rows).reshape(len(lists), width)
            feeds = {"history": batch, "exclude": np.empty((len(lists), 0), np.int64), "allow": np.empty(0, np.int64)}
            index, score = session.run(["item_index", "score"], feeds | {"k": np.array(200, np.int64)})
            scores.append(np.take_along_axis(score, np.argsort(index, axis=1), axis=1))
        queries = np.array([decayed_sum(row, form.item_factors) for row in lists])
        for score in scores:
            np.testing.assert_allclose(score, queries @ form.item_factors.T + form.item_bias, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["two_stage_fold_in", "two_stage_item_item"])
def test_a_retriever_adds_up_the_repeats_that_an_encoder_reads_one_by_one(name, histories, tmp_path) -> None:
    fitted = FittedModel(make_form(name), IdMap(list(range(50))), IdMap(list(range(200))), histories)
    onnx.save_model(build_onnx(fitted), tmp_path / "model.onnx")
    ranker = OnnxRanker(tmp_path / "model.onnx")
    lists = [[5, 9, 5, 5, 31], [], [9] * 30, [5, 9, 31]]
    rows = Histories.from_lists(lists, [np.arange(1.0, len(row) + 1) for row in lists])
    native, exported = fitted.form.rank(None, rows, 20), ranker.rank(None, rows, 20)
    assert np.array_equal(native.indices, exported.indices)
    np.testing.assert_allclose(exported.scores, native.scores, rtol=1e-4, atol=1e-3)
    assert not np.array_equal(native.indices[0], native.indices[3])


def test_indices_outside_the_catalogue_are_padding(ranker: OnnxRanker) -> None:
    feeds = {
        "exclude": np.array([[-7, 200, 10**12, 3]], np.int64),
        "allow": np.array([3, 4, -9, 200, 10**12], np.int64),
        "k": np.array(5, np.int64),
    }
    if "user_index" in ranker.inputs:
        feeds["user_index"] = np.array([0], np.int64)
    if "history" in ranker.inputs:
        feeds["history"] = np.array([[1]], np.int64)
    if "history_weight" in ranker.inputs:
        feeds["history_weight"] = np.array([[1]], np.float32)
    feeds |= {name: value for name, value in nothing_told(1).items() if name in ranker.inputs}
    index, _ = ranker._session.run(["item_index", "score"], feeds)
    assert index.tolist() == [[4, -1, -1, -1, -1]]


@pytest.mark.parametrize("user", [-1, -2, 50, 10**9])
def test_an_unknown_user_without_a_history_gets_nothing(histories, tmp_path, user) -> None:
    fitted = FittedModel(make_form("users_only"), IdMap(list(range(50))), IdMap(list(range(200))), histories)
    onnx.save_model(build_onnx(fitted), tmp_path / "model.onnx")
    ranking = OnnxRanker(tmp_path / "model.onnx").rank(np.array([7, user]), None, 3)
    assert (ranking.indices[0] >= 0).all()
    assert ranking.indices[1].tolist() == [-1, -1, -1]


def test_nan_is_never_returned(histories) -> None:
    scores = np.zeros(5, np.float32)
    form = StaticForm(scores)
    form.scores[:] = 1, np.nan, 3, -np.inf, np.inf  # past the form's own check, as overflow in a product could
    fitted = FittedModel(form, IdMap(list(range(50))), IdMap(list(range(5))), histories)
    path_free = onnx.load_model_from_string(build_onnx(fitted).SerializeToString())
    import onnxruntime as ort

    session = ort.InferenceSession(path_free.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {"exclude": np.empty((1, 0), np.int64), "allow": np.empty(0, np.int64), "k": np.array(5, np.int64)}
    index, score = session.run(None, feeds)
    assert index.tolist() == [[4, 2, 0, -1, -1]]
    assert not np.isnan(score).any()


@pytest.mark.parametrize("layout", ["one long row", "empty rows", "no entry at all", "full"])
def test_sparse_weights_of_any_shape(layout, tmp_path) -> None:
    rng = np.random.default_rng(0)
    weights = np.zeros((60, 60), np.float32)
    if layout == "one long row":
        weights[7] = rng.normal(size=60)
        weights[3, 5] = 1
    elif layout == "empty rows":
        weights[::7] = rng.normal(size=(9, 60)) * (rng.random((9, 60)) < 0.2)
    elif layout == "full":
        weights = rng.normal(size=(60, 60)).astype(np.float32)
    form = ItemItemForm(sp.csr_matrix(weights))
    histories = Histories.from_lists([[59], [7, 3, 14], [], [0, 1, 2, 3, 7, 59], [58, 59]])
    fitted = FittedModel(form, IdMap(list(range(5))), IdMap(list(range(60))), histories)
    onnx.save_model(build_onnx(fitted), tmp_path / "model.onnx")
    ranking = OnnxRanker(tmp_path / "model.onnx").rank(None, histories, 60)
    known = histories.to_csr(60).toarray().astype(float)
    indices, scores = expected_ranking(silent(known @ weights, ~known.any(axis=1)), 60)
    np.testing.assert_allclose(ranking.scores, scores, atol=1e-5)
    told = np.isfinite(scores).all(axis=1)
    distinct = told & (np.abs(np.diff(np.where(told[:, None], scores, 0), axis=1)).min(axis=1) > 1e-4)
    assert np.array_equal(ranking.indices[distinct], indices[distinct])
    # The table is the stored entries, however uneven the rows are.
    tables = {tensor.name: tensor.dims for tensor in build_onnx(fitted).graph.initializer}
    assert list(tables["neighbors"]) == [np.count_nonzero(weights)]


def test_an_empty_batch_and_empty_lists(fitted: FittedModel, ranker: OnnxRanker) -> None:
    for n_rows, length in ((0, 0), (0, 4), (2, 0)):
        feeds = {
            "exclude": np.full((n_rows, 0), -1, np.int64),
            "allow": np.empty(0, np.int64),
            "k": np.array(3, np.int64),
            "user_index": np.zeros(n_rows, np.int64),
            "history": np.zeros((n_rows, length), np.int64),
            "history_weight": np.ones((n_rows, length), np.float32),
            **nothing_told(n_rows),
        }
        given = {name: value for name, value in feeds.items() if name in ranker.inputs}
        index, score = ranker._session.run(["item_index", "score"], given)
        assert index.shape == score.shape == (n_rows, 3)


def test_the_bare_graph_gives_a_history_without_a_known_item_what_the_model_gives(fitted, ranker) -> None:
    if "history" not in ranker.inputs:
        pytest.skip("it takes no histories")
    for history in ([[-1, -1], [5, -1]], [[], []]):
        rows = np.array(history, np.int64)
        feeds = {
            "user_index": np.array([-1, -1]),
            "history": rows,
            "history_weight": np.ones(rows.shape, np.float32),
            "exclude": np.empty((2, 0), np.int64),
            "allow": np.empty(0, np.int64),
            "k": np.array(7, np.int64),
            **nothing_told(2),
        }
        given = {name: value for name, value in feeds.items() if name in ranker.inputs}
        index, score = ranker._session.run(["item_index", "score"], given)
        expected = fitted.form.rank(None, Histories.from_lists([row[row >= 0] for row in rows]), 7)
        assert np.array_equal(index, expected.indices)
        np.testing.assert_allclose(score, expected.scores, rtol=1e-4, atol=1e-4)


def test_every_operator_is_a_standard_one(fitted: FittedModel) -> None:
    model = build_onnx(fitted)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]
    assert {node.domain for node in model.graph.node} == {""}
