"""Which items of a history a recommendation rests on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys_core.data import Histories
from recsys_core.types import FloatArray, IndexArray

if TYPE_CHECKING:
    from recsys_core.models.fitted import FittedModel

__all__ = ["Scorer", "contributions", "explain_histories"]

Scorer: TypeAlias = Callable[[Histories], FloatArray]
"""Gives the scores of some fixed items after each of some histories, float32 (n_histories, n_items)."""

_Reasons: TypeAlias = tuple[IndexArray, IndexArray, FloatArray, IndexArray, FloatArray, IndexArray]
"""Asker, item, score, reason, contribution and place of each reason."""

# Entries of the shortened histories that are looked at at a time: some 64 MB of working memory.
_HELD_ENTRIES = 1 << 22


def contributions(history: Histories, score: Scorer) -> tuple[IndexArray, FloatArray, FloatArray]:
    r"""What each item of a history adds to the scores of others.

    The contribution of item *j* to the score of item *i* is :math:`s_i(h) - s_i(h \setminus j)`: how much lower *i*
    would be if *j* had never happened, as often as it did.  That asks nothing of a model but that it answers
    histories, and it says what the model does, where the likeness of two vectors or a weight of attention only suggests
    it.  For scores that are sums over the history, such as those of item-to-item weights, the contributions add up to
    the score.  For others they do not: of two items that say the same, neither is missed when it alone is gone.
    Where nothing is left that the model could go by, the score counts as 0.

    Parameters
    ----------
    history
        One row.
    score
        Asks the model.

    Returns
    -------
    reasons
        int64 (n_reasons,), the distinct items of the history, ascending.
    contributions
        float32 (n_reasons, n_items).
    scores
        float32 (n_items,), after the whole history.

    Notes
    -----
    One query more than the history has distinct items.
    """
    reasons, which = np.unique(history.indices.astype(np.int64), return_inverse=True)
    whole = score(history)
    without = [score(part) for part in _without_each(history, which, len(reasons))]
    return reasons, whole - np.concatenate([whole[:0], *without]), whole[0]


def explain_histories(
    model: FittedModel,
    labels: pl.Series,
    histories: Histories,
    wanted: Sequence[IndexArray],
    n_reasons: int,
    n_threads: int = 0,
) -> pl.DataFrame:
    """The reasons for some items to each of some askers, as a table.

    Parameters
    ----------
    model
        Answers histories.
    labels
        What to call each asker.
    histories
        A row for each.
    wanted
        int64 for each: distinct positions of the items to explain.
    n_reasons
        Reasons an item, at most.
    n_threads
        Threads to use, 0 for all.

    Returns
    -------
    polars.DataFrame
        ``user_id, item_id, score, reason_item_id, contribution, rank``; the reasons of an item from the largest
        contribution to the smallest, among equal ones that of the lower item index first.
    """
    index, number = np.zeros(0, np.int64), np.zeros(0, np.float32)
    parts: list[_Reasons] = [(index, index, number, index, number, index)]
    for row, items in enumerate(wanted):
        ask = partial(_scores, model, item_index=items, n_threads=n_threads)
        reasons, added, scores = contributions(histories.rows([row]), ask)
        # What changes nothing sorts last and is no reason.
        order = np.argsort(np.where(added == 0, np.inf, -added), axis=0, kind="stable")[:n_reasons].T
        column, place = np.nonzero(added[order, np.arange(len(items))[:, None]])
        reason = order[column, place]
        asker = np.full(len(column), row)
        parts.append((asker, items[column], scores[column], reasons[reason], added[reason, column], place))
    asker, item, score, because, contribution, place = map(np.concatenate, zip(*parts, strict=True))
    return pl.DataFrame(
        {
            "user_id": labels.gather(asker),
            "item_id": model.items.labels(item),
            "score": score,
            "reason_item_id": model.items.labels(because),
            "contribution": contribution,
            "rank": place.astype(np.int32) + 1,
        }
    )


def _without_each(history: Histories, which: npt.NDArray[np.intp], n_reasons: int) -> Iterator[Histories]:
    """The history without each of its distinct items in turn, some at a time."""
    step = max(1, _HELD_ENTRIES // max(1, len(which)))
    for start in range(0, n_reasons, step):
        kept = which != np.arange(start, min(start + step, n_reasons))[:, None]
        entry = np.nonzero(kept)[1]
        indptr = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
        # What else is known of the asker stays.
        asked = history.rows(np.zeros(len(kept), np.int64))
        yield replace(asked, indptr=indptr, indices=history.indices[entry], weights=history.weights[entry])


def _scores(model: FittedModel, histories: Histories, item_index: IndexArray, n_threads: int) -> FloatArray:
    """Scores of some items after each history, float32 (n_histories, n_items); 0 where it says nothing."""
    row, column = np.indices((len(histories), len(item_index))).reshape(2, -1)
    scores = model.score_indices(item_index=item_index[column], histories=histories, row=row, n_threads=n_threads)
    return np.where(np.isnan(scores), np.float32(0), scores).reshape(len(histories), len(item_index))
