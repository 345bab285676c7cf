"""Where a user is expected to lie: the features' vectors added up, and what a history changes about it."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import polars as pl
import pytest
from form_examples import N_FACTORS, N_ITEMS, PEOPLE, make_form

from recsys_core import runtime, save_bundle
from recsys_core.data import FeaturePreparation, Histories, IdMap
from recsys_core.errors import DataError, ShapeError
from recsys_core.models import DotForm, FittedModel, FoldIn, HistoryRidge, PriorMean

K = 10
TOLD = [[3, 1], [], [7], [], [5, 5, 9]]


@pytest.fixture
def model() -> FittedModel:
    form = make_form("fold_in_of_the_described")
    told = Histories.from_lists([[0]] * len(form.user_factors))
    return FittedModel(form, IdMap(list(range(len(told)))), IdMap(list(range(N_ITEMS))), told)


def means(form: DotForm) -> np.ndarray:
    """Of ``PEOPLE``, by hand: the number, the values in alphabetical order, and what everybody shares."""
    age, bonn, ulm, shared = form.fold_in.mean.vectors.astype(float)
    ages = np.array([20.0, 40.0, np.nan, 60.0, 30.0])
    scaled = np.nan_to_num((ages - np.nanmean(ages)) / np.nanstd(ages))
    towns = np.array([ulm, ulm, bonn, bonn, np.zeros(N_FACTORS)])
    return shared + scaled[:, None] * age + towns


def test_features_alone_give_the_sum_of_their_vectors(model: FittedModel) -> None:
    ranking = model.recommend_indices(user_features=PEOPLE.drop("about"), k=K)
    scores = means(model.form) @ model.form.item_factors.T
    assert ranking.indices.tolist() == np.argsort(-scores, kind="stable")[:, :K].tolist()
    np.testing.assert_allclose(ranking.scores, -np.sort(-scores)[:, :K], rtol=1e-4, atol=1e-4)


def test_a_history_is_solved_around_the_mean(model: FittedModel) -> None:
    form, fold_in = model.form, model.form.fold_in
    factors, ridge = form.item_factors.astype(float), fold_in.ridge.scale
    expected = means(form)
    for row, items in enumerate(TOLD):
        index, counts = np.unique(items, return_counts=True)
        if not len(index):
            continue
        rows, (c0, c1), (t0, t1) = factors[index], fold_in.confidence, fold_in.target
        matrix = fold_in.prior + ridge * np.eye(N_FACTORS) + (rows.T * (c0 + c1 * counts)) @ rows
        expected[row] = np.linalg.solve(matrix, rows.T @ (t0 + t1 * counts) + ridge * expected[row])
    asked = {"histories": Histories.from_lists(TOLD), "user_features": PEOPLE.drop("about"), "filter_seen": False}
    ranking = model.recommend_indices(**asked, k=K)
    scores = expected @ factors.T
    np.testing.assert_allclose(ranking.scores, -np.sort(-scores)[:, :K], rtol=1e-4, atol=1e-4)
    pairs = {"item_index": np.arange(5), "row": np.arange(5)}
    del asked["filter_seen"]
    found = model.score_indices(**asked, **pairs)
    np.testing.assert_allclose(found, scores[np.arange(5), np.arange(5)], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", ["core", "onnx"])
def test_a_bundle_answers_alike(model: FittedModel, tmp_path, backend: str) -> None:
    served = runtime.load(save_bundle(model, tmp_path / "people"), backend=backend)
    asked = {"histories": TOLD, "user_features": PEOPLE.drop("about"), "k": K}
    one, other = model.recommend(**asked), served.recommend(**asked)
    assert one.drop("score").equals(other.drop("score"))
    np.testing.assert_allclose(one["score"], other["score"], rtol=1e-4, atol=1e-4)


def test_the_bare_graph_takes_features(model: FittedModel, tmp_path) -> None:
    path = save_bundle(model, tmp_path / "people")
    session = ort.InferenceSession(path / "model.onnx", providers=["CPUExecutionProvider"])
    arrays = model.form.user_preparation.arrays(PEOPLE)
    feeds = {f"user_{name}": array for name, array in arrays.items()} | {
        "user_index": np.full(5, -1),
        "history": np.full((5, 0), -1),
        "history_weight": np.zeros((5, 0), np.float32),
        "exclude": np.full((5, 0), -1),
        "allow": np.zeros(0, np.int64),
        "k": np.array(K),
    }
    assert {node.name for node in session.get_inputs()} == set(feeds)
    item_index, _ = session.run(["item_index", "score"], feeds)
    assert item_index.tolist() == model.recommend_indices(user_features=PEOPLE.drop("about"), k=K).indices.tolist()


def test_what_cannot_be_a_mean_is_refused() -> None:
    towns = FeaturePreparation.from_table(PEOPLE, columns=("town",), text_columns=())
    with pytest.raises(ShapeError, match=r"prior_mean\.vectors: expected shape \(3, any\), got \(2, 4\)"):
        PriorMean(towns, np.zeros((2, 4), np.float32))
    with pytest.raises(DataError, match=r"prior_mean\.preparation: expected no texts, got about"):
        PriorMean(FeaturePreparation.from_table(PEOPLE, text_columns=["about"]), np.zeros((4, 4), np.float32))
    mean, eye = PriorMean(towns, np.zeros((3, 4), np.float32)), np.eye(4, dtype=np.float32)
    with pytest.raises(DataError, match=r"fold_in\.mean: expected a ridge.*got ridge=None"):
        FoldIn(eye, (0.0, 1.0), (1.0, 1.0), mean=mean)
    with pytest.raises(DataError, match=r"fold_in\.mean: expected a ridge.*a confidence that depends on weights"):
        FoldIn(eye, (1.0, 0.0), (1.0, 1.0), ridge=HistoryRidge(1.0, 0.0, 0.0), mean=mean)
    with pytest.raises(ShapeError, match=r"fold_in\.mean\.vectors"):
        FoldIn(np.eye(5, dtype=np.float32), (0.0, 1.0), (1.0, 1.0), ridge=HistoryRidge(1.0, 0.0, 0.0), mean=mean)


def test_chosen_columns_alone_are_read() -> None:
    preparation = FeaturePreparation.from_table(PEOPLE, columns=("age",), text_columns=())
    assert preparation.columns == ("age",)
    assert preparation.unread == ("town", "about")
    with pytest.raises(DataError, match="expected a column 'height'"):
        FeaturePreparation.from_table(PEOPLE, columns=("height",), text_columns=())
    table = pl.DataFrame({"age": [20.0, 60.0]})
    assert list(preparation.arrays(table)) == ["numeric"]
