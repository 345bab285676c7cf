"""Scores as inner products of a query vector with item factors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from recsys_core import ops
from recsys_core.data import FeaturePreparation, Histories
from recsys_core.errors import DataError, ShapeError
from recsys_core.models.arrays import finite_floats
from recsys_core.models.filters import NO_FILTERS, Filters
from recsys_core.models.forms.base import IndexedForm, State, in_blocks, one_hot, only_of
from recsys_core.models.forms.fold_in import FoldIn, HistoryRidge
from recsys_core.models.forms.prior_mean import PriorMean
from recsys_core.models.history_encoder import HistoryEncoder
from recsys_core.models.item_encoder import ItemEncoder
from recsys_core.types import FloatArray, IndexArray, Ranking

__all__ = ["DotForm"]

# Numbers of each side that are gathered at a time to score pairs: 16 MB.
HELD_NUMBERS = 1 << 22


@dataclass(frozen=True, eq=False)
class DotForm(IndexedForm):
    """Scores are inner products of a query vector with the item factors.

    Without biases, a query of zeros, such as an empty history has, scores all items alike.  It says nothing, and gets
    nothing.

    Parameters
    ----------
    item_factors
        float32 (n_items, n_factors).
    item_bias
        float32 (n_items,), added to every score, or None.
    user_factors
        float32 (n_users, n_factors): the query vectors of the users seen in training, or None.
    fold_in
        How to solve for the query vector of a history, or None.
    encoder
        How to compute the query vector of a history, or None.  Give at most one of the two; with neither, only known
        users can be asked for.
    item_encoder
        How to compute the factors of a new item from its features, or None.

    Raises
    ------
    DataError
        There is no way to a query vector, or two ways from a history.
    """

    kind: ClassVar[str] = "dot"
    item_factors: FloatArray
    item_bias: FloatArray | None = None
    user_factors: FloatArray | None = None
    fold_in: FoldIn | None = None
    encoder: HistoryEncoder | None = None
    item_encoder: ItemEncoder | None = None

    def __post_init__(self) -> None:
        if self.user_factors is None and self.fold_in is None and self.encoder is None:
            raise DataError(
                "DotForm: expected user_factors, fold_in or encoder, got none of them; without one there is no query."
            )
        if self.fold_in is not None and self.encoder is not None:
            raise DataError("DotForm: expected fold_in or encoder, got both; a history is read in one way.")
        item_factors = finite_floats(self.item_factors, "item_factors", None, None)
        n_items, n_factors = item_factors.shape
        object.__setattr__(self, "item_factors", item_factors)
        if self.item_bias is not None:
            object.__setattr__(self, "item_bias", finite_floats(self.item_bias, "item_bias", n_items))
        if self.user_factors is not None:
            object.__setattr__(self, "user_factors", finite_floats(self.user_factors, "user_factors", None, n_factors))
        if self.fold_in is not None:
            finite_floats(self.fold_in.prior, "fold_in.prior", n_factors, n_factors)
            if self.fold_in.item_offset is not None:
                finite_floats(self.fold_in.item_offset, "fold_in.item_offset", n_items)

    @property
    def n_items(self) -> int:
        """Items that it scores."""
        return len(self.item_factors)

    @property
    def accepts_users(self) -> bool:
        """Whether training users can be asked for by index."""
        return self.user_factors is not None

    @property
    def accepts_histories(self) -> bool:
        """Whether histories can be asked for."""
        return self.fold_in is not None or self.encoder is not None

    @property
    def user_preparation(self) -> FeaturePreparation | None:
        """How features of those who ask are read, or None if they are not."""
        if self.encoder is not None:
            return self.encoder.preparation
        mean = None if self.fold_in is None else self.fold_in.mean
        return None if mean is None else mean.preparation

    def _index_parts(self) -> tuple[FloatArray, FloatArray | None]:
        return self.item_factors, self.item_bias

    @cached_property
    def likeness_factors(self) -> FloatArray:
        """The item factors whose cosine says how alike two items are, float32 (n_items, at most n_factors).

        A column that is the same for all items, such as the ones that a user's bias is multiplied by, tells no two
        apart and is left out.
        """
        varies = np.ptp(self.item_factors, axis=0) > 0
        return np.ascontiguousarray(self.item_factors[:, varies]) if varies.any() else self.item_factors

    @cached_property
    def _cosine_index(self) -> ops.ItemIndex:
        return ops.ItemIndex(self.likeness_factors, metric="cosine")

    def encode(self, user_index: IndexArray | None, histories: Histories | None, n_threads: int = 0) -> FloatArray:
        """Query vectors, float32 (n_queries, n_factors): rows looked up, or computed where a history is given."""
        if user_index is not None:
            assert self.user_factors is not None
            return self.user_factors[user_index]
        assert histories is not None
        if self.encoder is not None:
            if self.encoder.n_dims != self.item_factors.shape[1]:
                raise ShapeError(
                    f"encoder: expected queries of {self.item_factors.shape[1]} numbers, as the item factors have, "
                    f"got {self.encoder.n_dims}."
                )
            return self.encoder.encode(histories, self.item_factors)
        assert self.fold_in is not None
        rows = histories.to_csr(self.n_items, self.fold_in.repeats)
        means = None if self.fold_in.mean is None else self.fold_in.mean.of(histories)
        return self.fold_in.solve(rows, self.item_factors, means, n_threads)

    def rank(
        self,
        user_index: IndexArray | None,
        histories: Histories | None,
        k: int,
        filters: Filters = NO_FILTERS,
        n_threads: int = 0,
    ) -> Ranking:
        """Top k of each query, by the order rule of :class:`~recsys_core.types.Ranking`; nothing where it is silent."""
        queries = self.encode(user_index, histories, n_threads)
        ranking = self.index.topk(queries, k, **vars(filters), n_threads=n_threads)
        return only_of(self._says_something(queries), ranking)

    def score(
        self,
        user_index: IndexArray | None,
        histories: Histories | None,
        row: IndexArray,
        item: IndexArray,
        n_threads: int = 0,
    ) -> FloatArray:
        """Scores of pairs of a query, by its row, and an item, float32 (n_pairs,); NaN where the query is silent."""
        queries = self.encode(user_index, histories, n_threads)
        scores = np.empty(len(item), np.float32)
        for pairs in in_blocks(len(item), max(1, HELD_NUMBERS // max(1, queries.shape[1]))):
            scores[pairs] = np.einsum("pf,pf->p", queries[row[pairs]], self.item_factors[item[pairs]])
        if self.item_bias is not None:
            scores += self.item_bias[item]
        return np.where(self._says_something(queries)[row], scores, np.float32(np.nan))

    def _says_something(self, queries: FloatArray) -> npt.NDArray[np.bool_]:
        """Whether the scores of each query tell items apart: those of the zero vector do by the biases alone."""
        if self.item_bias is not None:
            return np.ones(len(queries), np.bool_)
        return np.asarray((queries != 0).any(axis=1))

    def similar(self, item_index: IndexArray, k: int, n_threads: int = 0) -> Ranking:
        """The k items whose factors have the largest cosine with each given item's, itself left out."""
        queries = self.likeness_factors[item_index]
        return self._cosine_index.topk(queries, k, exclude=one_hot(item_index, self.n_items), n_threads=n_threads)

    def state(self) -> tuple[State, dict[str, Any]]:
        """Arrays and JSON-safe scalars from which :func:`form_from_state` builds the form again."""
        arrays: State = {"item_factors": self.item_factors}
        meta: dict[str, Any] = {}
        if self.item_bias is not None:
            arrays["item_bias"] = self.item_bias
        if self.user_factors is not None:
            arrays["user_factors"] = self.user_factors
        if self.fold_in is not None:
            arrays["fold_in.prior"] = self.fold_in.prior
            if self.fold_in.item_offset is not None:
                arrays["fold_in.item_offset"] = self.fold_in.item_offset
            meta["fold_in"] = {
                "confidence": list(self.fold_in.confidence),
                "target": list(self.fold_in.target),
                "repeats": self.fold_in.repeats,
                "default_weight": self.fold_in.default_weight,
            }
            if self.fold_in.ridge is not None:
                meta["fold_in"]["ridge"] = vars(self.fold_in.ridge)
            if self.fold_in.mean is not None:
                arrays["fold_in.mean.vectors"] = self.fold_in.mean.vectors
                meta["fold_in"]["mean"] = {"preparation": self.fold_in.mean.preparation.to_dict()}
        if self.encoder is not None:
            arrays["encoder.graph"] = np.frombuffer(self.encoder.graph, np.uint8)
            meta["encoder"] = self.encoder.state()
        if self.item_encoder is not None:
            arrays["item_encoder.graph"] = np.frombuffer(self.item_encoder.graph, np.uint8)
            meta["item_encoder"] = {"preparation": self.item_encoder.preparation.to_dict()}
        return arrays, meta

    @classmethod
    def from_state(cls, arrays: Mapping[str, Any], meta: Mapping[str, Any]) -> DotForm:
        """Inverse of :meth:`state`."""
        fold_in = None
        if "fold_in" in meta:
            saved, mean = meta["fold_in"], None
            if "mean" in saved:
                preparation = FeaturePreparation.from_dict(saved["mean"]["preparation"])
                mean = PriorMean(preparation, arrays["fold_in.mean.vectors"])
            fold_in = FoldIn(
                arrays["fold_in.prior"],
                tuple(saved["confidence"]),
                tuple(saved["target"]),
                arrays.get("fold_in.item_offset"),
                saved["repeats"],
                saved["default_weight"],
                HistoryRidge(**saved["ridge"]) if "ridge" in saved else None,
                mean,
            )
        encoder = None
        if "encoder" in meta:
            encoder = HistoryEncoder.from_state(arrays["encoder.graph"].tobytes(), meta["encoder"])
        item_encoder = None
        if "item_encoder" in meta:
            preparation = FeaturePreparation.from_dict(meta["item_encoder"]["preparation"])
            item_encoder = ItemEncoder(arrays["item_encoder.graph"].tobytes(), preparation)
        return cls(
            arrays["item_factors"],
            arrays.get("item_bias"),
            arrays.get("user_factors"),
            fold_in,
            encoder,
            item_encoder,
        )
