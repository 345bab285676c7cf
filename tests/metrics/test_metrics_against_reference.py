"""Every metric against its plain-Python twin, on lists and test sets of every shape."""

from __future__ import annotations

import metrics_reference as reference
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from ranking_fakes import catalog_of, padded_ranking

from recsys_core.metrics import Population, RankedBatch, Relevance, metric, standard_metrics
from recsys_core.metrics.similarity import ListSimilarity, dense_list_similarity

N_ITEMS = 8
UNKNOWN = range(N_ITEMS, N_ITEMS + 3)


@st.composite
def cases(draw):
    """Lists of up to all items, relevant items of which some are unknown, and the training users of each item."""
    n_users = draw(st.integers(1, 5))
    lists = [draw(st.permutations(range(N_ITEMS)))[: draw(st.integers(0, N_ITEMS))] for _ in range(n_users)]
    relevant = [
        draw(st.dictionaries(st.sampled_from([*range(N_ITEMS), *UNKNOWN]), st.integers(0, 5), max_size=6))
        for _ in range(n_users)
    ]
    users_of = draw(st.lists(st.sets(st.integers(0, 5)), min_size=N_ITEMS, max_size=N_ITEMS).filter(any))
    return lists, relevant, users_of, draw(st.integers(1, N_ITEMS + 2))


def batch_of(lists, relevant, users_of, k):
    rows = Relevance.from_lists([list(row) for row in relevant], [list(row.values()) for row in relevant])
    # Matched at the longest cut-off and cut afterwards, as evaluate() does.
    return RankedBatch.match(padded_ranking(lists, N_ITEMS + 2).indices, rows, catalog_of(users_of)).at(k)


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


@given(cases())
def test_accuracy(case):
    lists, relevant, users_of, k = case
    batch = batch_of(lists, relevant, users_of, k)
    for name, expected in reference.ACCURACY.items():
        close(
            metric(name).per_user(batch),
            [expected(ranked, wanted, k) for ranked, wanted in zip(lists, relevant, strict=True)],
        )


@given(cases())
def test_list_properties(case):
    lists, relevant, users_of, k = case
    batch = batch_of(lists, relevant, users_of, k)
    n_users = len(set().union(*users_of))
    close(metric("novelty").per_user(batch), [reference.novelty(row, k, users_of, n_users) for row in lists])
    close(metric("mean_popularity").per_user(batch), [reference.mean_popularity(row, k, users_of) for row in lists])
    np.testing.assert_allclose(
        metric("diversity").per_user(batch), [reference.diversity(row, k, users_of) for row in lists], atol=1e-6
    )


@given(cases())
def test_population(case):
    lists, relevant, users_of, k = case
    shown = batch_of(lists, relevant, users_of, k).indices
    population = Population(k, np.bincount(shown[shown >= 0], minlength=N_ITEMS), len(lists), catalog_of(users_of))
    close(metric("coverage").value(population), reference.coverage(lists, k, N_ITEMS))
    close(metric("gini").value(population), reference.gini(lists, k, N_ITEMS))


def test_no_metric_is_left_out():
    beyond = {"novelty", "mean_popularity", "diversity", "coverage", "gini"}
    assert set(standard_metrics()) == beyond | set(reference.ACCURACY) | {"mae", "rmse"}  # these are in test_evaluate


@pytest.mark.parametrize("max_items", [4, 7, 11, 10_000])
def test_similarity_is_the_same_however_little_is_remembered(max_items):
    rng = np.random.default_rng(3)
    users_of = [set(rng.choice(30, size=rng.integers(0, 12), replace=False).tolist()) for _ in range(40)]
    similarity = ListSimilarity(catalog_of(users_of).item_users, max_items=max_items)
    for _ in range(4):
        lists = [rng.choice(40, size=rng.integers(0, 5), replace=False) for _ in range(20)]
        np.testing.assert_allclose(
            1.0 - similarity.mean_per_list(padded_ranking(lists, 4).indices),
            [reference.diversity(row.tolist(), 4, users_of) for row in lists],
            atol=1e-6,
        )
        assert len(similarity._held) <= max_items


def test_similarity_of_more_items_and_lists_than_are_worked_on_at_once():
    rng = np.random.default_rng(5)
    vectors = sp.random_array((1300, 40), density=0.2, format="csr", rng=rng)
    dense = vectors.toarray()
    unit = dense / np.maximum(np.linalg.norm(dense, axis=1, keepdims=True), 1e-300)
    lists = np.array([rng.choice(1300, size=50, replace=False) for _ in range(900)])
    gram = unit @ unit.T
    expected = [(gram[np.ix_(row, row)].sum() - np.trace(gram[np.ix_(row, row)])) / (50 * 49) for row in lists]
    np.testing.assert_allclose(ListSimilarity(vectors).mean_per_list(lists), expected, atol=1e-6)
    np.testing.assert_allclose(dense_list_similarity(dense, lists), expected, atol=1e-12)
    assert len(dense_list_similarity(dense, lists[:0])) == 0
