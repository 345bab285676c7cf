"""Values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from ranking_fakes import ListModel, catalog_of

from recsys_core.data import Interactions, Split
from recsys_core.errors import ConfigError, DataError, ShapeError
from recsys_core.metrics import (
    NDCG,
    Coverage,
    Diversity,
    Gini,
    Miscalibration,
    Population,
    RankedBatch,
    Relevance,
    StratifiedRecall,
    evaluate,
    metric,
)

# Users 0-3 had item 0, users 0-1 item 1, user 2 item 2; nobody had item 3.
USERS_OF = [{0, 1, 2, 3}, {0, 1}, {2}, set()]


def value(name, ranked, relevant, weights=None, users_of=USERS_OF):
    batch = RankedBatch.match(
        np.array([ranked]),
        Relevance.from_lists([relevant], None if weights is None else [weights]),
        catalog_of(users_of),
    )
    return float(metric(name, len(ranked)).per_user(batch)[0])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Hits at places 2 and 3 of 4; three relevant items, of which item 9 is none of the model's.
        ("recall", 2 / 3),
        ("recall_capped", 2 / 3),
        ("precision", 2 / 4),
        ("hit_rate", 1.0),
        ("mrr", 1 / 2),
        ("map", (1 / 2 + 2 / 3) / 3),
        ("ndcg", (1 / np.log2(3) + 1 / 2) / (1 + 1 / np.log2(3) + 1 / 2)),
        # Weights 1 and 4 are found at places 2 and 3, weight 2 is missed: ideal order 4, 2, 1.
        ("ndcg_linear", (1 / np.log2(3) + 4 / 2) / (4 + 2 / np.log2(3) + 1 / 2)),
        ("ndcg_exponential", (1 / np.log2(3) + 15 / 2) / (15 + 3 / np.log2(3) + 1 / 2)),
        ("novelty", (0 + 1 + 2 + 2) / 4),  # an item nobody had counts as had by one user
        ("mean_popularity", (4 + 2 + 1 + 0) / 4),
        # cos(0, 1) = 2 / sqrt(8), cos(0, 2) = 1 / 2, the other four pairs 0.
        ("diversity", 1 - (2 / np.sqrt(8) + 1 / 2) / 6),
    ],
)
def test_worked_example(name, expected):
    assert value(name, [0, 1, 2, 3], [1, 2, 9], [1.0, 4.0, 2.0]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("recall", 1 / 3),
        ("recall_capped", 1 / 2),
        ("precision", 1 / 2),
        ("map", 1 / 3),
        ("ndcg", 1 / (1 + 1 / np.log2(3))),
        ("novelty", 0.0),
        ("mean_popularity", 4.0),
    ],
)
def test_padding_counts_as_a_place_but_never_as_an_item(name, expected):
    assert value(name, [0, -1], [0, 1, 2]) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["novelty", "mean_popularity", "diversity"])
def test_an_empty_list_leaves_list_properties_undefined(name):
    assert np.isnan(value(name, [-1, -1], [0]))


def test_diversity_of_one_item_is_undefined():
    assert np.isnan(value("diversity", [2, -1], [0]))


@pytest.mark.parametrize("name", ["recall", "recall_capped", "map", "ndcg", "ndcg_linear", "mrr", "hit_rate"])
def test_no_relevant_item_scores_zero(name):
    assert value(name, [0, 1], []) == 0.0


def test_padding_of_a_later_user_is_not_the_last_item_of_the_one_before():
    relevant = Relevance.from_lists([[3], [0]])
    batch = RankedBatch.match(np.array([[0, 1], [-1, -1]]), relevant, catalog_of(USERS_OF))
    assert not batch.hits.any()


@pytest.mark.parametrize(
    ("exposure", "gini", "coverage"),
    [
        ([5, 5, 5, 5], 0.0, 1.0),
        ([8, 0, 0, 0], 0.75, 0.25),
        ([1, 3, 0, 0], 0.625, 0.5),  # sum of |x - y| over ordered pairs 20, over 2 * 4 * 4
    ],
)
def test_concentration_of_exposure(exposure, gini, coverage):
    population = Population(1, np.array(exposure), sum(exposure), catalog_of(USERS_OF))
    assert Gini().value(population) == pytest.approx(gini)
    assert Coverage().value(population) == pytest.approx(coverage)


def test_gini_without_any_exposure_is_undefined():
    assert np.isnan(Gini().value(Population(1, np.zeros(4, np.int64), 3, catalog_of(USERS_OF))))


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_diversity_over_given_vectors(kind):
    # Items 0 and 1 point the same way, item 2 is at a right angle, item 3 has no features at all.
    vectors = kind(np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [0.0, 0.0]]))
    batch = RankedBatch.match(
        np.array([[0, 1, 2], [0, 1, -1], [3, 0, -1]]), Relevance.from_lists([[], [], []]), catalog_of(USERS_OF)
    )
    assert Diversity(vectors=vectors).per_user(batch) == pytest.approx([2 / 3, 0.0, 1.0])


def test_diversity_refuses_vectors_of_another_catalogue():
    batch = RankedBatch.match(np.array([[0, 1]]), Relevance.from_lists([[]]), catalog_of(USERS_OF))
    with pytest.raises(ShapeError, match=r"one row for each of the model's 4 items, got shape \(3, 2\)"):
        Diversity(vectors=np.ones((3, 2))).per_user(batch)
    with pytest.raises(ConfigError, match="vectors: expected"):
        Diversity(vectors=[1.0, 2.0])


@pytest.mark.parametrize(
    ("gain", "weight"), [("linear", -1.0), ("exponential", 2000.0), ("linear", np.inf), ("exponential", np.nan)]
)
def test_graded_gain_refuses_weights_it_cannot_use(gain, weight):
    batch = RankedBatch.match(np.array([[0, 1]]), Relevance.from_lists([[0]], [[weight]]), catalog_of(USERS_OF))
    with pytest.raises(DataError, match=f"ndcg_{gain} expects finite weights"):
        NDCG(gain=gain).per_user(batch)


def test_unknown_gain_is_refused():
    with pytest.raises(ConfigError, match="'binary', 'linear' or 'exponential', got 'log'"):
        NDCG(gain="log")


def test_relevance_rows():
    relevance = Relevance.from_lists([[5, 2], [], [1]], [[0.5, 0.25], [], [1.0]])
    assert relevance.n_users == 3
    taken = relevance.take(np.array([2, 0, 1]))
    assert taken.indptr.tolist() == [0, 1, 3, 3]
    assert taken.indices.tolist() == [1, 2, 5]
    assert taken.weights.tolist() == [1.0, 0.25, 0.5]
    with pytest.raises(ShapeError, match="weights"):
        Relevance.from_lists([[1, 2]], [[1.0]])


def test_match_refuses_lists_of_other_users():
    with pytest.raises(ShapeError, match=r"expected shape \(2, k\), got \(1, 2\)"):
        RankedBatch.match(np.array([[0, 1]]), Relevance.from_lists([[0], [1]]), catalog_of(USERS_OF))


def test_a_metric_of_bias_sees_what_the_asked_had():
    """Known users by training, strangers by the history that is told."""
    train = Interactions.from_arrays(["ann", "ann", "bob", "eve"], ["hit", "rare", "hit", "hit"])
    test = Interactions.from_arrays(["ann", "new"], ["odd", "odd"])
    history = Interactions.from_arrays(["new"], ["rare"])
    model = ListModel({"ann": ["hit"], "bob": [], "eve": []}, ["hit", "rare", "odd"], for_histories=["hit"])
    result = evaluate(model, Split(train, test, history), k=1, metrics="popularity_lift")
    assert result.per_user["popularity_lift@1"].to_list() == [3 / 2 - 1, 3 / 1 - 1]


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: StratifiedRecall(power=1.5), ConfigError, r"power: expected a number in \[0, 1\], got 1.5"),
        (lambda: Miscalibration(smoothing=0.0), ConfigError, r"smoothing: expected a number in \(0, 1\), got 0.0"),
        (lambda: Miscalibration(categories=[1, 2]), ConfigError, "categories: expected an array or a CSR matrix"),
        (lambda: Miscalibration(categories=np.array([[np.nan]])), DataError, "categories: expected finite numbers"),
        (lambda: Miscalibration(categories=-np.eye(2)), DataError, "categories: expected finite numbers of at least 0"),
    ],
)
def test_settings_of_the_metrics_of_bias(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_categories_of_another_catalogue_are_refused():
    batch = RankedBatch.match(np.array([[0]]), Relevance.from_lists([[0]]), catalog_of(USERS_OF))
    with pytest.raises(ShapeError, match="categories: expected a row for each of the model's 4 items"):
        Miscalibration(categories=np.eye(3)).per_user(batch)
