"""An evaluation by groups of users."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import scipy.stats

from recsys_core.data import Interactions
from recsys_core.errors import ConfigError, DataError, DTypeError
from recsys_core.metrics import Evaluation, activity_groups, compare_groups
from recsys_core.metrics.comparison import holm
from recsys_core.metrics.resampling import bootstrap_interval, welch_p_value

RNG = np.random.default_rng(0)
N = 300
GROUP = np.array(["old", "young", "middle"])[RNG.integers(0, 3, N)]
VALUE = RNG.random(N) + 0.3 * (GROUP == "old")


def evaluation(values=VALUE, ids=None) -> Evaluation:
    ids = list(range(len(values))) if ids is None else ids
    per_user = pl.DataFrame({"user_id": ids, "ndcg@10": values}, strict=False).with_columns(
        (1 - pl.col("ndcg@10")).alias("miss@10")
    )
    return Evaluation("m", {"ndcg@10": 0.0, "coverage@10": 0.5}, per_user, {}, N, 0, 0, 0, 0, 0, 0.0)


def table(**columns) -> pl.DataFrame:
    return pl.DataFrame({"user_id": range(N), **columns})


def test_means_intervals_and_tests_of_each_group():
    result = compare_groups(evaluation(), table(age=GROUP), metric="ndcg@10")
    assert [row.group for row in result.values] == ["middle", "old", "young"]
    p_values = []
    for row in result.values:
        mine, others = VALUE[row.group == GROUP], VALUE[row.group != GROUP]
        assert row.n_users == len(mine)
        assert row.value == pytest.approx(mine.mean())
        assert row.difference == pytest.approx(mine.mean() - others.mean())
        assert (row.low, row.high) == bootstrap_interval(mine)
        p_values.append(scipy.stats.ttest_ind(mine, others, equal_var=False).pvalue)
        assert row.p_value == pytest.approx(p_values[-1])
    assert [row.p_adjusted for row in result.values] == pytest.approx(holm(np.array(p_values)).tolist())
    old = result.values[1]
    assert old.difference > 0
    assert old.p_adjusted < 0.01
    assert "old" in str(result)
    assert result.to_frame().columns[:4] == ["metric", "group", "n_users", "value"]


def test_all_metrics_with_a_value_for_each_user_by_default():
    result = compare_groups(evaluation(), table(age=GROUP))
    assert {row.metric for row in result.values} == {"ndcg@10", "miss@10"}


def test_who_has_no_group_or_no_value_plays_no_part():
    group = [None, *["a"] * 149, *["b"] * 150]
    values = [1.0, None, *[0.5] * (N - 2)]
    result = compare_groups(evaluation(values), table(g=group).head(250), metric="ndcg@10")
    assert result.n_without == 51
    assert [(row.group, row.n_users, row.value) for row in result.values] == [("a", 148, 0.5), ("b", 100, 0.5)]
    assert [row.p_value for row in result.values] == [1.0, 1.0]


def test_one_group_has_no_others():
    [row] = compare_groups(evaluation(), table(g=["all"] * N), metric="ndcg@10").values
    assert np.isnan(row.difference)
    assert row.p_value == 1.0
    assert compare_groups(evaluation(), table(g=[True] * N)).to_dict()["values"][0]["difference"] is None


@pytest.mark.parametrize(
    ("groups", "options", "error", "words"),
    [
        (pl.DataFrame({"user": [1], "g": [1]}), {}, DataError, "groups: expected a column user_id, got user, g"),
        (table(a=GROUP, b=GROUP), {}, ConfigError, "column: expected one of a, b, got none"),
        (table(a=GROUP), {"column": "b"}, ConfigError, "column: expected one of a, got 'b'"),
        (table(a=GROUP), {"metric": "coverage@10"}, ConfigError, r"metric: expected metrics .*got 'coverage@10'"),
        (table(a=range(N)), {}, DataError, r"got 300 values of 'a'; cut them into bins"),
        (table(a=[[1]] * N), {}, DTypeError, "groups: expected one value of 'a' for each user"),
        (pl.DataFrame({"user_id": [1, 1], "g": [1, 2]}), {}, DataError, "expected one row a user, got several of 1"),
        (pl.DataFrame({"user_id": ["1"], "g": [1]}), {}, DTypeError, "groups: expected user ids of type Int64"),
        (pl.DataFrame({"user_id": [-1], "g": [1]}), {}, DataError, "for some of 300 evaluated users, got none"),
    ],
)
def test_what_cannot_be_grouped_is_refused(groups, options, error, words):
    with pytest.raises(error, match=words):
        compare_groups(evaluation(), groups, **options)


def test_welch_against_scipy():
    for n, m in ((2, 2), (5, 40), (100, 3)):
        a, b = RNG.normal(size=n), RNG.normal(1, 2, size=m)
        assert welch_p_value(a, b) == pytest.approx(scipy.stats.ttest_ind(a, b, equal_var=False).pvalue)
    assert welch_p_value(np.ones(5), np.ones(5)) == 1.0
    assert welch_p_value(np.ones(5), np.zeros(5)) == 0.0
    assert welch_p_value(np.ones(1), np.zeros(5)) == 1.0


def test_activity_counts_distinct_items_and_keeps_equals_together():
    user = np.repeat(np.arange(10), [1, 1, 1, 1, 1, 1, 2, 3, 8, 9])
    item = np.concatenate([np.arange(n) for n in [1, 1, 1, 1, 1, 1, 2, 3, 8, 9]])
    sales = Interactions.from_arrays(
        np.append(user, [0, 0]), np.append(item, [0, 0])
    )  # the first had the same thing three times
    groups = activity_groups(sales, 3)
    assert groups["user_id"].to_list() == list(range(10))
    assert groups["activity"].to_list() == ["1"] * 6 + ["2-9"] * 4
    assert activity_groups(sales, 5)["activity"].dtype.categories.to_list()[0] == "1"
    with pytest.raises(ConfigError, match="n_groups: expected an integer of at least 2, got 1"):
        activity_groups(sales, 1)


def test_activity_groups_can_be_compared():
    sales = Interactions.from_arrays(np.repeat(np.arange(N), np.arange(1, N + 1)), np.arange(N * (N + 1) // 2))
    result = compare_groups(evaluation(), activity_groups(sales), metric="ndcg@10")
    assert [row.group for row in result.values] == ["1-75", "76-150", "151-225", "226-300"]
