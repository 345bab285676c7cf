"""A re-ranker behind a model: its choice, its view of who asks, and what it may not do."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_core import create, create_reranker, evaluate, export_onnx, runtime, save_bundle
from recsys_core.data import Histories, Interactions, split_random
from recsys_core.errors import ConfigError, DataError, DTypeError, ExportError, ShapeError, UnknownModelError
from recsys_core.models import Reranker
from recsys_core.types import Ranking


class Reversed(Reranker):
    """The worst of the candidates first."""

    def rerank(self, pool, k, model, histories):
        found = (pool.indices >= 0).sum(axis=1, keepdims=True)
        place = found - 1 - np.arange(k)
        kept = np.maximum(place, 0)
        indices, scores = (np.take_along_axis(part, kept, axis=1) for part in (pool.indices, pool.scores))
        return Ranking(np.where(place >= 0, indices, -1), np.where(place >= 0, scores, -np.inf).astype(np.float32))


class Answers(Reranker):
    """Gives what it is told to."""

    def answering(self, indices):
        self.indices = np.array(indices)
        return self

    def rerank(self, pool, k, model, histories):
        return Ranking(self.indices, np.zeros(self.indices.shape, np.float32))


def test_lists_are_chosen_from_the_models_best(fitted):
    asked = np.array([4, 0, 17])
    pool = fitted.recommend_indices(asked, k=12)
    model = fitted.reranked(Reversed(), n_candidates=12)
    ranking = model.recommend_indices(asked, k=5)
    np.testing.assert_array_equal(ranking.indices, pool.indices[:, ::-1][:, :5])
    np.testing.assert_array_equal(ranking.scores, pool.scores[:, ::-1][:, :5])


def test_more_are_found_where_more_are_asked_for(fitted):
    pool = fitted.recommend_indices(np.arange(3), k=30)
    ranking = fitted.reranked(Reversed(), n_candidates=10).recommend_indices(np.arange(3), k=30)
    np.testing.assert_array_equal(np.sort(ranking.indices), np.sort(pool.indices))


def test_filters_hold(fitted):
    model = fitted.reranked(Reversed(), n_candidates=200)
    allowed = list(range(1000, 1040))
    table = model.recommend(["u04", "u05"], k=40, allow=allowed, deny=[1001])
    assert set(table["item_id"]) <= set(allowed) - {1001}
    for user in (4, 5):
        had = fitted.items.labels(fitted.histories.rows([user]).indices.astype(np.int64))
        assert not set(had) & set(table.filter(table["user_id"] == f"u{user:02}")["item_id"])


def test_it_sees_what_each_asker_had(fitted):
    class Records(Reranker):
        def rerank(self, pool, k, model, histories):
            self.seen = histories
            return Ranking(pool.indices[:, :k], pool.scores[:, :k])

    records = Records()
    model = fitted.reranked(records)
    model.recommend_indices(np.array([7, 3]), k=4)
    np.testing.assert_array_equal(records.seen.indices, fitted.histories.rows([7, 3]).indices)
    if fitted.form.accepts_histories:
        model.recommend_indices(histories=Histories.from_lists([[3, 1], [2]]), k=4)
        np.testing.assert_array_equal(records.seen.indices, [3, 1, 2])


@pytest.mark.parametrize(
    ("indices", "error", "words"),
    [
        ([[0, 1, 2]], ShapeError, r"expected indices and scores of shape \(1, 2\), got \(1, 3\)"),
        ([[0, 0]], DataError, "got an item twice"),
        ([[0, 9]], DataError, "got an item that is not among its candidates"),
    ],
)
def test_a_wrong_answer_is_refused(indices, error, words):
    model = create("popularity").fit(Interactions.from_arrays(["a", "a", "b"], ["x", "y", "z"]))
    with pytest.raises(error, match=f"Answers.rerank: .*{words}"):
        model.reranked(Answers().answering(indices)).recommend(histories=[[]], k=2)


def test_short_answers_are_padded_lists():
    model = create("popularity").fit(Interactions.from_arrays(["a", "a", "b"], ["x", "y", "z"]))
    reranked = model.reranked(Answers().answering([[1, -1, -1]]))
    assert reranked.recommend(histories=[[]], k=3)["item_id"].to_list() == ["y"]


def test_what_is_no_reranker_or_no_number_of_candidates_is_refused(fitted):
    with pytest.raises(DTypeError, match="reranker: expected a Reranker, got str; make one with create_reranker"):
        fitted.reranked("mmr")
    with pytest.raises(ConfigError, match="n_candidates: expected an integer of at least 1, got 0"):
        fitted.reranked(Reversed(), 0)
    with pytest.raises(UnknownModelError, match="reranker 'mrr': no plugin registers it; did you mean 'mmr'"):
        create_reranker("mrr")


def test_reasons_are_those_of_the_models_scores(fitted):
    if not fitted.form.accepts_histories or fitted.form.kind == "static":
        pytest.skip("the form explains nothing")
    items = fitted.recommend("u04", k=3)["item_id"].to_list()
    assert fitted.reranked(Reversed()).explain("u04", item_ids=items).equals(fitted.explain("u04", item_ids=items))


def test_a_graph_and_a_bundle_do_not_leave_it_out_in_silence(fitted, tmp_path):
    model = fitted.reranked(Reversed())
    for write in (export_onnx, save_bundle):
        with pytest.raises(ExportError, match="no part of a graph, got one with Reversed; export its base"):
            write(model, tmp_path / "here")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("backend", ["onnx", "core"])
def test_a_served_bundle_is_reranked_as_its_model_is(fitted, tmp_path, backend):
    served = runtime.load(save_bundle(fitted, tmp_path / "bundle"), backend=backend)
    expected = fitted.reranked(Reversed(), 20).recommend(["u01", "u30"], k=6)
    got = served.reranked(Reversed(), 20).recommend(["u01", "u30"], k=6)
    assert got["item_id"].to_list() == expected["item_id"].to_list()


def test_it_is_evaluated_as_any_model():
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, 60, 1500), (rng.random(1500) ** 2 * 40).astype(int)
    split = split_random(Interactions.from_arrays(user, item))
    model = create("item_knn").fit(split.train)
    diverse = model.reranked(create_reranker("mmr", trade_off=0.2))
    plain, other = (evaluate(one, split, k=5, metrics=["diversity", "ndcg"]) for one in (model, diverse))
    assert other.values["diversity@5"] > plain.values["diversity@5"]
