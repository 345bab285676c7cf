from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from recsys_core.errors import ConfigError, DataError, DTypeError
from recsys_core.metrics import Evaluation, compare
from recsys_core.metrics.comparison import holm


def evaluation(name, columns, user_ids=None, lower_is_better=()):
    n_users = len(next(iter(columns.values())))
    ids = list(range(n_users)) if user_ids is None else user_ids
    table = pl.DataFrame({"user_id": ids, **{key: pl.Series(list(v), dtype=pl.Float64) for key, v in columns.items()}})
    return Evaluation(
        model=name,
        values={key: float(table[key].mean()) if table[key].mean() is not None else float("nan") for key in columns},
        per_user=table,
        higher_is_better={key: key not in lower_is_better for key in columns},
        n_users=n_users,
        n_users_skipped=0,
        n_relevant=n_users,
        n_relevant_unknown=0,
        n_relevant_filtered=0,
        n_history_unknown=0,
        seconds=0.0,
    )


@pytest.mark.parametrize("test", ["randomization", "t"])
def test_a_difference_is_found_and_no_difference_is_not(test):
    rng = np.random.default_rng(0)
    base = rng.random(300)
    a = evaluation("good", {"ndcg@10": base + rng.normal(0.05, 0.1, 300), "mrr@10": base})
    b = evaluation("plain", {"ndcg@10": base, "mrr@10": base + rng.normal(0.0, 0.1, 300)})
    result = compare(a, b, test=test, n_permutations=2000)
    found, absent = result["ndcg@10"], result["mrr@10"]
    assert found.verdict == "a"
    assert found.p_adjusted < 0.01
    assert 0.0 < found.low < found.difference < found.high
    assert found.difference == pytest.approx(found.a - found.b)
    assert absent.verdict == "-"
    assert absent.p_adjusted > 0.05
    assert absent.low < 0.0 < absent.high
    assert compare(b, a, test=test, n_permutations=2000)["ndcg@10"].verdict == "b"


def test_worked_example():
    a = evaluation("a", {"recall@2": [1.0, 0.5, 0.5, 0.0, 1.0]})
    b = evaluation("b", {"recall@2": [0.5, 0.5, 0.0, 0.5, 0.0]})
    difference = compare(a, b)["recall@2"]
    assert (difference.wins, difference.ties, difference.losses, difference.n_users) == (3, 1, 1, 5)
    assert difference.difference == pytest.approx(0.3)
    # Differences .5, .5, -.5, 1: of the 16 sign patterns those with |sum| >= 1.5 are 1 + 1 at 2.5, and 3 + 3 at 1.5.
    assert difference.p_value == pytest.approx(8 / 16)


def test_wins_follow_the_direction_of_the_metric():
    lower = {"mean_popularity@5"}
    a = evaluation("a", {"mean_popularity@5": np.full(20, 3.0)}, lower_is_better=lower)
    b = evaluation("b", {"mean_popularity@5": np.full(20, 4.0)}, lower_is_better=lower)
    difference = compare(a, b)["mean_popularity@5"]
    assert (difference.difference, difference.wins, difference.verdict) == (-1.0, 20, "a")


def test_only_users_in_common_are_paired_by_id():
    a = evaluation("a", {"mrr@5": [0.1, 0.2, 0.3, 0.9]}, ["u", "v", "w", "x"])
    b = evaluation("b", {"mrr@5": [0.3, 0.7, 0.2]}, ["w", "y", "v"])
    result = compare(a, b)
    assert (result.n_only_a, result.n_only_b) == (2, 1)
    assert (result["mrr@5"].ties, result["mrr@5"].n_users) == (2, 2)
    assert "left out: 2 users only in a, 1 only in b" in str(result)


def test_users_without_a_value_in_either_are_left_out():
    a = evaluation("a", {"novelty@5": [1.0, None, 3.0], "diversity@1": [None] * 3})
    b = evaluation("b", {"novelty@5": [None, 2.0, 1.0], "diversity@1": [None] * 3})
    result = compare(a, b)
    assert [difference.metric for difference in result.differences] == ["novelty@5"]
    assert (result["novelty@5"].n_users, result["novelty@5"].difference) == (1, 2.0)
    with pytest.raises(DataError, match="'diversity@1' is undefined for all 3 users"):
        compare(a, b, metric="diversity@1")
    undefined = evaluation("c", {"diversity@1": [None] * 3})
    with pytest.raises(DataError, match="all of diversity@1 are undefined"):
        compare(undefined, undefined)


def test_holm_correction():
    # 4 * .01, then max(.04, 3 * .02), max(.06, 2 * .03), max(.06, .2).
    assert holm(np.array([0.2, 0.01, 0.03, 0.02])) == pytest.approx([0.2, 0.04, 0.06, 0.06])
    assert holm(np.array([0.9, 0.8])) == pytest.approx([1.0, 1.0])
    rng = np.random.default_rng(3)
    columns = {f"m{i}@1": rng.normal(0.1, 1.0, 60) for i in range(4)}
    a = evaluation("a", columns)
    b = evaluation("b", {name: np.zeros(60) for name in columns})
    adjusted, plain = compare(a, b), compare(a, b, correction="none")
    raw = np.array([difference.p_value for difference in plain.differences])
    assert [difference.p_adjusted for difference in plain.differences] == raw.tolist()
    assert [difference.p_adjusted for difference in adjusted.differences] == holm(raw).tolist()


def test_choice_of_metrics_and_forms_of_the_result():
    columns = {"mrr@5": [0.1, 0.2, 0.4], "ndcg@5": [0.3, 0.1, 0.2], "map@5": [0.0, 0.0, 0.0]}
    a, b = evaluation("first", columns), evaluation("second", columns)
    result = compare(a, b, metric=("map@5", "mrr@5"))
    assert [difference.metric for difference in result.differences] == ["map@5", "mrr@5"]
    assert result["map@5"].p_value == 1.0
    frame = result.to_frame()
    assert frame["metric"].to_list() == ["map@5", "mrr@5"]
    assert json.loads(json.dumps(result.to_dict()))["differences"][1]["ties"] == 3
    text = str(result)
    assert "a = first, b = second" in text
    assert "95% interval" in text
    assert "0/3/0" in text
    with pytest.raises(ConfigError, match="expected one of map@5, mrr@5; got 'ndcg@5'"):
        result["ndcg@5"]


def test_what_cannot_be_compared_is_refused():
    a = evaluation("a", {"mrr@5": [0.1, 0.2]})
    with pytest.raises(ConfigError, match=r"that both evaluations have \(mrr@5\), got 'coverage@5'"):
        compare(a, a, metric="coverage@5")
    with pytest.raises(ConfigError, match="there is none"):
        compare(a, evaluation("b", {"map@5": [0.1, 0.2]}))
    with pytest.raises(DataError, match="expected users in common with a, got none"):
        compare(a, evaluation("b", {"mrr@5": [0.1]}, [7]))
    with pytest.raises(DTypeError, match="user ids of the type that a has"):
        compare(a, evaluation("b", {"mrr@5": [0.1]}, ["0"]))
    with pytest.raises(ConfigError, match="test: expected"):
        compare(a, a, test="wilcoxon")
    with pytest.raises(ConfigError, match="correction: expected"):
        compare(a, a, correction="bonferroni")


def test_evaluations_of_different_splits_are_not_compared():
    a = replace(evaluation("a", {"ndcg@10": [1.0, 0.0]}), test_digest="one")
    b = replace(evaluation("b", {"ndcg@10": [0.0, 0.0]}), test_digest="two")
    with pytest.raises(DataError, match="use one split"):
        compare(a, b)
    compare(a, replace(b, test_digest="one"))
