"""Scores of given pairs of an asker and an item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from recsys_core.errors import ShapeError
from recsys_core.models.query import (
    OnUnknown,
    check_on_unknown,
    check_one_given,
    resolve_items,
    resolve_query,
    resolve_users,
)
from recsys_core.models.user_features import UserFeatures
from recsys_core.types import IndexArray

if TYPE_CHECKING:
    from recsys_core.models.fitted import FittedModel

__all__ = ["score_pairs"]


def score_pairs(
    model: FittedModel,
    users: Any,
    histories: Any,
    described: UserFeatures | None,
    item_ids: Any,
    on_unknown: OnUnknown,
    default_weight: float,
    n_threads: int,
) -> pl.DataFrame:
    """Scores by ids; see :meth:`FittedModel.score <recsys_core.models.FittedModel.score>`."""
    check_on_unknown(on_unknown, ("raise", "warn", "ignore"))
    check_one_given(users, histories, "score", user_features=described)
    items, item_index = resolve_items(model.items, item_ids, on_unknown, "item_ids")
    user_index = rows = None
    if users is not None:
        askers, user_index = resolve_users(model.users, users, on_unknown)
    else:
        query = resolve_query(model.users, model.items, None, histories, on_unknown, default_weight, described)
        askers, rows = query.labels, query.histories
    asker, item = _paired(len(askers), len(items), "users" if users is not None else "histories")
    known = item_index[item] >= 0
    if user_index is not None:
        known &= user_index[asker] >= 0
    scores = np.full(len(asker), np.nan, np.float32)
    scores[known] = model.score_indices(
        None if user_index is None else user_index[asker[known]],
        item_index=item_index[item[known]],
        histories=rows,
        row=None if rows is None else asker[known],
        n_threads=n_threads,
    )
    table = pl.DataFrame({"user_id": askers.gather(asker), "item_id": items.gather(item), "score": scores})
    return table.with_columns(pl.col("score").fill_nan(None))


def _paired(n_askers: int, n_items: int, what: str) -> tuple[IndexArray, IndexArray]:
    """Which asker and which item each pair is of: one for one, or one of either with all of the other."""
    if n_askers != n_items and 1 not in (n_askers, n_items):
        raise ShapeError(
            f"item_ids: expected {n_askers} items, one for each of the {what}, got {n_items}; to score all items for "
            "all, repeat both."
        )
    # A single one is the first each time.
    n = n_items if n_askers == 1 else n_askers
    every, first = np.arange(n), np.zeros(n, np.int64)
    return (first if n_askers == 1 else every), (first if n_items == 1 else every)
