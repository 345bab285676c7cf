from __future__ import annotations

import warnings

import numpy as np
import pytest

from recsys_classic.item_knn import ItemKnn
from recsys_classic.item_weighting import bm25, tf_idf, unit_rows
from recsys_core import Interactions
from recsys_core.errors import ConfigError


def dense_cosine(V, shrink=0.0):
    S = np.zeros((len(V), len(V)))
    for i in range(len(V)):
        for j in range(len(V)):
            norm = np.sqrt((V[i] @ V[i] + shrink) * (V[j] @ V[j] + shrink))
            S[i, j] = V[i] @ V[j] / norm if i != j and norm > 0 else 0.0
    return S


def dense_tf_idf(V):
    W = np.zeros_like(V)
    for i, u in zip(*np.nonzero(V), strict=True):
        W[i, u] = np.sqrt(V[i, u]) * np.log((len(V) + 1) / (np.count_nonzero(V[:, u]) + 0.5))
    return W


def dense_bm25(V, k1, b):
    W = np.zeros_like(V)
    lengths = V.sum(axis=1)
    for i, u in zip(*np.nonzero(V), strict=True):
        had = np.count_nonzero(V[:, u])
        idf = np.log(1 + (len(V) - had + 0.5) / (had + 0.5))
        held_back = 1 - b + b * lengths[i] / lengths.mean()
        W[i, u] = idf * V[i, u] * (k1 + 1) / (V[i, u] + k1 * held_back)
    return W


def largest(S, k):
    kept = np.zeros_like(S)
    for i, row in enumerate(S):
        nearest = np.lexsort((np.arange(len(row)), -row))[:k]
        kept[i, nearest] = row[nearest]
    return kept


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("shrink", [0.0, 3.0])
@pytest.mark.parametrize("similarity", ["cosine", "tfidf", "bm25"])
def test_neighbors_by_the_formula(ratings, similarity, shrink, binary) -> None:
    V = ratings.to_csr("binary" if binary else "sum").toarray().astype(np.float64).T
    expected = {
        "cosine": lambda: dense_cosine(V, shrink),
        "tfidf": lambda: dense_cosine(dense_tf_idf(V), shrink),
        "bm25": lambda: dense_bm25(V, 0.9, 0.4) @ dense_bm25(V, 0.9, 0.4).T,
    }[similarity]()
    np.fill_diagonal(expected, 0.0)
    model = ItemKnn(similarity=similarity, shrink=shrink, binary=binary, n_neighbors=6, bm25_k1=0.9, bm25_b=0.4).fit(
        ratings
    )
    weights = model.item_weights_.toarray()
    # Compared by value, since float32 may order two all but equal neighbors the other way.
    np.testing.assert_allclose(np.sort(weights), np.sort(largest(expected, 6)), rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(weights[weights > 0], expected[weights > 0], rtol=2e-6, atol=1e-6)


def test_cosine_neighbors_are_those_of_implicit(ratings) -> None:
    neighbours = pytest.importorskip("implicit.nearest_neighbours", reason="implicit has no wheel here")
    utils = pytest.importorskip("implicit.utils", reason="implicit has no wheel here")
    theirs = neighbours.CosineRecommender(K=ratings.n_items, num_threads=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", utils.ParameterWarning)  # it converts its own matrix to CSR
        theirs.fit(ratings.to_csr().astype(np.float64), show_progress=False)
    expected = theirs.similarity.toarray()
    np.fill_diagonal(expected, 0.0)  # implicit keeps an item among its own neighbors
    weights = ItemKnn(similarity="cosine", n_neighbors=ratings.n_items).fit(ratings).item_weights_.toarray()
    np.testing.assert_allclose(weights, expected, rtol=1e-6, atol=1e-7)


def test_scores_add_up_the_neighbors_of_a_history(ratings) -> None:
    model = ItemKnn(n_neighbors=5).fit(ratings)
    ranking = model.recommend_indices(np.arange(ratings.n_users), k=ratings.n_items, filter_seen=False)
    expected = ratings.to_csr().toarray() @ model.item_weights_.toarray()
    np.testing.assert_allclose(
        ranking.scores, np.take_along_axis(expected, ranking.indices, axis=1), rtol=1e-5, atol=1e-6
    )


def test_shrink_pulls_rare_items_down_most(ratings) -> None:
    plain = ItemKnn(similarity="cosine", n_neighbors=25).fit(ratings).item_weights_.toarray()
    shrunk = ItemKnn(similarity="cosine", n_neighbors=25, shrink=20).fit(ratings).item_weights_.toarray()
    common = plain > 0
    assert (shrunk[common] < plain[common]).all()
    users = np.diff(ratings.to_csr().tocsc().indptr)
    rare, popular = users.argmin(), users.argmax()
    kept = shrunk[common] / plain[common]
    evidence = np.add.outer(users, users)[common]
    assert np.corrcoef(kept, evidence)[0, 1] > 0.5
    assert shrunk[rare].sum() / plain[rare].sum() < shrunk[popular].sum() / plain[popular].sum()


def test_weightings_survive_empty_rows_and_stored_zeros() -> None:
    matrix = Interactions.from_arrays([0, 0, 1], [0, 1, 1], [0.0, 2.0, 1.0]).to_csr().T.tocsr()
    for weighted in (tf_idf(matrix), bm25(matrix, 0.0, 0.75), bm25(matrix, 1.2, 1.0), unit_rows(matrix)):
        assert np.isfinite(weighted.data).all()
        assert weighted[0, 0] == 0.0
        assert weighted.dtype == np.float32


@pytest.mark.parametrize("settings", [{"similarity": "pearson"}, {"n_neighbors": 0}, {"shrink": -1}, {"bm25_b": 1.5}])
def test_settings_out_of_range(settings) -> None:
    with pytest.raises(ConfigError, match=f"ItemKnn.{next(iter(settings))}"):
        ItemKnn(**settings)
