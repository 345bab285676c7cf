"""Scores as a history times an item-to-item matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from recsys_core import ops
from recsys_core.data import Histories
from recsys_core.errors import ShapeError
from recsys_core.models.arrays import finite_csr, finite_floats, pattern
from recsys_core.models.filters import NO_FILTERS, Filters
from recsys_core.models.forms.base import FittedArrays, State, in_blocks, one_hot, only_of
from recsys_core.types import CSR, FloatArray, IndexArray, Ranking

__all__ = ["ItemItemForm"]

# Entries of histories that are looked at at a time to score pairs: some 64 MB of working memory.
HELD_ENTRIES = 1 << 20


@dataclass(frozen=True, eq=False)
class ItemItemForm(FittedArrays):
    """Scores are a history times an item-to-item matrix.

    After an empty history all items would score 0.  It says nothing, and gets nothing.  After any other, items that
    nothing in it relates to score 0, in the order of their positions.

    Parameters
    ----------
    weights
        float32 (n_items, n_items), dense or CSR; row *j* holds what item *j* in a history adds to every item's score.
    binary
        Whether a history's weights count as 1 each, as for models trained on binary feedback.
    """

    kind: ClassVar[str] = "item_item"
    weights: FloatArray | CSR
    binary: bool = True

    accepts_users: ClassVar[bool] = False
    accepts_histories: ClassVar[bool] = True
    user_preparation: ClassVar[None] = None

    def __post_init__(self) -> None:
        n_items = self.weights.shape[0] if self.weights.ndim else None
        if sp.issparse(self.weights):
            if self.weights.shape != (n_items, n_items):
                raise ShapeError(f"weights: expected shape ({n_items}, {n_items}), got {self.weights.shape}.")
            object.__setattr__(self, "weights", finite_csr(self.weights, "weights"))
        else:
            object.__setattr__(self, "weights", finite_floats(self.weights, "weights", n_items, n_items))

    @property
    def n_items(self) -> int:
        """Items that it scores."""
        return int(self.weights.shape[0])

    def rank(
        self,
        user_index: IndexArray | None,
        histories: Histories | None,
        k: int,
        filters: Filters = NO_FILTERS,
        n_threads: int = 0,
    ) -> Ranking:
        """Top k of each query, by the order rule of :class:`~recsys_core.types.Ranking`; nothing for an empty one."""
        queries = self._queries(histories)
        ranking = ops.item_item_topk(queries, self.weights, k, **vars(filters), n_threads=n_threads)
        return only_of(np.diff(queries.indptr) > 0, ranking)

    def score(
        self,
        user_index: IndexArray | None,
        histories: Histories | None,
        row: IndexArray,
        item: IndexArray,
        n_threads: int = 0,
    ) -> FloatArray:
        """Scores of pairs of a query, by its row, and an item, float32 (n_pairs,); NaN where the history is empty."""
        queries = self._queries(histories)
        lengths = np.diff(queries.indptr).astype(np.int64)
        scores = np.full(len(item), np.nan, np.float32)
        longest = int(lengths.max(initial=1))
        for pairs in in_blocks(len(item), max(1, HELD_ENTRIES // longest)):
            # The entries of the pairs' histories, one behind another.
            asked, length = row[pairs], lengths[row[pairs]]
            pair = np.repeat(np.arange(len(asked)), length)
            first = np.cumsum(length) - length
            entry = np.arange(len(pair)) + (queries.indptr[asked] - first)[pair]
            added = np.asarray(self.weights[queries.indices[entry], item[pairs][pair]]).ravel() * queries.data[entry]
            total = np.bincount(pair, added, len(asked))
            scores[pairs] = np.where(length > 0, total, np.nan)
        return scores

    def _queries(self, histories: Histories | None) -> CSR:
        assert histories is not None
        queries: CSR = histories.to_csr(self.n_items)
        return pattern(queries) if self.binary else queries

    def similar(self, item_index: IndexArray, k: int, n_threads: int = 0) -> Ranking:
        """The k largest positive entries of each given item's row, itself left out: at 0, items are not alike."""
        asked = one_hot(item_index, self.n_items)
        ranking = ops.item_item_topk(asked, self.weights, k, exclude=asked, n_threads=n_threads)
        alike = ranking.scores > 0
        return Ranking(np.where(alike, ranking.indices, -1), np.where(alike, ranking.scores, np.float32(-np.inf)))

    def state(self) -> tuple[State, dict[str, Any]]:
        """Arrays and JSON-safe scalars from which :func:`form_from_state` builds the form again."""
        meta = {"binary": self.binary, "n_items": self.n_items}
        if isinstance(self.weights, np.ndarray):
            return {"weights": self.weights}, meta
        csr = self.weights
        return {"weights.indptr": csr.indptr, "weights.indices": csr.indices, "weights.data": csr.data}, meta

    @classmethod
    def from_state(cls, arrays: Mapping[str, Any], meta: Mapping[str, Any]) -> ItemItemForm:
        """Inverse of :meth:`state`."""
        if "weights" in arrays:
            return cls(arrays["weights"], meta["binary"])
        n_items = meta["n_items"]
        parts = (arrays["weights.data"], arrays["weights.indices"], arrays["weights.indptr"])
        return cls(sp.csr_matrix(parts, shape=(n_items, n_items)), meta["binary"])
