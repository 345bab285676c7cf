"""Comparing two rankings that ought to be the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from recsys_core.data import IdMap
from recsys_core.testing.outcome import expect
from recsys_core.types import Ranking

__all__ = ["expect_same", "expect_same_tables", "take"]

ROUNDING = 1e-5
"""Relative tolerance for float32 sums that are taken in another order."""


def expect_same(
    got: Ranking, expected: Ranking, what: str, *, tolerance: float = ROUNDING, least_scale: float = 0.0
) -> None:
    """Fail unless both rank the same items with the same scores.

    Items whose scores differ by less than the tolerance may be swapped.

    Parameters
    ----------
    got, expected
        Rankings of one shape.
    what
        Start of the message.
    tolerance
        Relative to the largest absolute score of the row.
    least_scale
        Lower bound of that largest score.
    """
    expect(
        got.indices.shape == expected.indices.shape,
        f"{what}: expected shape {expected.indices.shape}, got {got.indices.shape}",
    )
    found = expected.indices >= 0
    short = _first_row(found != (got.indices >= 0))
    expect(short is None, f"{what}: row {short} holds another number of items")
    scores = np.where(found, expected.scores, 0.0)
    allowed = tolerance * np.fmax(np.abs(scores).max(axis=1, keepdims=True, initial=0.0), least_scale)
    gap = np.abs(np.where(found, got.scores, 0.0) - scores)
    # NaN compares as false with everything, so that the good case is asked for.
    off = _first_row(~(gap <= allowed))
    expect(off is None, f"{what}: expected scores {_shown(expected, off)}, got {_shown(got, off)} in row {off}")
    for row in np.flatnonzero((found & (got.indices != expected.indices)).any(axis=1)).tolist():
        score_of = dict(zip(expected.indices[row].tolist(), expected.scores[row].tolist(), strict=True))
        last = expected.scores[row][found[row]][-1]
        for item, score in zip(got.indices[row].tolist(), got.scores[row].tolist(), strict=True):
            # An item that is not expected can only stand for one that has the score of the last.
            near = item < 0 or abs(score_of.get(item, last) - score) <= 2 * allowed[row, 0]
            expect(near, f"{what}: expected items {expected.indices[row]}, got {got.indices[row]} in row {row}")


def expect_same_tables(got: pl.DataFrame, expected: pl.DataFrame, items: IdMap, what: str, **tolerances: float) -> None:
    """Fail unless two answers of ``recommend`` say the same; see :func:`expect_same`."""
    expect(got.columns == expected.columns, f"{what}: expected columns {expected.columns}, got {got.columns}")
    for column in ("user_id", "rank"):
        expect(
            got[column].to_list() == expected[column].to_list(),
            f"{what}: expected {column} {expected[column].to_list()}, got {got[column].to_list()}",
        )
    expect_same(_by_user(got, items), _by_user(expected, items), what, **tolerances)


def take(ranking: Ranking, rows: Any) -> Ranking:
    """Some rows of a ranking."""
    return Ranking(ranking.indices[rows], ranking.scores[rows])


def _by_user(table: pl.DataFrame, items: IdMap) -> Ranking:
    row = table["user_id"].rle_id().to_numpy().astype(np.int64)
    column = table["rank"].to_numpy().astype(np.int64) - 1
    shape = (int(row.max(initial=-1)) + 1, int(column.max(initial=-1)) + 1)
    indices, scores = np.full(shape, -1, np.int64), np.full(shape, -np.inf, np.float32)
    indices[row, column] = items.index_of(table["item_id"])
    scores[row, column] = table["score"].to_numpy()
    return Ranking(indices, scores)


def _first_row(wrong: np.ndarray[Any, Any]) -> int | None:
    rows = np.flatnonzero(wrong.any(axis=1))
    return int(rows[0]) if len(rows) else None


def _shown(ranking: Ranking, row: int | None) -> str:
    return str(ranking.scores[row][:5])
