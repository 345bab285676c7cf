"""A fitted model: a scoring form, the ids it speaks of, and what each training user has already had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import scipy.sparse as sp

from recsys_core.data import Histories, IdMap
from recsys_core.errors import ConfigError, DataError, ShapeError, UnknownIdError
from recsys_core.models.arrays import pattern, positions, require_csr
from recsys_core.models.erasure import without_users
from recsys_core.models.explanation import explain_histories
from recsys_core.models.filters import Filters
from recsys_core.models.forms import DotForm, Form, PairForm, StaticForm
from recsys_core.models.new_items import add_items, require_item_encoder
from recsys_core.models.query import (
    OnUnknown,
    Query,
    as_ids,
    check_one_given,
    known_items,
    resolve_allowed,
    resolve_query,
)
from recsys_core.models.scoring import score_pairs
from recsys_core.models.user_features import UserFeatures, read_user_features
from recsys_core.types import CSR, FloatArray, IndexArray, Ranking

if TYPE_CHECKING:
    from recsys_core.models.reranked import RerankedModel
    from recsys_core.models.reranker import Reranker

__all__ = ["FittedModel", "Provenance", "check_at_least_one", "parts"]


@dataclass(frozen=True)
class Provenance:
    """Where a model came from: the name it was created by, its settings, and the distribution that ships it."""

    name: str = ""
    distribution: str = ""
    version: str = ""
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class FittedModel:
    """What a fitted recommender computes, apart from how it was trained.

    This is all that evaluation, export, a bundle and serving need; a plugin author never builds one, since
    :meth:`Recommender.fit <recsys_core.models.Recommender.fit>` does.

    Parameters
    ----------
    form
        How scores are computed.
    users, items
        External ids; the position of an id is its index.
    histories
        Each training user's interactions in time order, over ``items``.
    item_features
        Table with ``item_id`` first, or None; carried along for titles, never used for scoring.
    provenance
        Name, settings and distribution of the model.
    """

    form: Form
    users: IdMap
    items: IdMap
    histories: Histories
    item_features: pl.DataFrame | None = None
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        if self.form.n_items != len(self.items):
            raise ShapeError(
                f"form: expected scores for the {len(self.items)} items of the id map, got {self.form.n_items}."
            )
        for name in ("user_factors", "user_inputs"):
            table = getattr(self.form, name, None)
            if table is not None and len(table) != len(self.users):
                raise ShapeError(f"form.{name}: expected {len(self.users)} rows, one a user, got {len(table)}.")

    def recommend(
        self,
        users: Any = None,
        *,
        histories: Any = None,
        user_features: Any = None,
        k: int = 10,
        filter_seen: bool = True,
        allow: Sequence[Any] | None = None,
        deny: Sequence[Any] | None = None,
        on_unknown: OnUnknown = "raise",
        n_threads: int = 0,
    ) -> pl.DataFrame:
        """Recommend items to known users or to histories that the model has never seen.

        Parameters
        ----------
        users
            One user id or a sequence of them.  Give either this or ``histories``.
        histories
            What each asker has had: a list of item ids, a list of such lists, a dict from a label of yours to such a
            list, or a table with ``user_id``, ``item_id`` and optionally ``weight`` and ``datetime``.  A dict from item
            ids to weights may stand for a list of ids.  An item without a weight counts 1, or like a usual rating in
            a model that predicts ratings.  ``[[]]`` is one asker who has had nothing, ``[]`` is no asker.
        user_features
            What else is known of each asker, for a model that reads features of users: a table with a row for each, a
            list of dicts, or one dict; with the ``histories``, or alone for those who have had nothing.  What is null
            or left out is missing, and so is a value that training did not see.  Rows belong to a list of histories in
            its order, and to histories with labels by a column ``user_id``, which otherwise names the askers.
        k
            Items to recommend to each, at least 1.
        filter_seen
            Leave out what a known user had in training, or what is in the history.
        allow, deny
            Item ids that may, or may not, be recommended.  An id that the model does not know changes nothing;
            ``allow=[]`` allows nothing, and so does an ``allow`` of unknown ids only, about which ``on_unknown`` says
            what to do.
        on_unknown
            What to do about an unknown user, or an unknown item in a history: ``"raise"``; ``"warn"`` or ``"ignore"``
            to leave it out; ``"fallback"`` to leave unknown items out, and to give the most popular items, those of the
            most users, to unknown users, to those of whose history nothing is left, and to whom the model itself would
            give nothing.
        n_threads
            Threads to use, 0 for all.

        Returns
        -------
        polars.DataFrame
            ``user_id, item_id, score, rank``, best first, rank from 1; for histories given as a list, ``user_id`` is
            the position in it.  A user with fewer than k admissible items has fewer rows.

        Raises
        ------
        UnknownIdError
            An id is unknown and ``on_unknown="raise"``.
        DataError
            Both or neither of ``users`` and ``histories`` are given, or the model cannot answer that kind; features of
            users are given to a model that reads none, or to known users, or have a column that training did not.
        DTypeError
            A column of the features is of another type than in training.
        ShapeError
            There are not as many rows of features as histories.

        Notes
        -----
        An asker of whom nothing is known, since the history is empty, or all of its items are unknown and left out,
        and no feature is known either, gets what the model says of everybody: its scores, where it has one an item, its
        item biases, or what its encoder makes of no items.  A model with none of these scores all items alike, 0, then:
        it has nothing to say, and there are no rows.  ``on_unknown="fallback"`` gives the most popular items in either
        case.  A known user without events is answered as the model was trained, and gets the most popular items where
        that is nothing.
        """
        k = self._within_catalogue(k)
        query = self._query(users, histories, user_features, on_unknown)
        allow_index, deny_index = resolve_allowed(self.items, allow, on_unknown), known_items(self.items, deny, "deny")
        ranking = self.recommend_indices(
            query.user_index,
            histories=query.histories,
            k=k,
            filter_seen=filter_seen,
            allow=allow_index,
            deny=deny_index,
            n_threads=n_threads,
        )
        if on_unknown == "fallback":
            filters = Filters(allow=allow_index, deny=deny_index)
            ranking = self._with_popular(query, ranking, k, filter_seen, filters, n_threads)
        return self._label(query.labels, ranking)

    def recommend_indices(
        self,
        user_index: IndexArray | None = None,
        *,
        histories: Histories | CSR | None = None,
        user_features: Any = None,
        k: int = 10,
        filter_seen: bool = True,
        exclude: CSR | None = None,
        allow: IndexArray | CSR | None = None,
        deny: IndexArray | None = None,
        n_threads: int = 0,
    ) -> Ranking:
        """Recommend by position instead of by id: the path for evaluation and for batches of millions.

        Parameters
        ----------
        user_index
            int64 (n_queries,), positions in ``users``.  Give either this or ``histories``.
        histories
            :class:`~recsys_core.data.Histories` or CSR (n_queries, n_items), over the positions in ``items``.
        user_features
            As in :meth:`recommend`, with the histories' rows or alone; a column ``user_id`` is left aside.
        k
            Items a query, at least 1.
        filter_seen
            Leave out what a known user had in training, or what is in the history.
        exclude
            CSR (n_queries, n_items); stored entries are left out as well.
        allow
            The only items to recommend: int64 positions for everybody, or CSR (n_queries, n_items) with a row for each.
        deny
            int64 positions of items to recommend to nobody.
        n_threads
            Threads to use, 0 for all.

        Returns
        -------
        Ranking
            ``indices`` int64 and ``scores`` float32, both (n_queries, k), padded with -1 and ``-inf``; nothing but
            padding after an empty history that tells no two items apart, see :meth:`recommend`.
        """
        check_one_given(user_index, histories, user_features=user_features)
        check_at_least_one(k, "k")
        n_items = len(self.items)
        if user_index is not None:
            user_index = positions(user_index, "user_index", len(self.users))
            seen = self.histories.rows(user_index) if filter_seen or not self.form.accepts_users else None
            asked = None if self.form.accepts_users else seen
            n_queries = len(user_index)
        else:
            seen = asked = self._asked(histories, user_features)
            n_queries = len(asked)
        by_user = user_index if self.form.accepts_users else None
        if exclude is not None:
            exclude = require_csr(exclude, "exclude", (n_queries, n_items))
        if sp.issparse(allow):
            allow = require_csr(allow, "allow", (n_queries, n_items))
        elif allow is not None:
            allow = positions(allow, "allow", n_items)
        if deny is not None:
            deny = positions(deny, "deny", n_items)
        if filter_seen:
            assert seen is not None
            exclude = _merged(seen.to_csr(n_items), exclude)
        return self._rank(by_user, asked, k, Filters(exclude, allow, deny), n_threads)

    def score(
        self,
        users: Any = None,
        *,
        histories: Any = None,
        user_features: Any = None,
        item_ids: Any,
        on_unknown: Literal["raise", "warn", "ignore"] = "raise",
        n_threads: int = 0,
    ) -> pl.DataFrame:
        """Score given items for given users or histories, such as to predict ratings.

        Parameters
        ----------
        users, histories, user_features
            As in :meth:`recommend`.
        item_ids
            One item id or a sequence of them.  Askers and items are paired one by one; one of either is paired with all
            of the other.
        on_unknown
            What to do about an unknown user, an unknown item to score, or one in a history: ``"raise"``, or ``"warn"``
            or ``"ignore"`` to give no score, or to leave the item out of the history.
        n_threads
            Threads to use, 0 for all.

        Returns
        -------
        polars.DataFrame
            ``user_id, item_id, score``, a row a pair, in their order.  The score is what :meth:`recommend` gives with
            ``allow=[item]`` and ``filter_seen=False``, up to the last bits; null where it gives nothing, and where an
            id is unknown.  Behind a re-ranker, it is the model's own.

        Raises
        ------
        UnknownIdError
            An id is unknown and ``on_unknown="raise"``.
        ShapeError
            There are not as many items as askers, and not one of either.
        DataError
            Both or neither of ``users`` and ``histories`` are given, or the model cannot answer that kind.
        """
        described = self._described(user_features)
        return score_pairs(self, users, histories, described, item_ids, on_unknown, self._default_weight, n_threads)

    def score_indices(
        self,
        user_index: IndexArray | None = None,
        *,
        item_index: IndexArray,
        histories: Histories | CSR | None = None,
        user_features: Any = None,
        row: IndexArray | None = None,
        n_threads: int = 0,
    ) -> FloatArray:
        """Score pairs by position instead of by id.

        Parameters
        ----------
        user_index
            int64 (n_pairs,), positions in ``users``.  Give either this or ``histories``.
        item_index
            int64 (n_pairs,), positions in ``items``.
        histories
            :class:`~recsys_core.data.Histories` or CSR (n_queries, n_items), over the positions in ``items``.
        user_features
            As in :meth:`recommend_indices`.
        row
            int64 (n_pairs,): the row of ``histories`` or ``user_features`` that each pair is of; by default, a row is
            of one pair.
        n_threads
            Threads to use, 0 for all.

        Returns
        -------
        numpy.ndarray
            float32 (n_pairs,); NaN where the model has nothing to say.

        Notes
        -----
        A query is computed once for all of its pairs.  A pair costs n_factors for a ``DotForm``, a weight looked up
        for every item of the history for an ``ItemItemForm``, and a run of the scorer for a ``PairForm``.  It is
        computed by the scoring form, also where a bundle's graph answers :meth:`recommend`.
        """
        check_one_given(user_index, histories, "score", user_features=user_features)
        n_items = len(self.items)
        item_index = positions(item_index, "item_index", n_items)
        if user_index is not None:
            asked, row = np.unique(positions(user_index, "user_index", len(self.users)), return_inverse=True)
            by_user = asked if self.form.accepts_users else None
            rows = None if self.form.accepts_users else self.histories.rows(asked)
        else:
            by_user, rows = None, self._asked(histories, user_features)
            row = np.arange(len(rows)) if row is None else positions(row, "row", len(rows))
        if len(row) != len(item_index):
            raise ShapeError(f"item_index: expected one item for each of {len(row)} queries, got {len(item_index)}.")
        return self.form.score(by_user, rows, row, item_index, n_threads)

    def similar_items(self, item_ids: Any, k: int = 10, *, n_threads: int = 0) -> pl.DataFrame:
        """The items most like each given one.

        Parameters
        ----------
        item_ids
            One item id or a sequence of them.
        k
            Items for each, at least 1.
        n_threads
            Threads to use, 0 for all.

        Returns
        -------
        polars.DataFrame
            ``item_id, similar_item_id, score, rank``.  The score is the cosine of the factors for a ``DotForm`` and
            the weight between the two for an ``ItemItemForm``.

        Raises
        ------
        UnknownIdError
            An item is unknown.
        DataError
            The model gives one score an item and so relates no two of them.
        """
        k = self._within_catalogue(k)
        labels = as_ids(item_ids)
        table = self._label(labels, self.form.similar(self._known_items(labels), k, n_threads))
        return table.rename({"item_id": "similar_item_id"}).rename({"user_id": "item_id"})

    def explain(
        self,
        users: Any = None,
        *,
        histories: Any = None,
        user_features: Any = None,
        item_ids: Any = None,
        k: int = 10,
        n_reasons: int = 3,
        on_unknown: OnUnknown = "raise",
        n_threads: int = 0,
    ) -> pl.DataFrame:
        """Say which items of a history recommendations rest on.

        Parameters
        ----------
        users, histories, user_features
            As in :meth:`recommend`.  A known user is explained by what they had in training.  Features stay as they are
            when an item is taken away, and are no reasons themselves.
        item_ids
            One item id or a sequence of them, to explain to everybody asked about; None explains what they are
            recommended.
        k
            How many of those, at least 1.
        n_reasons
            Items of the history to name for each, at most; at least 1.
        on_unknown
            As in :meth:`recommend`; a fallback has no reasons and no rows.
        n_threads
            Threads to use, 0 for all.

        Returns
        -------
        polars.DataFrame
            ``user_id, item_id, score, reason_item_id, contribution, rank``.  The contribution is what the score would
            lose if the reason had never happened, the largest first, rank from 1; one below 0 speaks against the item,
            and what changes nothing is no reason.  The score is the history's, which for a known user may differ from
            that of the vector that was learned.

        Raises
        ------
        UnknownIdError
            An id is unknown.
        DataError
            The model does not score from histories, or gives everybody the same scores.

        Notes
        -----
        Costs one query more than a history has distinct items; see :mod:`recsys_core.models.explanation`.
        """
        k = self._within_catalogue(k)
        check_at_least_one(n_reasons, "n_reasons")
        if isinstance(self.form, StaticForm) or not self.form.accepts_histories:
            raise DataError(
                f"explain: expected a model whose scores depend on a history, got {self.provenance.name or 'another'}; "
                "use one that `recsys models list` shows with histories."
            )
        query = self._query(users, histories, user_features, on_unknown)
        asked = query.histories if query.user_index is None else self.histories.rows(query.user_index)
        assert asked is not None
        if item_ids is None:
            ranking = self.recommend_indices(query.user_index, histories=query.histories, k=k, n_threads=n_threads)
            wanted = [items[items >= 0] for items in ranking.indices]
        else:
            wanted = [self._known_items(as_ids(item_ids).unique(maintain_order=True))] * len(asked)
        labels = query.labels.filter(pl.Series(~query.fallback))
        return explain_histories(self, labels, asked, wanted, n_reasons, n_threads)

    def encode_items(self, item_features: pl.DataFrame) -> FloatArray:
        """Vectors of items that are not in the catalogue, from their features alone.

        Parameters
        ----------
        item_features
            A table with the columns of the training's item features, one row an item.

        Returns
        -------
        numpy.ndarray
            float32 (n_rows, n_factors), to compare with the form's ``item_factors``.

        Raises
        ------
        DataError
            The model was trained without item features, or is of a kind that does not learn from them.
        """
        return require_item_encoder(self.form, "encode_items").encode(item_features)

    def with_items(self, item_features: pl.DataFrame) -> FittedModel:
        """The model with new items in its catalogue, each known by its features alone.

        Parameters
        ----------
        item_features
            A table with ``item_id`` and the columns of the training's item features, one row a new item.

        Returns
        -------
        FittedModel
            A new one; this one stays as it is.  The new items stand behind the known ones, whose positions stay, and
            may be recommended, named in a history, and allowed or denied as any.  Nothing is trained.

        Raises
        ------
        DataError
            As :meth:`encode_items`; or an id is missing, repeated, or known already.

        Notes
        -----
        O(n_items n_factors) for copying the factors, beside encoding the new ones.
        """
        return FittedModel(**{**parts(self), **add_items(self, item_features)})

    def reranked(self, reranker: Reranker, n_candidates: int = 100) -> RerankedModel:
        """The same model with a re-ranker behind it, which chooses every list from the model's best candidates.

        Parameters
        ----------
        reranker
            Such as ``create_reranker("mmr", trade_off=0.5)``.
        n_candidates
            Candidates of each query that it chooses from, at least 1; more where more are asked for.

        Returns
        -------
        RerankedModel
            To be asked and evaluated as any model.  Scores are still the model's, so they need not fall down a list.

        Notes
        -----
        A re-ranker is Python code and no part of the ONNX graph: a bundle is saved from the model alone, and given its
        re-ranker where it is served, ``runtime.load(...).reranked(...)``.

        Raises
        ------
        DTypeError, ConfigError
            An argument is something else, or out of range.
        """
        from recsys_core.models.reranked import rerank_model

        return rerank_model(self, reranker, n_candidates)

    def without_users(self, users: Any) -> FittedModel:
        """The same model without some of the users it was trained on, for those who ask to be forgotten.

        Parameters
        ----------
        users
            One user id or a sequence of them; ``model.users.ids`` for everybody.

        Returns
        -------
        FittedModel
            Without their ids, what they had, and the vectors that were learned for them alone.  Everybody else is
            answered as before.  This one stays as it is, so that others can go on asking it meanwhile.

        Raises
        ------
        UnknownIdError
            A user is unknown.
        DataError
            Nobody would stay, in a model that answers only for users it was trained on.

        Notes
        -----
        What the items' weights and vectors have learned from them stays, as one voice among many, until the model is
        fitted again on data without them.
        """
        return FittedModel(**{**parts(self), **without_users(self, users)})

    def _rank(
        self,
        user_index: IndexArray | None,
        histories: Histories | None,
        k: int,
        filters: Filters,
        n_threads: int,
    ) -> Ranking:
        # The one step that a bundle's ONNX graph or a re-ranker can take over.
        return self.form.rank(user_index, histories, k, filters, n_threads)

    def _with_popular(
        self, query: Query, ranking: Ranking, k: int, filter_seen: bool, filters: Filters, n_threads: int
    ) -> Ranking:
        """The ranking with the most popular items for strangers, and in the rows in which the model gives nothing."""
        empty = np.flatnonzero(ranking.indices[:, 0] < 0)
        # Filters may have emptied them, which is no error in a model that keeps no users and knows nothing popular.
        if len(empty) and len(self.histories.indices):
            asked = query.histories if query.user_index is None else self.histories.rows(query.user_index)
            assert asked is not None
            seen = asked.rows(empty).to_csr(len(self.items)) if filter_seen else None
            popular = self._popularity.rank(empty, None, k, replace(filters, exclude=seen), n_threads)
            ranking = Ranking(ranking.indices.copy(), ranking.scores.copy())
            ranking.indices[empty], ranking.scores[empty] = popular
        if query.fallback.any():
            popular = self._popularity.rank(np.zeros(1, np.int64), None, k, filters, n_threads)
            ranking = _interleaved(ranking, popular, query.fallback)
        return ranking

    def _query(self, users: Any, histories: Any, user_features: Any, on_unknown: OnUnknown) -> Query:
        check_one_given(users, histories, user_features=user_features)
        described = self._described(user_features)
        return resolve_query(self.users, self.items, users, histories, on_unknown, self._default_weight, described)

    def _described(self, user_features: Any) -> UserFeatures | None:
        return read_user_features(user_features, self.form.user_preparation, self.provenance.name or "this one")

    @property
    def _default_weight(self) -> float:
        form = self.form.retriever if isinstance(self.form, PairForm) else self.form
        fold_in = form.fold_in if isinstance(form, DotForm) else None
        return fold_in.default_weight if fold_in is not None else 1.0

    @cached_property
    def _popularity(self) -> StaticForm:
        if not len(self.histories.indices):
            raise DataError(
                "on_unknown: expected 'raise', 'warn' or 'ignore' for a model that keeps no users, got 'fallback', "
                "which counts what they had; show a list of your own."
            )
        # By users, as the model `popularity` ranks unless told otherwise: repeats of one user count once.
        pairs = self.histories.to_csr(len(self.items))
        return StaticForm(np.bincount(pairs.indices, minlength=len(self.items)).astype(np.float32))

    def _within_catalogue(self, k: int) -> int:
        """The length of lists that become rows of a table: these hold no padding, so that no `k` makes them large."""
        check_at_least_one(k, "k")
        return min(k, max(1, len(self.items)))

    def _known_items(self, labels: pl.Series) -> IndexArray:
        index = self.items.index_of(labels, argument="item_ids")
        if (index < 0).any():
            missing = labels.filter(pl.Series(index < 0))
            raise UnknownIdError(f"item_ids: unknown item {missing[0]!r} ({len(missing)} unknown in all).")
        return index

    def _label(self, labels: pl.Series, ranking: Ranking) -> pl.DataFrame:
        row, column = np.nonzero(ranking.indices >= 0)
        return pl.DataFrame(
            {
                "user_id": labels.gather(row),
                "item_id": self.items.labels(ranking.indices[row, column]),
                "score": ranking.scores[row, column],
                "rank": column.astype(np.int32) + 1,
            }
        )

    def _asked(self, histories: Histories | CSR | None, user_features: Any) -> Histories:
        """The histories that are asked about, checked, with what else is known of their owners."""
        described = self._described(user_features)
        if not self.form.accepts_histories:
            name = self.provenance.name or "this model"
            raise DataError(
                f"histories: {name} answers only for users it was trained on; "
                "pass users=..., or use a model that answers histories."
            )
        n_items = len(self.items)
        if histories is None:
            assert described is not None
            return described.beside(None)
        asked = histories if isinstance(histories, Histories) else _from_csr(histories, n_items)
        if len(asked.indices) and asked.indices.max() >= n_items:
            raise DataError(f"histories: expected item positions below {n_items}, got {asked.indices.max()}.")
        return asked if described is None else described.beside(asked)


def parts(model: FittedModel) -> dict[str, Any]:
    """What makes up a model, by name: the arguments of :class:`FittedModel`."""
    return {part.name: getattr(model, part.name) for part in fields(FittedModel)}


def check_at_least_one(value: Any, name: str) -> None:
    """Refuse what is no integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ConfigError(f"{name}: expected an integer of at least 1, got {value!r}.")


def _interleaved(ranking: Ranking, popular: Ranking, fallback: npt.NDArray[np.bool_]) -> Ranking:
    """One row of ``popular`` where ``fallback`` holds, the rows of ``ranking`` in their order elsewhere."""
    source = np.where(fallback, len(ranking.indices), np.cumsum(~fallback) - 1)
    return Ranking(*(np.concatenate([own, other])[source] for own, other in zip(ranking, popular, strict=True)))


def _from_csr(matrix: CSR, n_items: int) -> Histories:
    matrix = require_csr(matrix, "histories", (None, n_items))
    indices = positions(matrix.indices, "histories.indices", n_items)
    return Histories(matrix.indptr.astype(np.int64), indices.astype(np.int32), matrix.data)


def _merged(seen: CSR, exclude: CSR | None) -> CSR:
    # Only the structure counts, and a stored zero must survive the sum.
    return seen if exclude is None else pattern(seen) + pattern(exclude)
