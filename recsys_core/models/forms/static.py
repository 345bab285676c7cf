"""One score an item."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from recsys_core.data import Histories
from recsys_core.errors import DataError
from recsys_core.models.arrays import finite_floats
from recsys_core.models.filters import NO_FILTERS, Filters
from recsys_core.models.forms.base import IndexedForm, State
from recsys_core.types import FloatArray, IndexArray, Ranking

__all__ = ["StaticForm"]


@dataclass(frozen=True, eq=False)
class StaticForm(IndexedForm):
    """One score an item, the same for everybody.

    Parameters
    ----------
    scores
        float32 (n_items,).
    """

    kind: ClassVar[str] = "static"
    scores: FloatArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "scores", finite_floats(self.scores, "scores", None))

    accepts_users: ClassVar[bool] = True
    accepts_histories: ClassVar[bool] = True
    user_preparation: ClassVar[None] = None

    @property
    def n_items(self) -> int:
        """Items that it scores."""
        return len(self.scores)

    def _index_parts(self) -> tuple[FloatArray, FloatArray | None]:
        # One-dimensional item factors, asked for with the query (1).
        return np.ascontiguousarray(self.scores[:, None]), None

    def rank(
        self,
        user_index: IndexArray | None,
        histories: Histories | None,
        k: int,
        filters: Filters = NO_FILTERS,
        n_threads: int = 0,
    ) -> Ranking:
        """Top k of each query, by the order rule of :class:`~recsys_core.types.Ranking`."""
        asked = user_index if user_index is not None else histories
        assert asked is not None
        queries = np.ones((len(asked), 1), np.float32)
        return self.index.topk(queries, k, **vars(filters), n_threads=n_threads)

    def score(
        self,
        user_index: IndexArray | None,
        histories: Histories | None,
        row: IndexArray,
        item: IndexArray,
        n_threads: int = 0,
    ) -> FloatArray:
        """Scores of pairs of a query, by its row, and an item, float32 (n_pairs,)."""
        return self.scores[item]

    def similar(self, item_index: IndexArray, k: int, n_threads: int = 0) -> Ranking:
        """Not available: one score an item says nothing about likeness."""
        raise DataError(
            "similar_items: expected a model that relates items to each other, got one with a single score an item; "
            "use one with factors or item-to-item weights."
        )

    def state(self) -> tuple[State, dict[str, Any]]:
        """Arrays and JSON-safe scalars from which :func:`form_from_state` builds the form again."""
        return {"scores": self.scores}, {}

    @classmethod
    def from_state(cls, arrays: Mapping[str, Any], meta: Mapping[str, Any]) -> StaticForm:
        """Inverse of :meth:`state`."""
        return cls(arrays["scores"])
