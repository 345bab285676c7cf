from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from recsys_classic import calibrated
from recsys_classic.calibrated import Calibrated
from recsys_classic.item_knn import ItemKnn
from recsys_core import create_reranker, evaluate
from recsys_core.data import FeatureEncoder, Histories, IdMap, Split
from recsys_core.errors import ConfigError, DataError
from recsys_core.metrics import Miscalibration
from recsys_core.models import FittedModel, StaticForm
from recsys_core.types import Ranking

GENRES = [["war"], ["war"], ["war", "love"], ["love"], [], ["war"], ["space"], ["love", "space"]]


@pytest.fixture(scope="module")
def model() -> FittedModel:
    """Eight items, the first the best, with genres, a year and four users' histories."""
    features = pl.DataFrame({"item_id": range(8), "genres": GENRES, "year": range(1990, 1998)})
    histories = Histories.from_lists([[0, 1, 3], [4], [], [6, 7, 0, 0]])
    form = StaticForm(np.arange(8, 0, -1, dtype=np.float32))
    return FittedModel(form, IdMap(list("abcd")), IdMap(range(8)), histories, features)


def mix(items):
    described = [item for item in items if GENRES[item]]
    return {
        genre: sum((genre in GENRES[i]) / len(GENRES[i]) for i in described) / len(described)
        for genre in {genre for item in described for genre in GENRES[item]}
    }


def one_by_one(items, scores, had, k, trade_off, smoothing):
    """The greedy choice of one row, as the formula has it."""
    low, span = min(scores), max(scores) - min(scores)
    relevance = {i: (s - low) / span if span else 0.0 for i, s in zip(items, scores, strict=True)}
    target = mix(had)
    trade_off = trade_off if target else 0.0

    def value(chosen):
        got = mix(chosen)
        kl = sum(p * math.log(p / ((1 - smoothing) * got.get(g, 0) + smoothing * p)) for g, p in target.items())
        return (1 - trade_off) * sum(relevance[i] for i in chosen) - trade_off * kl

    chosen: list[int] = []
    while len(chosen) < k:
        rest = [i for i in items if i not in chosen]
        if not rest:
            return chosen + [-1] * (k - len(chosen))
        chosen.append(max(rest, key=lambda i: round(value([*chosen, i]), 9)))
    return chosen


@pytest.mark.parametrize("trade_off", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("smoothing", [0.01, 0.3])
def test_greedy_choice(model, trade_off, smoothing, monkeypatch):
    monkeypatch.setattr(calibrated, "_NUMBERS", 50)  # several chunks
    rng = np.random.default_rng(1)
    indices = np.array([rng.permutation(8)[:6] for _ in range(30)])
    indices[::7, 4:] = -1
    scores = np.where(indices >= 0, -np.sort(-rng.random(indices.shape), axis=1), -np.inf).astype(np.float32)
    lists = [list(rng.choice(8, rng.integers(0, 5), replace=False)) for _ in range(30)]
    again = Histories.from_lists([[*row, *row[:1]] for row in lists])  # what was had twice counts once
    reranker = Calibrated(column="genres", trade_off=trade_off, smoothing=smoothing)
    result = reranker.rerank(Ranking(indices, scores), 5, model, again)
    for row in range(30):
        there = indices[row] >= 0
        candidates = [int(item) for item in indices[row][there]]
        worth = [float(score) for score in scores[row][there]]
        assert list(result.indices[row]) == one_by_one(candidates, worth, lists[row], 5, trade_off, smoothing)
        score = dict(zip(candidates, worth, strict=True)) | {-1: -np.inf}
        assert [score[i] for i in result.indices[row]] == list(result.scores[row])


def test_who_has_had_nothing_gets_the_models_order(model):
    reranked = model.reranked(Calibrated(column="genres", trade_off=1.0))
    assert reranked.recommend(["b", "c"], k=3)["item_id"].to_list() == [0, 1, 2, 0, 1, 2]


def test_lists_come_closer_to_their_readers(ratings):
    rng = np.random.default_rng(0)
    genres = pl.DataFrame({"item_id": ratings.items.ids, "genre": rng.choice(["a", "b", "c"], ratings.n_items)})
    model = ItemKnn().fit(ratings.with_features(genres))
    split = Split(ratings, ratings, None)
    matrix = FeatureEncoder.from_table(genres, columns=["genre"], min_count=1).encode(genres)
    for column, measure in (("genre", Miscalibration(categories=matrix)), (None, Miscalibration())):
        values = [
            evaluate(one, split, k=10, metrics=measure, filter_seen=False).values["miscalibration@10"]
            for one in (model, model.reranked(create_reranker("calibrated", column=column, trade_off=0.9)))
        ]
        assert values[1] < 0.5 * values[0]


def test_wrong_columns_are_refused(model):
    with pytest.raises(ConfigError, match=r"column: expected a feature of the model's items \(genres, year\), got 'g'"):
        model.reranked(Calibrated(column="g")).recommend("a")
    with pytest.raises(DataError, match="column: expected categories, got 'year', which holds numbers or times"):
        model.reranked(Calibrated(column="year")).recommend("a")


def test_without_users_there_is_no_popularity_to_mirror(model):
    nobody = model.without_users(list("abcd"))
    asked = {"histories": [[0, 1]], "k": 3}
    with pytest.raises(ConfigError, match=r"\(genres, year\), got None, .*; this model keeps no users\."):
        nobody.reranked(Calibrated()).recommend(**asked)
    by_genre = Calibrated(column="genres", trade_off=0.9)
    assert nobody.reranked(by_genre).recommend(**asked).equals(model.reranked(by_genre).recommend(**asked))


@pytest.mark.parametrize("k", [0, 5])
def test_k_beyond_the_pool_is_refused(model, k):
    pool = Ranking(np.array([[0, 1, 2, 3]]), np.zeros((1, 4), np.float32))
    with pytest.raises(ConfigError, match=f"k: expected 1 to 4, the width of the pool, got {k}"):
        Calibrated().rerank(pool, k, model, Histories.from_lists([[]]))
