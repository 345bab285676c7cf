"""Comparing rankings: what is let through and what is not."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from recsys_core.data import IdMap
from recsys_core.testing import CheckFailedError
from recsys_core.testing.rankings import expect_same, expect_same_tables
from recsys_core.types import Ranking

INF = -np.inf


def ranking(indices, scores) -> Ranking:
    return Ranking(np.array(indices, np.int64), np.array(scores, np.float32))


EXPECTED = ranking([[4, 2, 7], [1, -1, -1]], [[3.0, 2.0, 1.0], [0.5, INF, INF]])


@pytest.mark.parametrize(
    "got",
    [
        EXPECTED,
        ranking([[4, 2, 7], [1, -1, -1]], [[3.00001, 2.0, 1.0], [0.5, INF, INF]]),
        # The last place may go to another item of the same score.
        ranking([[4, 2, 9], [1, -1, -1]], [[3.0, 2.0, 1.0], [0.5, INF, INF]]),
    ],
)
def test_rankings_that_say_the_same(got):
    expect_same(got, EXPECTED, "it")


@pytest.mark.parametrize(
    ("got", "message"),
    [
        (ranking([[4, 2], [1, -1]], [[3.0, 2.0], [0.5, INF]]), r"it: expected shape \(2, 3\), got \(2, 2\)"),
        (
            ranking([[4, 2, 7], [1, 5, -1]], [[3.0, 2.0, 1.0], [0.5, 0.5, INF]]),
            "it: row 1 holds another number of items",
        ),
        (
            ranking([[4, 2, -1], [1, -1, -1]], [[3.0, 2.0, INF], [0.5, INF, INF]]),
            "it: row 0 holds another number of items",
        ),
        (
            ranking([[4, 2, 7], [1, -1, -1]], [[3.01, 2.0, 1.0], [0.5, INF, INF]]),
            r"it: expected scores .* in row 0",
        ),
        (
            ranking([[4, 2, 7], [1, -1, -1]], [[np.nan, 2.0, 1.0], [0.5, INF, INF]]),
            r"it: expected scores .* in row 0",
        ),
        (
            ranking([[2, 4, 7], [1, -1, -1]], [[3.0, 2.0, 1.0], [0.5, INF, INF]]),
            r"it: expected items \[4 2 7\], got \[2 4 7\] in row 0",
        ),
        (
            ranking([[9, 2, 7], [1, -1, -1]], [[3.0, 2.0, 1.0], [0.5, INF, INF]]),
            r"it: expected items \[4 2 7\], got \[9 2 7\] in row 0",
        ),
    ],
)
def test_rankings_that_differ(got, message):
    with pytest.raises(CheckFailedError, match=message):
        expect_same(got, EXPECTED, "it")


def test_the_tolerance_is_relative_to_the_row():
    tiny, other = ranking([[0]], [[1e-6]]), ranking([[0]], [[2e-6]])
    with pytest.raises(CheckFailedError):
        expect_same(other, tiny, "it")
    expect_same(other, tiny, "it", least_scale=1.0)


def test_items_of_nearly_one_score_may_be_swapped():
    one = ranking([[3, 5]], [[1.000001, 1.0]])
    expect_same(ranking([[5, 3]], [[1.000001, 1.0]]), one, "it")


def table(users, items, scores, ranks) -> pl.DataFrame:
    return pl.DataFrame({"user_id": users, "item_id": items, "score": scores, "rank": ranks})


ITEMS = IdMap(["a", "b", "c"])
TABLE = table(["u", "u", "v"], ["a", "b", "c"], [2.0, 1.0, 1.0], [1, 2, 1])


def test_tables_that_say_the_same():
    expect_same_tables(TABLE, TABLE, ITEMS, "it")
    expect_same_tables(TABLE.clear(), TABLE.clear(), ITEMS, "it")


@pytest.mark.parametrize(
    ("got", "message"),
    [
        (TABLE.rename({"score": "points"}), "it: expected columns"),
        (TABLE[:2], "it: expected user_id"),
        (TABLE.with_columns(rank=pl.Series([1, 2, 2])), "it: expected rank"),
        (TABLE.with_columns(score=pl.Series([2.0, 1.5, 1.0])), "it: expected scores"),
        (TABLE.with_columns(item_id=pl.Series(["b", "a", "c"])), "it: expected items"),
    ],
)
def test_tables_that_differ(got, message):
    with pytest.raises(CheckFailedError, match=message):
        expect_same_tables(got, TABLE, ITEMS, "it")
