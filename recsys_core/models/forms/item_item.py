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
from recsys_core.models.forms.base import FittedArrays, State, one_hot
from recsys_core.types import CSR, FloatArray, IndexArray, Ranking

__all__ = ["ItemItemForm"]


@dataclass(frozen=True, eq=False)
class ItemItemForm(FittedArrays):
    """Scores are a history times an item-to-item matrix.

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
        """Top k of each query, by the order rule of :class:`~recsys_core.types.Ranking`."""
        assert histories is not None
        queries: CSR = histories.to_csr(self.n_items)
        if self.binary:
            queries = pattern(queries)
        return ops.item_item_topk(queries, self.weights, k, **vars(filters), n_threads=n_threads)

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
