"""What is known of those who ask beside what they had: from a table or dicts to the arrays that an encoder takes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys_core.data import FeaturePreparation, Histories, IdMap
from recsys_core.data.frames import read_table, to_series
from recsys_core.errors import DataError, DTypeError, ShapeError
from recsys_core.types import FloatArray, IndexArray

__all__ = ["USER_INPUTS", "DescribedHistories", "FeatureArrays", "UserFeatures", "feature_feeds", "read_user_features"]

FeatureArrays: TypeAlias = "Mapping[str, FloatArray | IndexArray]"
"""Features of some users by the names of :data:`USER_INPUTS`, a row a user."""

USER_INPUTS = ("user_numeric", "user_categorical", "user_text", "user_vector")
"""The inputs of a graph that take features of users: ``user_`` before the names that
:meth:`FeaturePreparation.arrays <recsys_core.data.FeaturePreparation.arrays>` gives its arrays."""


@dataclass(frozen=True, eq=False)
class DescribedHistories(Histories):
    """Histories of people of whom features are known too, so that both go wherever a history goes.

    Parameters
    ----------
    features
        A row a history.
    """

    features: FeatureArrays

    def rows(self, selection: Any) -> DescribedHistories:
        """Return some rows, in the order asked for; see :meth:`Histories.rows <recsys_core.data.Histories.rows>`."""
        plain, chosen = super().rows(selection), self._chosen(selection)
        features = {name: array[chosen] for name, array in self.features.items()}
        return DescribedHistories(plain.indptr, plain.indices, plain.weights, features)

    @property
    def says_something(self) -> npt.NDArray[np.bool_]:
        """Whether there is an item or a feature, bool (n_rows,)."""
        known = self.lengths > 0
        for array in self.features.values():
            known |= (~np.isnan(array) if array.dtype.kind == "f" else array >= 0).any(axis=1)
        return np.asarray(known)


@dataclass(frozen=True, eq=False)
class UserFeatures:
    """Features of askers, a row each.

    Attributes
    ----------
    ids
        What the askers are called, or None.
    arrays
        Their features.
    n_rows
        Number of askers.
    """

    ids: pl.Series | None
    arrays: FeatureArrays
    n_rows: int

    def of(self, labels: pl.Series) -> UserFeatures:
        """The rows of the askers with these labels, in their order.

        Raises
        ------
        DataError
            There are no ids, or not exactly one row for each label.
        """
        if self.ids is None:
            raise DataError(
                "user_features: expected a column 'user_id' beside histories that have labels, got none; name each "
                "row's asker, or give the histories as a list."
            )
        if self.ids.null_count() or self.ids.n_unique() != len(self.ids):
            raise DataError("user_features: expected each asker once in 'user_id', got null or a repeated id.")
        place = IdMap(self.ids).index_of(labels, argument="histories")
        if (place < 0).any():
            missing = labels.filter(pl.Series(place < 0))
            raise DataError(
                f"user_features: expected a row for each asker, got none for {missing[0]!r} ({len(missing)} in all); "
                "add a row of nulls for whom nothing is known of."
            )
        return UserFeatures(labels, {name: array[place] for name, array in self.arrays.items()}, len(labels))

    def beside(self, histories: Histories | None) -> DescribedHistories:
        """The same askers with their histories, row by row; empty ones if None.

        Raises
        ------
        ShapeError
            There are more or fewer.
        """
        if histories is None:
            histories = Histories(np.zeros(self.n_rows + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
        if len(histories) != self.n_rows:
            raise ShapeError(
                f"user_features: expected a row for each of {len(histories)} histories, got {self.n_rows} rows."
            )
        return DescribedHistories(histories.indptr, histories.indices, histories.weights, self.arrays)


def read_user_features(value: Any, preparation: FeaturePreparation | None, model: str) -> UserFeatures | None:
    """Prepare features of askers as those of training were.

    Parameters
    ----------
    value
        A data frame, a row an asker; a list of dicts; or one dict, of a single asker.  What is null or left out is
        missing, and so are values that training did not see.  ``user_id`` names the asker.  None stays None.
    preparation
        The model's, or None if it reads no features.
    model
        What to call the model in an error.

    Raises
    ------
    DataError
        The model reads no features of users, or there is a column that training did not have.
    DTypeError
        It is something else, or a column is of another type than in training.
    """
    if value is None:
        return None
    if preparation is None:
        raise DataError(
            f"user_features: expected a model that reads features of users when it is asked, got {model}; leave them "
            "out, or train one that does, such as two_tower, on interactions.with_features(user_features=...)."
        )
    n_rows, columns = _columns(value)
    ids = columns.pop("user_id", None)
    for name in columns:
        if name not in (*preparation.columns, *preparation.unread):
            near = difflib.get_close_matches(name, preparation.columns, n=1)
            raise DataError(
                f"user_features: expected columns that training had, {', '.join(map(repr, preparation.columns))}, got "
                f"{name!r}; " + (f"did you mean {near[0]!r}?" if near else "leave it out.")
            )
    # A column without a value is of no type: that of an empty field in a CSV file is not the one of training.
    nothing = pl.Series([None] * n_rows)
    given = {name: column for name, column in columns.items() if column.null_count() < n_rows}
    table = pl.DataFrame({name: given.get(name, nothing) for name in preparation.columns})
    arrays = preparation.arrays(table, argument="user_features")
    return UserFeatures(ids, {f"user_{name}": array for name, array in arrays.items()}, n_rows)


def _columns(value: Any) -> tuple[int, dict[str, pl.Series]]:
    """Number of rows and the columns of a table, of dicts, or of one dict."""
    rows = [value] if isinstance(value, Mapping) else value
    if not isinstance(rows, list | tuple):
        table = read_table(value, "user_features")
        return len(table), dict(zip(table.columns, table.iter_columns(), strict=True))
    for row in rows:
        if not isinstance(row, Mapping):
            raise DTypeError(
                f"user_features: expected a data frame or a list of dicts, got {type(row).__name__} in the list."
            )
    names: dict[str, None] = dict.fromkeys(name for row in rows for name in row)
    columns = {name: to_series([row.get(name) for row in rows], name) for name in names}
    for name, column in columns.items():
        if column.dtype == pl.Object:
            kinds = sorted({type(row[name]).__name__ for row in rows if row.get(name) is not None})
            raise DTypeError(f"user_features[{name!r}]: expected values of one type, got {' and '.join(kinds)}.")
    return len(rows), columns


def feature_feeds(inputs: Iterable[Any], histories: Histories | None, rows: IndexArray) -> dict[str, Any]:
    """What those of a session's inputs get that take features, for some rows; missing values where none are known."""
    known: FeatureArrays = histories.features if isinstance(histories, DescribedHistories) else {}
    return {
        node.name: known[node.name][rows] if node.name in known else _missing(node, len(rows))
        for node in inputs
        if node.name in USER_INPUTS
    }


def _missing(node: Any, n_rows: int) -> FloatArray | IndexArray:
    # A text may have any number of n-grams.
    shape = (n_rows, node.shape[1] if isinstance(node.shape[1], int) else 1)
    return np.full(shape, np.nan, np.float32) if node.type == "tensor(float)" else np.full(shape, -1, np.int64)
