from __future__ import annotations

import numpy as np
import pytest

from recsys_classic import mmr
from recsys_classic.als import Als
from recsys_classic.item_knn import ItemKnn
from recsys_classic.mmr import Mmr
from recsys_classic.popularity import Popularity
from recsys_core.errors import ConfigError
from recsys_core.registry import default_registry
from recsys_core.types import Ranking


def cosine(a, b):
    return a @ b / np.sqrt((a @ a) * (b @ b))


def one_by_one(items, scores, vectors, k, trade_off):
    """The greedy choice of one row, as the formula has it."""
    span = max(scores) - min(scores)
    relevance = {i: (s - min(scores)) / span if span else 0.0 for i, s in zip(items, scores, strict=True)}
    chosen: list[int] = []
    while len(chosen) < k:

        def value(i):
            nearest = max((cosine(vectors[i], vectors[j]) for j in chosen), default=0.0)
            return trade_off * relevance[i] - (1 - trade_off) * nearest

        rest = [i for i in items if i not in chosen]
        if not rest:
            return chosen + [-1] * (k - len(chosen))
        chosen.append(max(rest, key=lambda i: round(value(i), 6)))
    return chosen


@pytest.fixture(scope="module", params=[Als, ItemKnn, Popularity])
def model(request, ratings):
    settings = {"n_factors": 6, "regularization": 1.0} if request.param is Als else {}
    return request.param(**settings).fit(ratings)


@pytest.mark.parametrize("trade_off", [0.0, 0.3, 0.7, 1.0])
def test_greedy_choice(model, trade_off, monkeypatch) -> None:
    monkeypatch.setattr(mmr, "_CANDIDATES", 30)  # several chunks
    pool = model.recommend_indices(np.arange(20), k=13)
    if isinstance(model, Als):
        vectors = model.item_factors_.astype(np.float64)
    else:
        vectors = (model.histories.to_csr(len(model.items)).toarray() > 0).T.astype(np.float64)
    result = Mmr(trade_off=trade_off).rerank(pool, 6, model.fitted, model.histories)
    for row in range(20):
        expected = one_by_one(list(pool.indices[row]), list(pool.scores[row]), vectors, 6, trade_off)
        assert list(result.indices[row]) == expected
        score = dict(zip(pool.indices[row], pool.scores[row], strict=True))
        assert [score[i] for i in result.indices[row]] == list(result.scores[row])


def test_a_trade_off_of_1_keeps_the_models_order(model) -> None:
    pool = model.recommend_indices(np.arange(10), k=9)
    result = Mmr(trade_off=1).rerank(pool, 5, model.fitted, model.histories)
    np.testing.assert_array_equal(result.indices, pool.indices[:, :5])
    np.testing.assert_array_equal(result.scores, pool.scores[:, :5])


@pytest.mark.parametrize("trade_off", [0.0, 0.5, 1.0])
def test_padding_comes_last_and_no_item_twice(model, trade_off) -> None:
    pool = Ranking(
        np.array([[4, 2, -1, -1], [-1, -1, -1, -1], [7, 3, 9, 1]]),
        np.array([[-3, -5, -np.inf, -np.inf], [-np.inf] * 4, [2, 2, 2, 2]], np.float32),
    )
    result = Mmr(trade_off=trade_off).rerank(pool, 4, model.fitted, model.histories)
    assert sorted(result.indices[0, :2]) == [2, 4]
    assert list(result.indices[0, 2:]) == [-1, -1]
    assert list(result.scores[0, 2:]) == [-np.inf, -np.inf]
    assert list(result.indices[1]) == [-1] * 4
    assert sorted(result.indices[2]) == [1, 3, 7, 9]


def test_a_lower_trade_off_makes_lists_less_alike(ratings) -> None:
    model = Als(n_factors=6, regularization=1.0).fit(ratings)
    pool = model.recommend_indices(np.arange(ratings.n_users), k=12)
    unit = model.item_factors_ / np.linalg.norm(model.item_factors_, axis=1, keepdims=True)

    def likeness(trade_off):
        chosen = unit[Mmr(trade_off=trade_off).rerank(pool, 5, model.fitted, model.histories).indices]
        return (chosen @ chosen.transpose(0, 2, 1)).mean()

    assert likeness(0.2) < likeness(0.8) < likeness(1.0)


@pytest.mark.parametrize("k", [0, 4])
def test_k_is_within_the_pool(model, k) -> None:
    pool = model.recommend_indices(np.arange(2), k=3)
    with pytest.raises(ConfigError, match=f"expected 1 to 3, the width of the pool, got {k}"):
        Mmr().rerank(pool, k, model.fitted, model.histories)


def test_made_by_name() -> None:
    assert default_registry().create("mmr", kind="reranker", trade_off=0.25).config.trade_off == 0.25
    with pytest.raises(ConfigError, match=r"Mmr\.trade_off"):
        Mmr(trade_off=1.5)
