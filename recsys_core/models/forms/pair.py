"""Scores of pairs: any function of a query and an item, over all items or over those that another form finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import scipy.sparse as sp

from recsys_core import ops
from recsys_core.data import FeaturePreparation, Histories
from recsys_core.errors import ConfigError, DataError
from recsys_core.models.arrays import finite_floats
from recsys_core.models.filters import NO_FILTERS, Filters
from recsys_core.models.forms.base import FittedArrays, State, in_blocks
from recsys_core.models.forms.pair_scorer import PairScorer
from recsys_core.models.forms.standardize import ListScale
from recsys_core.models.history_encoder import HistoryEncoder
from recsys_core.types import FloatArray, IndexArray, Ranking

if TYPE_CHECKING:
    from recsys_core.models.forms.form import Form

__all__ = ["PairForm"]

# Numbers that the inputs of one run of the scorer may take, and scores that are held at a time: 64 MB each.
RUN_NUMBERS = 1 << 24
HELD_SCORES = 1 << 24


@dataclass(frozen=True, eq=False)
class PairForm(FittedArrays):
    """Scores are any function of a query vector and an item vector.

    Such a function has no index: every pair is computed, so that a query costs n_items runs of the scorer.  With a
    ``retriever`` only its best ``n_candidates`` are scored, which is the second stage of a two-stage recommender.

    Parameters
    ----------
    item_inputs
        float32 (n_items, di).
    scorer
        The function.
    user_inputs
        float32 (n_users, dq): the query vectors of the users seen in training, or None.
    encoder
        How to compute the query vector, of dq numbers, of a history, or None.  A graph that asks for ``item_factors``
        gets ``item_inputs``.
    retriever
        The form whose best items are scored, over the same items and users; None scores all items.
    n_candidates
        How many items the retriever finds, at least 1; no answer is longer.
    standardized
        Whether the scorer is given the retriever's scores less the mean and by the deviation of a list, as in
        :func:`standardized_scores`, rather than as they are: their scale then depends neither on the query nor on how
        much the retriever was fitted on.  The list is the best ``n_candidates`` of what is neither excluded nor denied,
        whether it is allowed or not, so that an item's score does not depend on what else is allowed; with an allow
        list that is a second retrieval.

    Raises
    ------
    DataError
        There is no way to a query vector, or none that the retriever can go too; or both stages read features of
        users, but each by a preparation of its own.
    ShapeError
        The retriever scores another number of items.
    ConfigError
        ``n_candidates`` is under 1, or ``standardized`` is set without a retriever.
    """

    kind: ClassVar[str] = "pair"
    item_inputs: FloatArray
    scorer: PairScorer
    user_inputs: FloatArray | None = None
    encoder: HistoryEncoder | None = None
    retriever: Form | None = None
    n_candidates: int = 200
    standardized: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "item_inputs", finite_floats(self.item_inputs, "item_inputs", None, None))
        if self.user_inputs is not None:
            object.__setattr__(self, "user_inputs", finite_floats(self.user_inputs, "user_inputs", None, None))
        if type(self.n_candidates) is not int or self.n_candidates < 1:
            raise ConfigError(f"n_candidates: expected an integer of at least 1, got {self.n_candidates!r}.")
        if self.standardized and self.retriever is None:
            raise ConfigError("standardized: expected a retriever whose scores are meant, got none; leave it False.")
        if self.user_inputs is None and self.encoder is None:
            raise DataError("PairForm: expected user_inputs or encoder, got neither; without one there is no query.")
        if isinstance(self.retriever, PairForm):
            raise DataError("PairForm: expected a retriever with an index, got another PairForm.")
        if self.retriever is not None and self.retriever.n_items != self.n_items:
            raise DataError(f"retriever: expected {self.n_items} items, got {self.retriever.n_items}.")
        if not (self.accepts_users or self.accepts_histories):
            raise DataError(
                "PairForm: expected a retriever that answers users or histories as the scorer does, got one that "
                "answers the other kind of question only."
            )

        own = None if self.encoder is None else self.encoder.preparation
        first = None if self.retriever is None else self.retriever.user_preparation
        if own is not None and first is not None and own != first:
            raise DataError(
                "PairForm: expected both stages to read features of users by one preparation, got two; give the second "
                "the retriever's."
            )

    @property
    def n_items(self) -> int:
        """Items that it scores."""
        return len(self.item_inputs)

    @property
    def n_dims(self) -> int:
        """Length of a query vector."""
        if self.user_inputs is not None:
            return int(self.user_inputs.shape[1])
        assert self.encoder is not None
        return self.encoder.n_dims

    @property
    def accepts_users(self) -> bool:
        """Whether training users can be asked for by index."""
        return self.user_inputs is not None and (self.retriever is None or self.retriever.accepts_users)

    @property
    def accepts_histories(self) -> bool:
        """Whether histories can be asked for."""
        return self.encoder is not None and (self.retriever is None or self.retriever.accepts_histories)

    @property
    def user_preparation(self) -> FeaturePreparation | None:
        """How features of those who ask are read, by either stage, or None if they are not."""
        own = None if self.encoder is None else self.encoder.preparation
        return own if own is not None or self.retriever is None else self.retriever.user_preparation

    def encode(self, user_index: IndexArray | None, histories: Histories | None) -> FloatArray:
        """Query vectors, float32 (n_queries, dq): rows looked up, or computed where a history is given."""
        if user_index is not None:
            assert self.user_inputs is not None
            return self.user_inputs[user_index]
        assert histories is not None
        assert self.encoder is not None
        return self.encoder.encode(histories, self.item_inputs)

    def rank(
        self,
        user_index: IndexArray | None,
        histories: Histories | None,
        k: int,
        filters: Filters = NO_FILTERS,
        n_threads: int = 0,
    ) -> Ranking:
        """Top k of each query, by the order rule of :class:`~recsys_core.types.Ranking`."""
        queries = self.encode(user_index, histories)
        if self.retriever is not None:
            found = self.retriever.rank(user_index, histories, self.n_candidates, filters, n_threads=n_threads)
            scale = self._list_scale(user_index, histories, filters, n_threads, found)
            return self._rank_candidates(queries, found, scale, k, n_threads)
        rankings = [
            _top_k(self._score_all(queries[rows]), k, filters.of(rows), n_threads)
            for rows in in_blocks(len(queries), max(1, HELD_SCORES // max(1, self.n_items)))
        ]
        return Ranking(*(np.concatenate(parts) for parts in zip(*rankings, strict=True)))

    def _score_all(self, queries: FloatArray) -> FloatArray:
        scores = np.empty((len(queries), self.n_items), np.float32)
        per_run = max(1, RUN_NUMBERS // (queries.shape[1] + self.item_inputs.shape[1]))
        for query, row in zip(queries, scores, strict=True):
            for part in in_blocks(self.n_items, per_run):
                items = self.item_inputs[part]
                row[part] = self.scorer.score(np.broadcast_to(query, (len(items), len(query))), items)
        return scores

    def _list_scale(
        self,
        user_index: IndexArray | None,
        histories: Histories | None,
        filters: Filters,
        n_threads: int,
        found: Ranking | None = None,
    ) -> ListScale | None:
        """By which scale each query's scores are standardized, if they are; ``found`` is what passes the filters."""
        if not self.standardized:
            return None
        assert self.retriever is not None
        if found is None or filters.allow is not None:
            everything = replace(filters, allow=None)
            found = self.retriever.rank(user_index, histories, self.n_candidates, everything, n_threads=n_threads)
        return ListScale.of(found.scores)

    def _rank_candidates(
        self, queries: FloatArray, found: Ranking, scale: ListScale | None, k: int, n_threads: int
    ) -> Ranking:
        # In item order, so that the order of columns is that of items where scores are equal; the missing come last.
        items = np.where(found.indices >= 0, found.indices, self.n_items)
        order = np.argsort(items, axis=1)
        items = np.take_along_axis(items, order, axis=1)
        retrieved = np.take_along_axis(found.scores, order, axis=1)
        row, column = np.nonzero(items < self.n_items)
        item, first_scores = items[row, column], retrieved[row, column]
        if scale is not None:
            first_scores = scale.standardized(row, first_scores)
        scores = np.empty(len(item), np.float32)
        for pairs in in_blocks(len(item), max(1, RUN_NUMBERS // (queries.shape[1] + self.item_inputs.shape[1]))):
            inputs = (queries[row[pairs]], self.item_inputs[item[pairs]], first_scores[pairs])
            scores[pairs] = self.scorer.score(*inputs)
        table = np.zeros(items.shape, np.float32)
        table[row, column] = scores
        ranking = _top_k(table, k, Filters(exclude=sp.csr_matrix(items == self.n_items)), n_threads)
        best = np.take_along_axis(items, ranking.indices, axis=1)
        return Ranking(np.where(ranking.indices >= 0, best, -1), ranking.scores)

    def score(
        self,
        user_index: IndexArray | None,
        histories: Histories | None,
        row: IndexArray,
        item: IndexArray,
        n_threads: int = 0,
    ) -> FloatArray:
        """Scores of pairs of a query, by its row, and an item, float32 (n_pairs,).

        NaN where the retriever, if there is one, has nothing to say.  An item that the retriever would not find has the
        score that it would have if it were found, by the scale of what is found without filters where scores are
        standardized: that costs a retrieval for each query.
        """
        queries = self.encode(user_index, histories)
        retrieved = None
        if self.retriever is not None:
            retrieved = self.retriever.score(user_index, histories, row, item, n_threads)
        scores = np.full(len(item), np.nan, np.float32)
        known = np.arange(len(item)) if retrieved is None else np.flatnonzero(~np.isnan(retrieved))
        scale = self._list_scale(user_index, histories, NO_FILTERS, n_threads)
        if retrieved is not None and scale is not None:
            retrieved = scale.standardized(row, retrieved)
        for pairs in in_blocks(len(known), max(1, RUN_NUMBERS // (queries.shape[1] + self.item_inputs.shape[1]))):
            pair = known[pairs]
            first = None if retrieved is None else retrieved[pair]
            scores[pair] = self.scorer.score(queries[row[pair]], self.item_inputs[item[pair]], first)
        return scores

    def similar(self, item_index: IndexArray, k: int, n_threads: int = 0) -> Ranking:
        """The k items that the retriever holds to be most alike."""
        if self.retriever is None:
            raise DataError(
                "similar_items: expected a model that relates items to each other, got one that scores pairs of a "
                "query and an item; use one with factors or item-to-item weights."
            )
        return self.retriever.similar(item_index, k, n_threads)

    def state(self) -> tuple[State, dict[str, Any]]:
        """Arrays and JSON-safe scalars from which :func:`form_from_state` builds the form again."""
        arrays: State = {"item_inputs": self.item_inputs, "scorer.graph": np.frombuffer(self.scorer.graph, np.uint8)}
        meta: dict[str, Any] = {"n_candidates": self.n_candidates, "standardized": self.standardized}
        if self.user_inputs is not None:
            arrays["user_inputs"] = self.user_inputs
        if self.encoder is not None:
            arrays["encoder.graph"] = np.frombuffer(self.encoder.graph, np.uint8)
            meta["encoder"] = self.encoder.state()
        if self.retriever is not None:
            parts, inner = self.retriever.state()
            arrays |= {f"retriever.{name}": array for name, array in parts.items()}
            meta["retriever"] = {"kind": self.retriever.kind, **inner}
        return arrays, meta

    @classmethod
    def from_state(cls, arrays: Mapping[str, Any], meta: Mapping[str, Any]) -> PairForm:
        """Inverse of :meth:`state`."""
        from recsys_core.models.forms.form import form_from_state

        encoder = retriever = None
        if "encoder" in meta:
            encoder = HistoryEncoder.from_state(arrays["encoder.graph"].tobytes(), meta["encoder"])
        if "retriever" in meta:
            inner = dict(meta["retriever"])
            prefix = "retriever."
            parts = {name.removeprefix(prefix): part for name, part in arrays.items() if name.startswith(prefix)}
            retriever = form_from_state(inner.pop("kind"), parts, inner)
        scorer = PairScorer(arrays["scorer.graph"].tobytes())
        user_inputs = arrays.get("user_inputs")
        standardized = meta.get("standardized", False)  # older bundles do not say
        return cls(arrays["item_inputs"], scorer, user_inputs, encoder, retriever, meta["n_candidates"], standardized)


def _top_k(scores: FloatArray, k: int, filters: Filters, n_threads: int) -> Ranking:
    """Top k of each row of a matrix of scores: the row that an item-item product with the unit matrix picks."""
    n_rows = len(scores)
    unit = sp.csr_matrix((np.ones(n_rows, np.float32), np.arange(n_rows), np.arange(n_rows + 1)), shape=(n_rows,) * 2)
    return ops.item_item_topk(unit, scores, k, **vars(filters), n_threads=n_threads)
