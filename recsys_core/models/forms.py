r"""Scoring forms: what a fitted recommender computes, apart from how it was trained.

Evaluation, export, the runtime and serving know these forms and no model's name.  A form is a bundle of arrays, so
saving, loading and exporting a model needs no code from its author.

=================  ==========================================================  =============================
form               score of item *i*                                           what it can be asked
=================  ==========================================================  =============================
``DotForm``        :math:`q \cdot v_i + b_i`                                   users (lookup), histories (encode)
``ItemItemForm``   :math:`\sum_j h_j W_{ji}`                                   histories
``StaticForm``     :math:`s_i`                                                 anything
=================  ==========================================================  =============================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import scipy.sparse as sp

from recsys_core import ops
from recsys_core.data import Histories
from recsys_core.errors import DataError, FormatError, ShapeError
from recsys_core.models.arrays import finite_csr, finite_floats, pattern
from recsys_core.models.filters import NO_FILTERS, Filters
from recsys_core.models.history_encoder import HistoryEncoder
from recsys_core.types import CSR, FloatArray, IndexArray, Ranking

__all__ = ["DotForm", "FoldIn", "Form", "ItemItemForm", "StaticForm", "form_from_state"]

State: TypeAlias = dict[str, "np.ndarray[Any, Any]"]


class _Picklable:
    """The compiled indices are built at first use and cannot be pickled: only the fields are."""

    def __getstate__(self) -> dict[str, Any]:
        return {part.name: getattr(self, part.name) for part in fields(self)}  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class FoldIn:
    r"""A user vector from a history, by one regularised least-squares solve.

    .. math::

       \Big(P + \sum_{i \in h} (c_0 + c_1 r_i)\, v_i v_i^\top\Big)\, q
       = \sum_{i \in h} (t_0 + t_1 r_i - o_i)\, v_i

    Implicit ALS is :math:`P = V^\top V + \lambda I,\ c = (0, \alpha),\ t = (1, \alpha)` (Hu et al. 2008, eq. 4);
    a least-squares fit of ratings is :math:`P = \lambda I,\ c = (1, 0),\ t = (0, 1)` with the biases as offsets.

    Parameters
    ----------
    prior
        float32 (n_factors, n_factors), symmetric positive definite.
    confidence, target
        ``(c0, c1)`` and ``(t0, t1)``.
    item_offset
        float32 (n_items,) or None for zeros.
    repeats
        What an item that a history repeats weighs: the "sum" of its weights, or the "last" of them, as in training.
    default_weight
        What an item weighs that is listed without a weight: 1 for counts, something like the mean for ratings.
    """

    prior: FloatArray
    confidence: tuple[float, float]
    target: tuple[float, float]
    item_offset: FloatArray | None = None
    repeats: Literal["sum", "last"] = "sum"
    default_weight: float = 1.0

    def __post_init__(self) -> None:
        n_factors = np.shape(self.prior)[0] if np.ndim(self.prior) else None
        prior = finite_floats(self.prior, "fold_in.prior", n_factors, n_factors)
        if not np.allclose(prior, prior.T, rtol=1e-3, atol=1e-6 * float(np.abs(prior).max(initial=0))):
            raise DataError("fold_in.prior: expected a symmetric matrix, got one that is not.")
        try:
            np.linalg.cholesky(prior.astype(np.float64))
        except np.linalg.LinAlgError:
            raise DataError(
                "fold_in.prior: expected a positive definite matrix, got one that is not; add a regularization."
            ) from None
        object.__setattr__(self, "prior", prior)
        if self.item_offset is not None:
            object.__setattr__(self, "item_offset", finite_floats(self.item_offset, "fold_in.item_offset", None))


@dataclass(frozen=True, eq=False)
class DotForm(_Picklable):
    """Scores are inner products of a query vector with the item factors.

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

    @cached_property
    def index(self) -> ops.ItemIndex:
        """The compiled top-k index over the items, built at first use and shared by threads."""
        return ops.ItemIndex(self.item_factors, self.item_bias)

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
            return self.encoder.encode(histories, self.item_factors)
        assert self.fold_in is not None
        return ops.solve_rows(
            histories.to_csr(self.n_items, self.fold_in.repeats),
            self.item_factors,
            prior=self.fold_in.prior,
            confidence=self.fold_in.confidence,
            target=self.fold_in.target,
            item_offset=self.fold_in.item_offset,
            n_threads=n_threads,
        )

    def rank(
        self,
        user_index: IndexArray | None,
        histories: Histories | None,
        k: int,
        filters: Filters = NO_FILTERS,
        n_threads: int = 0,
    ) -> Ranking:
        """Top k of each query, by the order rule of :class:`~recsys_core.types.Ranking`."""
        queries = self.encode(user_index, histories, n_threads)
        return self.index.topk(queries, k, **vars(filters), n_threads=n_threads)

    def similar(self, item_index: IndexArray, k: int, n_threads: int = 0) -> Ranking:
        """The k items whose factors have the largest cosine with each given item's, itself left out."""
        queries = self.likeness_factors[item_index]
        return self._cosine_index.topk(queries, k, exclude=_one_hot(item_index, self.n_items), n_threads=n_threads)

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
        if self.encoder is not None:
            arrays["encoder.graph"] = np.frombuffer(self.encoder.graph, np.uint8)
            meta["encoder"] = {"max_length": self.encoder.max_length}
        return arrays, meta

    @classmethod
    def from_state(cls, arrays: Mapping[str, Any], meta: Mapping[str, Any]) -> DotForm:
        """Inverse of :meth:`state`."""
        fold_in = None
        if "fold_in" in meta:
            saved = meta["fold_in"]
            fold_in = FoldIn(
                arrays["fold_in.prior"],
                tuple(saved["confidence"]),
                tuple(saved["target"]),
                arrays.get("fold_in.item_offset"),
                saved["repeats"],
                saved["default_weight"],
            )
        encoder = None
        if "encoder" in meta:
            encoder = HistoryEncoder(arrays["encoder.graph"].tobytes(), meta["encoder"]["max_length"])
        return cls(arrays["item_factors"], arrays.get("item_bias"), arrays.get("user_factors"), fold_in, encoder)


@dataclass(frozen=True, eq=False)
class ItemItemForm(_Picklable):
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
        one_hot = _one_hot(item_index, self.n_items)
        ranking = ops.item_item_topk(one_hot, self.weights, k, exclude=one_hot, n_threads=n_threads)
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


@dataclass(frozen=True, eq=False)
class StaticForm(_Picklable):
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

    @property
    def n_items(self) -> int:
        """Items that it scores."""
        return len(self.scores)

    @cached_property
    def index(self) -> ops.ItemIndex:
        """The compiled index: the scores are one-dimensional item factors, asked for with the query (1)."""
        return ops.ItemIndex(np.ascontiguousarray(self.scores[:, None]))

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


Form: TypeAlias = DotForm | ItemItemForm | StaticForm
"""How a fitted model scores."""

_FORMS: dict[str, type[DotForm] | type[ItemItemForm] | type[StaticForm]] = {
    form.kind: form for form in (DotForm, ItemItemForm, StaticForm)
}


def form_from_state(kind: str, arrays: Mapping[str, Any], meta: Mapping[str, Any]) -> Form:
    """Build a form from what its ``state()`` returned.

    Raises
    ------
    FormatError
        ``kind`` is not a form that this version knows, or an array is missing.
    """
    if kind not in _FORMS:
        raise FormatError(
            f"form: expected one of {', '.join(_FORMS)}, got {kind!r}; it was written by a newer recsys-core."
        )
    try:
        return _FORMS[kind].from_state(arrays, meta)
    except KeyError as missing:
        raise FormatError(f"form {kind!r}: {missing} is missing from the saved state; write it again.") from None


def _one_hot(item_index: IndexArray, n_items: int) -> CSR:
    n = len(item_index)
    parts = (np.ones(n, np.float32), item_index.astype(np.int32), np.arange(n + 1, dtype=np.int64))
    return sp.csr_matrix(parts, shape=(n, n_items))
