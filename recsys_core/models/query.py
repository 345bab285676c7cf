"""From what a caller asks in his own ids to positions in a model's id maps."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl

from recsys_core.data import Histories, IdMap, Interactions
from recsys_core.errors import ConfigError, DataError, UnknownIdError
from recsys_core.types import IndexArray

__all__ = ["OnUnknown", "Query", "as_ids", "resolve_items", "resolve_query"]

OnUnknown: TypeAlias = Literal["raise", "warn", "ignore", "fallback"]
_ON_UNKNOWN = ("raise", "warn", "ignore", "fallback")


@dataclass(frozen=True, eq=False)
class Query:
    """A request by position.

    Attributes
    ----------
    labels
        What to call each answered row.
    user_index
        int64 positions of known users, or None when histories are asked for.
    histories
        Histories over the model's items, or None.
    fallback_labels
        Unknown users who are to get the most popular items.
    """

    labels: pl.Series
    user_index: IndexArray | None
    histories: Histories | None
    fallback_labels: pl.Series

    @property
    def n_fallback(self) -> int:
        return len(self.fallback_labels)


def as_ids(values: Any) -> pl.Series:
    """One id, or any sequence of ids, as a series."""
    if isinstance(values, pl.Series):
        return values
    if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
        return pl.Series([values])
    return pl.Series(values if isinstance(values, list | np.ndarray) else list(values))


def resolve_items(items: IdMap, item_ids: Any) -> IndexArray | None:
    """Positions of the known ones among ``item_ids``; None stays None."""
    if item_ids is None:
        return None
    index = items.index_of(as_ids(item_ids))
    return np.unique(index[index >= 0])


def resolve_query(users: IdMap, items: IdMap, user_ids: Any, histories: Any, on_unknown: OnUnknown) -> Query:
    """Turn the arguments of ``recommend`` into a :class:`Query`.

    Raises
    ------
    UnknownIdError
        An id is unknown and ``on_unknown="raise"``.
    DataError
        Both or neither of ``user_ids`` and ``histories`` are given.
    """
    if on_unknown not in _ON_UNKNOWN:
        raise ConfigError(f"on_unknown: expected one of {', '.join(_ON_UNKNOWN)}, got {on_unknown!r}.")
    if (user_ids is None) == (histories is None):
        given = "neither" if user_ids is None else "both"
        raise DataError(f"recommend: expected either users or histories, got {given}; give exactly one.")
    if user_ids is not None:
        return _users_query(users, user_ids, on_unknown)
    return _histories_query(items, histories, on_unknown)


def _users_query(users: IdMap, user_ids: Any, on_unknown: OnUnknown) -> Query:
    labels = as_ids(user_ids)
    index = users.index_of(labels)
    known = pl.Series(index >= 0)
    unknown_labels = labels.filter(~known)
    _report_unknown("users", "user", unknown_labels, on_unknown)
    fallback = unknown_labels if on_unknown == "fallback" else unknown_labels.clear()
    return Query(labels.filter(known), index[index >= 0], None, fallback)


def _histories_query(items: IdMap, histories: Any, on_unknown: OnUnknown) -> Query:
    labels, indptr, item_ids, weights = _flatten(histories)
    index = items.index_of(item_ids)
    known = index >= 0
    _report_unknown("histories", "item", item_ids.filter(pl.Series(~known)), on_unknown)
    kept_before = np.concatenate([[0], np.cumsum(known)])
    resolved = Histories(kept_before[indptr].astype(np.int64), index[known].astype(np.int32), weights[known])
    return Query(labels, None, resolved, labels.clear())


def _flatten(histories: Any) -> tuple[pl.Series, IndexArray, pl.Series, Any]:
    """Labels, row starts, item ids and weights of histories in any accepted shape."""
    if isinstance(histories, Mapping):
        _, *rest = _flatten_lists(list(histories.values()))
        return as_ids(list(histories)), *rest  # type: ignore[return-value]
    if isinstance(histories, Sequence) and not isinstance(histories, str | bytes):
        nested = any(isinstance(row, Sequence | np.ndarray) and not isinstance(row, str | bytes) for row in histories)
        return _flatten_lists(list(histories) if nested or not histories else [histories])
    if isinstance(histories, np.ndarray):
        return _flatten_lists(list(histories) if histories.ndim == 2 else [histories])
    interactions = histories if isinstance(histories, Interactions) else Interactions.from_frame(histories)
    rows = interactions.histories()
    item_ids = interactions.items.labels(rows.indices.astype(np.int64))
    return interactions.users.ids, rows.indptr, item_ids, rows.weights


def _flatten_lists(rows: list[Any]) -> tuple[pl.Series, IndexArray, pl.Series, Any]:
    lengths = np.array([len(row) for row in rows], np.int64)
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    item_ids = as_ids([item for row in rows for item in row])
    return pl.Series(np.arange(len(rows))), indptr, item_ids, np.ones(len(item_ids), np.float32)


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
    warnings.warn(f"{message}; left out.", UserWarning, stacklevel=4)
