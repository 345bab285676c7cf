"""From what a caller asks in their own ids to positions in a model's id maps."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import narwhals as nw
import numpy as np
import numpy.typing as npt
import polars as pl

from recsys_core.data import Histories, IdMap, Interactions
from recsys_core.data.frames import to_series
from recsys_core.errors import ConfigError, DataError, UnknownIdError
from recsys_core.models.user_features import DescribedHistories, UserFeatures
from recsys_core.types import FloatArray, IndexArray

__all__ = [
    "OnUnknown",
    "Query",
    "as_ids",
    "check_on_unknown",
    "check_one_given",
    "known_items",
    "resolve_allowed",
    "resolve_items",
    "resolve_query",
    "resolve_users",
]

OnUnknown: TypeAlias = Literal["raise", "warn", "ignore", "fallback"]
"""What to do about ids that a model does not know."""
_ON_UNKNOWN = ("raise", "warn", "ignore", "fallback")


@dataclass(frozen=True, eq=False)
class Query:
    """A request by position.

    Attributes
    ----------
    labels
        What to call each row of the answer.
    user_index
        int64 positions of known users, or None when histories are asked for.
    histories
        Histories over the model's items, or None.
    fallback
        bool, shape (n_labels,): the rows that are to get the most popular items.  The model is asked for the others,
        in their order.
    """

    labels: pl.Series
    user_index: IndexArray | None
    histories: Histories | None
    fallback: npt.NDArray[np.bool_]


def as_ids(values: Any) -> pl.Series:
    """One id, or any sequence of ids, as a series."""
    if isinstance(values, Iterator):
        values = list(values)
    if isinstance(values, np.ndarray) and values.ndim == 0:
        values = values.item()
    if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
        return to_series([values], "ids")
    return to_series(values, "ids")


def check_on_unknown(on_unknown: str, choices: tuple[str, ...] = _ON_UNKNOWN) -> None:
    """Check that it is one of the choices.

    Raises
    ------
    ConfigError
        It is not.
    """
    if on_unknown not in choices:
        raise ConfigError(f"on_unknown: expected one of {', '.join(choices)}, got {on_unknown!r}.")


def check_one_given(users: Any, histories: Any, asking: str = "recommend", *, user_features: Any = None) -> None:
    """Check that either users or histories are asked about, or features of users without a history.

    Raises
    ------
    DataError
        Both users and histories are given, or nothing, or features of known users.
    """
    if user_features is not None:
        if users is not None:
            raise DataError(
                "user_features: expected histories beside them, or nothing, got users; a known user is answered by "
                "what training knew. Ask by histories=..., user_features=... to say what is known now."
            )
        return
    if (users is None) == (histories is None):
        given = "neither" if users is None else "both"
        raise DataError(f"{asking}: expected either users or histories, got {given}; give exactly one.")


def known_items(items: IdMap, item_ids: Any, argument: str) -> IndexArray | None:
    """Positions of the known ones among ``item_ids``; None stays None."""
    if item_ids is None:
        return None
    index = items.index_of(as_ids(item_ids), argument=argument)
    return np.unique(index[index >= 0])


def resolve_allowed(items: IdMap, item_ids: Any, on_unknown: OnUnknown) -> IndexArray | None:
    """Positions of the known ones among the allowed ``item_ids``; None stays None.

    Lists of what is in stock name items that a model has never seen, and go on naming others.  A list without any known
    item is more likely one of wrong ids, and is reported as ``on_unknown`` says.

    Raises
    ------
    UnknownIdError
        There are ids, all of them are unknown, and ``on_unknown="raise"``.
    """
    index = known_items(items, item_ids, "allow")
    if index is not None and not len(index):
        _report_unknown("allow", "item", as_ids(item_ids), on_unknown)
    return index


def resolve_items(items: IdMap, item_ids: Any, on_unknown: OnUnknown, argument: str) -> tuple[pl.Series, IndexArray]:
    """Item ids as they came, and their positions, -1 for an unknown one; it is reported as ``on_unknown`` says.

    Raises
    ------
    UnknownIdError
        An id is unknown and ``on_unknown="raise"``.
    """
    labels = as_ids(item_ids)
    index = items.index_of(labels, argument=argument)
    labels = _in_type_of(labels, items)
    _report_unknown(argument, "item", labels.filter(pl.Series(index < 0)), on_unknown)
    return labels, index


def resolve_users(users: IdMap, user_ids: Any, on_unknown: OnUnknown) -> tuple[pl.Series, IndexArray]:
    """User ids as they came, and their positions, -1 for an unknown one; it is reported as ``on_unknown`` says.

    Raises
    ------
    UnknownIdError
        An id is unknown and ``on_unknown="raise"``.
    DataError
        A table is given instead of ids.
    """
    if hasattr(user_ids, "columns"):
        raise DataError("users: expected ids, got a table; pass its column, such as table['user_id'].")
    labels = as_ids(user_ids)
    index = users.index_of(labels, argument="users")
    labels = _in_type_of(labels, users)
    _report_unknown("users", "user", labels.filter(pl.Series(index < 0)), on_unknown)
    return labels, index


def _in_type_of(labels: pl.Series, ids: IdMap) -> pl.Series:
    # Answers carry the type of the training data.
    if (labels.dtype.is_integer() and ids.ids.dtype.is_integer()) or not len(labels):
        return labels.cast(ids.ids.dtype)
    return labels


def resolve_query(
    users: IdMap,
    items: IdMap,
    user_ids: Any,
    histories: Any,
    on_unknown: OnUnknown,
    default_weight: float,
    described: UserFeatures | None = None,
) -> Query:
    """Turn the arguments of ``recommend`` into a :class:`Query`; items listed without a weight get ``default_weight``.

    ``described`` are the askers' features, prepared: row by row the histories' where these are a list, by ``user_id``
    where they have labels.

    Raises
    ------
    UnknownIdError
        An id is unknown and ``on_unknown="raise"``.
    DataError
        Both or neither of ``user_ids`` and ``histories`` are given, or the features are of others.
    """
    check_on_unknown(on_unknown)
    check_one_given(user_ids, histories, user_features=described)
    if user_ids is not None:
        return _users_query(users, user_ids, on_unknown)
    if histories is None:
        assert described is not None
        histories = [[]] * described.n_rows
    return _histories_query(items, histories, on_unknown, default_weight, described)


def _users_query(users: IdMap, user_ids: Any, on_unknown: OnUnknown) -> Query:
    labels, index = resolve_users(users, user_ids, on_unknown)
    known = index >= 0
    if on_unknown == "fallback":
        return Query(labels, index[known], None, ~known)
    labels = labels.filter(pl.Series(known))
    return Query(labels, index[known], None, np.zeros(len(labels), np.bool_))


def _histories_query(
    items: IdMap, histories: Any, on_unknown: OnUnknown, default_weight: float, described: UserFeatures | None
) -> Query:
    labels, indptr, item_ids, weights = _flatten(histories)
    weights = np.where(np.isnan(weights), np.float32(default_weight), weights)
    index = items.index_of(item_ids, argument="histories")
    known = index >= 0
    _report_unknown("histories", "item", item_ids.filter(pl.Series(~known)), on_unknown)
    kept_before = np.concatenate([[0], np.cumsum(known)])
    resolved = Histories(kept_before[indptr].astype(np.int64), index[known].astype(np.int32), weights[known])
    if described is not None:
        if labels is not None:
            described = described.of(labels)
        elif described.ids is not None:
            labels = described.ids
        resolved = described.beside(resolved)
    if labels is None:
        labels = pl.Series(np.arange(len(resolved)))
    says_something = resolved.says_something if isinstance(resolved, DescribedHistories) else resolved.lengths > 0
    fallback = ~says_something & (on_unknown == "fallback")
    return Query(labels, None, resolved.rows(~fallback), fallback)


def _flatten(histories: Any) -> tuple[pl.Series | None, IndexArray, pl.Series, FloatArray]:
    """Labels, row starts, item ids and weights, of histories in any accepted shape.

    Labels are None where askers have no name but their place, and a weight is NaN where none is given.
    """
    if isinstance(histories, Mapping):
        return as_ids(list(histories)), *_flatten_lists(histories)
    if isinstance(histories, str | bytes):
        raise DataError(f"histories: expected a list of item ids, got {histories!r}; wrap it in a list.")
    if isinstance(histories, Sequence | np.ndarray | pl.Series):
        nested = not len(histories) or any(_is_row(row) for row in histories)
        by_position = dict(enumerate(histories if nested else [histories]))
        return None, *_flatten_lists(by_position)
    interactions = histories if isinstance(histories, Interactions) else Interactions.from_frame(histories)
    rows = interactions.histories()
    item_ids = interactions.items.labels(rows.indices.astype(np.int64))
    weighted = interactions is histories or "weight" in nw.from_native(histories).collect_schema().names()
    weights = rows.weights if weighted else np.full(len(item_ids), np.nan, np.float32)
    return interactions.users.ids, rows.indptr, item_ids, weights


def _flatten_lists(rows: Mapping[Any, Any]) -> tuple[IndexArray, pl.Series, FloatArray]:
    for label, row in rows.items():
        if not _is_row(row):
            raise DataError(f"histories[{label!r}]: expected a list of item ids, got {row!r}.")
    lengths = np.array([len(row) for row in rows.values()], np.int64)
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    item_ids = as_ids([item for row in rows.values() for item in row])
    weights = [np.zeros(0, np.float32), *(_weights(label, row) for label, row in rows.items())]
    return indptr, item_ids, np.concatenate(weights)


def _weights(label: Any, row: Any) -> FloatArray:
    """The weights of a row that maps items to them, NaN for one that lists items alone."""
    if not isinstance(row, Mapping):
        return np.full(len(row), np.nan, np.float32)
    weights = np.asarray(list(row.values()))
    bad = [] if weights.dtype.kind in "fiu" else list(row)
    bad = bad or [item for item, weight in row.items() if not (math.isfinite(weight) and weight >= 0)]
    if bad:
        raise DataError(
            f"histories[{label!r}]: expected weights of at least 0 and finite, got {row[bad[0]]!r} for item {bad[0]!r}."
        )
    return weights.astype(np.float32)


def _is_row(value: Any) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, str | bytes)


def _report_unknown(argument: str, what: str, unknown: pl.Series, on_unknown: OnUnknown) -> None:
    if not len(unknown) or on_unknown in ("ignore", "fallback"):
        return
    shown = ", ".join(repr(value) for value in unknown.unique(maintain_order=True).head(5).to_list())
    message = f"{argument}: {unknown.n_unique()} unknown {what}(s): {shown}"
    if on_unknown == "raise":
        raise UnknownIdError(
            f"{message}; expected {what}s seen in training; pass on_unknown='ignore' to leave them out"
            + (" or 'fallback' for the most popular items." if what == "user" else ".")
        )
    warnings.warn(f"{message}; left out.", UserWarning, stacklevel=_level_of_caller())


def _level_of_caller() -> int:
    """How far up the first caller outside this package is, counted as ``warnings.warn`` does from whoever asks."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals["__name__"].startswith("recsys_core."):
        level, frame = level + 1, frame.f_back
    return level
