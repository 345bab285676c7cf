"""Every metric against its plain-Python twin, on lists and test sets of every shape."""

from __future__ import annotations

from dataclasses import replace

import metrics_reference as reference
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from ranking_fakes import catalog_of, padded_ranking

from recsys_core.data import Histories
from recsys_core.metrics import (
    Miscalibration,
    Population,
    RankedBatch,
    Relevance,
    StratifiedRecall,
    metric,
    standard_metrics,
)
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


items = st.integers(0, N_ITEMS - 1)


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


@given(cases(), st.data())
def test_what_is_held_against_the_history(case, data):
    lists, relevant, users_of, k = case
    had = [sorted(data.draw(st.sets(items))) for _ in lists]
    categories = data.draw(st.lists(st.sets(st.sampled_from("abc")), min_size=N_ITEMS, max_size=N_ITEMS))
    batch = replace(batch_of(lists, relevant, users_of, k), tell_had=lambda: Histories.from_lists(had).to_csr(N_ITEMS))
    told = [*zip(lists, relevant, had, strict=True)]
    close(
        metric("popularity_lift").per_user(batch),
        [reference.popularity_lift(ranked, k, users_of, before) for ranked, _, before in told],
    )
    for power in (0.0, 0.5, 1.0):
        close(
            StratifiedRecall(power=power).per_user(batch),
            [reference.stratified_recall(ranked, wanted, k, users_of, power) for ranked, wanted, _ in told],
        )
    strata = [{stratum} for stratum in reference.strata(users_of)]
    close(
        metric("miscalibration").per_user(batch),
        [reference.miscalibration(ranked, k, before, strata) for ranked, _, before in told],
    )
    matrix = np.array([[category in row for category in "abc"] for row in categories], float)
    for made in (matrix, sp.csr_matrix(2 * matrix)):
        close(
            Miscalibration(categories=made, smoothing=0.1).per_user(batch),
            [reference.miscalibration(ranked, k, before, categories, 0.1) for ranked, _, before in told],
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
    bias = {"popularity_lift", "stratified_recall", "miscalibration"}
    ratings = {"mae", "rmse"}  # these are in test_evaluate
    assert set(standard_metrics()) == beyond | bias | ratings | set(reference.ACCURACY)


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
