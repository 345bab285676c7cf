"""A fitted model whose best candidates a re-ranker chooses from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from recsys_core.data import Histories
from recsys_core.errors import DataError, DTypeError, ShapeError
from recsys_core.models.filters import Filters
from recsys_core.models.fitted import FittedModel, check_at_least_one, parts
from recsys_core.models.reranker import Reranker
from recsys_core.types import IndexArray, Ranking

__all__ = ["RerankedModel", "rerank_model"]


@dataclass(frozen=True, eq=False, kw_only=True)
class RerankedModel(FittedModel):
    """What :meth:`FittedModel.reranked` returns: answers as the model does, in the re-ranker's choice and order.

    Attributes
    ----------
    base
        The model that finds the candidates.
    reranker
        Chooses from them.
    n_candidates
        Candidates that the model finds for each query.
    """

    base: FittedModel
    reranker: Reranker
    n_candidates: int

    def without_users(self, users: Any) -> RerankedModel:
        """The base without these users, and the same re-ranker behind it; see :meth:`FittedModel.without_users`."""
        return rerank_model(self.base.without_users(users), self.reranker, self.n_candidates)

    def with_items(self, item_features: pl.DataFrame) -> RerankedModel:
        """The base with new items, and the same re-ranker behind it; see :meth:`FittedModel.with_items`."""
        return rerank_model(self.base.with_items(item_features), self.reranker, self.n_candidates)

    def _rank(
        self,
        user_index: IndexArray | None,
        histories: Histories | None,
        k: int,
        filters: Filters,
        n_threads: int,
    ) -> Ranking:
        pool = self.base._rank(user_index, histories, max(k, self.n_candidates), filters, n_threads)
        if histories is None:
            assert user_index is not None
            histories = self.histories.rows(user_index)
        chosen = self.reranker.rerank(pool, k, self.base, histories)
        return _checked(chosen, pool, k, type(self.reranker).__name__)


def rerank_model(base: FittedModel, reranker: Reranker, n_candidates: int) -> RerankedModel:
    """Put a re-ranker behind a model; :meth:`FittedModel.reranked` documents it."""
    if not isinstance(reranker, Reranker):
        raise DTypeError(
            f"reranker: expected a Reranker, got {type(reranker).__name__}; make one with create_reranker(name)."
        )
    check_at_least_one(n_candidates, "n_candidates")
    return RerankedModel(**parts(base), base=base, reranker=reranker, n_candidates=n_candidates)


def _checked(chosen: Ranking, pool: Ranking, k: int, name: str) -> Ranking:
    """The re-ranker's answer, refused where it holds what the model did not find: it may be what was filtered out."""
    shape = (len(pool.indices), k)
    if chosen.indices.shape != shape or chosen.scores.shape != shape:
        raise ShapeError(f"{name}.rerank: expected indices and scores of shape {shape}, got {chosen.indices.shape}.")
    # One integer a pair of row and item, so that all rows are looked up at once; padding is -1 in both.
    stride = 2 + int(max(pool.indices.max(initial=0), chosen.indices.max(initial=0)))
    row = np.arange(len(pool.indices))[:, None] * stride
    asked, found = row + chosen.indices, row + pool.indices
    strange = (chosen.indices >= 0) & ~np.isin(asked, found)
    repeated = np.diff(np.sort(asked, axis=1), axis=1) == 0
    repeated &= np.sort(chosen.indices, axis=1)[:, 1:] >= 0
    if strange.any() or repeated.any():
        fault = "an item twice" if repeated.any() else "an item that is not among its candidates"
        raise DataError(f"{name}.rerank: expected some of each row's candidates, each once, got {fault}.")
    return chosen
