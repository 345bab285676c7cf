"""The accuracy metrics against ranx, an independent library."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from ranking_fakes import catalog_of, padded_ranking

from recsys_core.metrics import RankedBatch, Relevance, metric

OURS_AND_THEIRS = {
    "recall": "recall",
    "precision": "precision",
    "hit_rate": "hit_rate",
    "mrr": "mrr",
    "map": "map",
    "ndcg_linear": "ndcg",
    "ndcg_exponential": "ndcg_burges",
}


@pytest.mark.slow
@pytest.mark.parametrize("k", [3, 20])
def test_same_values_as_ranx(k):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba's, while it compiles
        ranx = pytest.importorskip("ranx", reason="numba, which ranx needs, has no wheel here")
    rng = np.random.default_rng(11)
    n_items = 30
    lists = [rng.permutation(n_items)[: rng.integers(1, 15)] for _ in range(60)]
    # Every fifth user has relevant items only where the model never looks.
    relevant = [
        rng.choice(np.arange(n_items, n_items + 9) if user % 5 == 0 else n_items + 9, rng.integers(1, 8), replace=False)
        for user in range(60)
    ]
    weights = [rng.integers(1, 5, size=len(row)) for row in relevant]
    qrels = {
        f"u{user}": dict(zip(map(str, row), map(int, weights[user]), strict=True)) for user, row in enumerate(relevant)
    }
    run = {
        f"u{user}": {str(item): 1.0 / (1 + place) for place, item in enumerate(row)} for user, row in enumerate(lists)
    }
    batch = RankedBatch.match(
        padded_ranking(lists, k).indices, Relevance.from_lists(relevant, weights), catalog_of([{0}] * n_items)
    )
    ones = {user: dict.fromkeys(row, 1) for user, row in qrels.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        judge, judge_binary, ranked = ranx.Qrels(qrels), ranx.Qrels(ones), ranx.Run(run)
        names = [f"{theirs}@{k}" for theirs in OURS_AND_THEIRS.values()]
        ranx.evaluate(judge, ranked, names)
        graded = {name: dict(ranked.scores[name]) for name in names}
        ranx.evaluate(judge_binary, ranked, [f"ndcg@{k}", f"map@{k}"])
    for ours, theirs in OURS_AND_THEIRS.items():
        expected = [graded[f"{theirs}@{k}"][f"u{user}"] for user in range(60)]
        np.testing.assert_allclose(metric(ours).per_user(batch), expected, rtol=0, atol=1e-9, err_msg=ours)
        assert max(expected) > 0.0
    binary = [ranked.scores[f"ndcg@{k}"][f"u{user}"] for user in range(60)]
    np.testing.assert_allclose(metric("ndcg").per_user(batch), binary, rtol=0, atol=1e-9)
