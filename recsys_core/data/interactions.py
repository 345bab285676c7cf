"""A table of interactions between users and items, checked and indexed."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import polars as pl

from recsys_core.data.features import align_features, check_features, with_described
from recsys_core.data.frames import to_series
from recsys_core.data.histories import Histories
from recsys_core.data.id_map import IdMap, as_id_map, factorize
from recsys_core.data.matrix import Aggregate, build_csr
from recsys_core.data.order import stable_order
from recsys_core.data.table import CheckedTable, check_columns, check_table
from recsys_core.data.validation import raise_first
from recsys_core.errors import DataError, DTypeError, ShapeError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import scipy.sparse as sp

    from recsys_core.data.times import TimeUnit
    from recsys_core.types import CSR, FloatArray, Index32Array, IndexArray

__all__ = ["Interactions"]

_logger = logging.getLogger("recsys_core.data")

_Dtype = TypeVar("_Dtype", bound=np.dtype[Any])


@dataclass(frozen=True, eq=False, repr=False)
class Interactions:
    """Who interacted with what: one event a row, in the order given, repeats kept.

    Immutable: its arrays, and what is made from them, are read-only, and nothing else can change them: an array that
    somebody could still write to is copied.  Most callers build it with
    :meth:`from_frame`, :meth:`read`, :meth:`from_csr` or :meth:`from_arrays`, which check the data and, matrices
    aside, number users and items in ascending order of their ids, whatever the order of the rows.

    Parameters
    ----------
    users, items
        The ids behind the indices.  An id may be without a row.
    user_index, item_index
        int32, shape (n,), n at least 1: who and what.
    weight
        float32, shape (n,): how strong the evidence is, finite and at least 0.
    datetime
        int64, shape (n,): when, in microseconds since 1970-01-01 UTC; None if unknown: the row order then counts
        as the time order.
    item_features, user_features
        A row an id, in the order of the ids, which are the first column; see :meth:`with_features`.
    source
        Where the data came from, for people to read.

    Raises
    ------
    ShapeError
        If the lengths differ.
    DataError
        If there is no row, an index or a weight is out of range, or a feature table is not in the order of its ids.

    Examples
    --------
    >>> import polars as pl
    >>> frame = pl.DataFrame({"user_id": ["ann", "bob", "ann"], "item_id": [10, 10, 7], "weight": [4.0, 5.0, 1.0]})
    >>> interactions = Interactions.from_frame(frame)
    >>> interactions
    Interactions(3 events, 2 users, 2 items, no times)
    >>> interactions.to_csr().toarray()
    array([[1., 4.],
           [0., 5.]], dtype=float32)
    """

    users: IdMap
    items: IdMap
    user_index: Index32Array
    item_index: Index32Array
    weight: FloatArray
    datetime: IndexArray | None = None
    item_features: pl.DataFrame | None = None
    user_features: pl.DataFrame | None = None
    source: str = ""
    _matrices: dict[str, sp.csr_matrix[Any]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        n = len(self.user_index)
        arrays: list[tuple[str, Any, type]] = [
            ("user_index", self.user_index, np.int32),
            ("item_index", self.item_index, np.int32),
            ("weight", self.weight, np.float32),
        ]
        if self.datetime is not None:
            arrays.append(("datetime", self.datetime, np.int64))
        for name, values, dtype in arrays:
            array = _owned(values, dtype)
            if array.shape != (n,):
                raise ShapeError(f"{name}: expected shape ({n},) like user_index, got {array.shape}")
            object.__setattr__(self, name, array)
        if not n:
            raise DataError("user_index: expected at least one interaction, got none; loosen the filter or the split")
        if not (self.weight.min() >= 0 and np.isfinite(self.weight.max())):  # NaN makes either comparison false
            raise DataError("weight: expected finite weights of at least 0; drop or mend the other rows")
        for name, ids in (("user_index", self.users), ("item_index", self.items)):
            index = getattr(self, name)
            if index.min() < 0 or index.max() >= len(ids):
                raise DataError(f"{name}: expected values in [0, {len(ids)}), got [{index.min()}, {index.max()}]")
        check_features(self.item_features, self.items, "item_id")
        check_features(self.user_features, self.users, "user_id")

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        *,
        columns: Mapping[str, str | None] | None = None,
        item_features: Any = None,
        user_features: Any = None,
        time_unit: TimeUnit | None = None,
        source: str = "",
    ) -> Interactions:
        """Read a data frame.

        Parameters
        ----------
        frame
            pandas, polars, Arrow or any other frame that narwhals reads, lazy ones included; one event a row.
        columns
            Names of the columns ``user_id``, ``item_id``, ``weight`` and ``datetime`` in the frame, where they
            have others: ``{"item_id": "movieId", "weight": "rating"}``.  The last two are optional; None in place
            of a name ignores a column.
        item_features, user_features
            Frames with one row an id; see :meth:`with_features`.
        time_unit
            Unit of times that are numbers: "s", "ms", "us" or "ns" since 1970-01-01 UTC.  If None it is guessed
            from the largest: seconds below 1e11, milliseconds below 1e14, and so on.
        source
            Where the data came from.

        Raises
        ------
        DataError
            If a column is missing, an id or a time is null, ids mix types, a weight is negative or not finite, a
            time cannot be read, or there is no row.  :func:`recsys_core.data.audit` lists all faults at once.

        Notes
        -----
        Ids may be integers, strings, categories (read as strings) or dates.  Datetimes with a zone are converted
        to UTC, those without are taken as UTC; dates are midnight; strings are ISO 8601.
        """
        table = check_table(frame, columns, time_unit)
        for finding in table.findings:
            if finding.severity == "warning":
                _logger.warning("%s", finding)
        return _build(table, source).with_features(item_features, user_features, columns=columns)

    @classmethod
    def from_arrays(
        cls,
        user_ids: Any,
        item_ids: Any,
        weights: Any = None,
        datetimes: Any = None,
        *,
        time_unit: TimeUnit | None = None,
        source: str = "",
    ) -> Interactions:
        """Build from parallel arrays, lists or series, one event a position; see :meth:`from_frame`."""
        given = {"user_id": user_ids, "item_id": item_ids, "weight": weights, "datetime": datetimes}
        columns = {part: to_series(values, part) for part, values in given.items() if values is not None}
        lengths = {part: len(column) for part, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise ShapeError(f"user_ids, item_ids, weights, datetimes: expected one length, got {lengths}")
        return _build(check_columns(columns, time_unit), source)

    @classmethod
    def from_csr(cls, matrix: CSR, user_ids: Any = None, item_ids: Any = None, *, source: str = "") -> Interactions:
        """Build from a sparse matrix, one event a stored entry.

        Parameters
        ----------
        matrix
            scipy sparse, any format, shape (n_users, n_items).
        user_ids, item_ids
            Ids of the rows and columns, in that order; 0, 1, 2, ... if None.  Rows and columns without an entry
            keep their index.
        source
            Where the data came from.

        Raises
        ------
        DataError
            If there is no entry, a weight is negative or not finite, or the number of ids is another.
        """
        if not hasattr(matrix, "tocsr"):
            raise DTypeError(f"matrix: expected a scipy sparse matrix, got {type(matrix).__name__}")
        matrix = matrix.tocsr()
        rows = np.repeat(np.arange(matrix.shape[0], dtype=np.int32), np.diff(matrix.indptr))
        checked = check_columns({"weight": pl.Series("matrix", matrix.data)})
        raise_first(checked.findings)
        return cls(
            users=as_id_map(user_ids, matrix.shape[0], "user_ids"),
            items=as_id_map(item_ids, matrix.shape[1], "item_ids"),
            user_index=_frozen(rows),
            item_index=matrix.indices,
            weight=_frozen(checked.weights),  # type: ignore[arg-type]  # an array, since there is no error
            source=source,
        )

    @classmethod
    def read(cls, path: str | os.PathLike[str], **options: Any) -> Interactions:
        """Read a CSV, TSV or Parquet file; options as in :func:`recsys_core.data.read_interactions`."""
        from recsys_core.data.readers import read_interactions

        return read_interactions(path, **options)

    @property
    def n_users(self) -> int:
        """Number of users in the map."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Number of items in the map."""
        return len(self.items)

    def to_frame(self) -> pl.DataFrame:
        """Return the events under their ids: user_id, item_id, weight, and datetime (UTC) where known."""
        columns = [
            self.users.ids.gather(self.user_index).alias("user_id"),
            self.items.ids.gather(self.item_index).alias("item_id"),
            pl.Series("weight", self.weight),
        ]
        if self.datetime is not None:
            columns.append(pl.Series("datetime", self.datetime).cast(pl.Datetime("us", "UTC")))
        return pl.DataFrame(columns)

    def to_csr(self, aggregate: Aggregate = "sum") -> sp.csr_matrix[Any]:
        """Return the user-item matrix, one entry for each pair that occurs.

        Parameters
        ----------
        aggregate
            What repeated events of a pair add up to: the "sum" of their weights, the weight of the "last" in
            time, the "max", their "count", or 1 ("binary").

        Returns
        -------
        scipy.sparse.csr_matrix
            (n_users, n_items): float32 data, sorted unique indices, indptr and indices of one width.  It is cached and
            read-only: copy it before changing it.

        Notes
        -----
        O(n + n_users + n_items) the first time; for "last" and with times, O(n log n).
        """
        if aggregate not in self._matrices:
            rows, columns, weights = self.user_index, self.item_index, self.weight
            if aggregate == "last" and self.datetime is not None:
                order = np.argsort(self.datetime, kind="stable")
                rows, columns, weights = rows[order], columns[order], weights[order]
            matrix = build_csr(rows, columns, weights, (self.n_users, self.n_items), aggregate)
            for array in (matrix.data, matrix.indices, matrix.indptr):
                _frozen(array)
            self._matrices[aggregate] = matrix
        return self._matrices[aggregate]

    def time_order(self) -> IndexArray:
        """Return the rows by user and then by time, int64, shape (n,); ties, and unknown times, in row order."""
        if self.datetime is None:
            return stable_order(self.user_index, self.n_users)
        by_time = np.argsort(self.datetime, kind="stable")
        return by_time[stable_order(self.user_index[by_time], self.n_users)]

    def histories(self) -> Histories:
        """Return each user's items in time order, repeats kept; a row for every user of the map."""
        return self._histories

    @cached_property
    def _histories(self) -> Histories:
        order = self.time_order()
        indptr = np.zeros(self.n_users + 1, dtype=np.int64)
        np.cumsum(np.bincount(self.user_index, minlength=self.n_users), out=indptr[1:])
        return Histories(_frozen(indptr), _frozen(self.item_index[order]), _frozen(self.weight[order]))

    def select(self, rows: Any) -> Interactions:
        """Return some of the events, with the ids that still occur.

        Parameters
        ----------
        rows
            A boolean mask of shape (n,), row indices in the order wanted, or a slice.

        Raises
        ------
        DataError
            If nothing is left.
        IndexError
            If a row does not exist.

        Notes
        -----
        Ids keep their relative order; feature tables follow.
        """
        if not isinstance(rows, slice):
            rows = np.asarray(rows)
            if rows.dtype == bool and rows.shape != (len(self),):
                raise ShapeError(f"rows: expected a mask of shape ({len(self)},), got {rows.shape}")
            if not rows.size:  # NumPy takes an empty list for one of floats
                rows = rows.astype(np.int64)
        users, user_index, user_features = _reduce(self.users, self.user_index[rows], self.user_features)
        items, item_index, item_features = _reduce(self.items, self.item_index[rows], self.item_features)
        return Interactions(
            users=users,
            items=items,
            user_index=_frozen(user_index),
            item_index=_frozen(item_index),
            weight=_frozen(self.weight[rows]),
            datetime=None if self.datetime is None else _frozen(self.datetime[rows]),
            item_features=item_features,
            user_features=user_features,
            source=self.source,
        )

    def filter_min(self, users: int = 5, items: int = 5) -> Interactions:
        """Keep the (users, items)-core: drop users and items with too few events until none is left to drop.

        Parameters
        ----------
        users
            Least number of events of a user.
        items
            Least number of events of an item.

        Raises
        ------
        DataError
            If nothing is left.
        """
        keep = np.ones(len(self), dtype=bool)
        while True:
            n_of_user = np.bincount(self.user_index[keep], minlength=self.n_users)
            n_of_item = np.bincount(self.item_index[keep], minlength=self.n_items)
            still = keep & (n_of_user[self.user_index] >= users) & (n_of_item[self.item_index] >= items)
            if not still.any():
                raise DataError(f"users={users}, items={items}: no interaction is left; ask for fewer events")
            if np.array_equal(still, keep):
                return self.select(keep)
            keep = still

    def with_features(
        self,
        item_features: Any = None,
        user_features: Any = None,
        *,
        columns: Mapping[str, str | None] | None = None,
        cold_items: bool = False,
    ) -> Interactions:
        """Return the same interactions with feature tables.

        Parameters
        ----------
        item_features, user_features
            Frames with a column of ids, each at most once, and any others; None keeps the present table.
        columns
            The mapping given to :meth:`from_frame`, if the id columns have the same names in these tables.
        cold_items
            Take items that only ``item_features`` names into the id map, behind the others, so that a model which
            reads features can recommend what nobody has had yet.  Selecting and splitting drop them again: add them
            to the part that a model is trained on.

        Notes
        -----
        A table is brought into the order of the ids: row i describes index i, ids without a row get nulls, and
        rows of ids without interactions are dropped (the logger ``recsys_core.data`` says how many).

        Examples
        --------
        >>> import polars as pl
        >>> sales = Interactions.from_arrays(["ann", "bob"], ["tea", "rum"])
        >>> goods = pl.DataFrame({"item_id": ["rum", "gin", "tea"], "strength": [40, 38, 0]})
        >>> sales.with_features(goods, cold_items=True).item_features.rows()
        [('rum', 40), ('tea', 0), ('gin', 38)]
        """
        changed: dict[str, Any] = {}
        for name, table, ids in (
            ("item", item_features, self.items),
            ("user", user_features, self.users),
        ):
            if table is None:
                continue
            part = f"{name}_id"
            column = None if columns is None else columns.get(part)
            if name == "item" and cold_items:
                ids = with_described(table, ids, part, column)
                changed["items"] = ids
            features, findings = align_features(table, ids, part, column)
            raise_first(findings)
            for finding in findings:
                _logger.info("%s", finding)
            changed[f"{name}_features"] = features
        return replace(self, **changed) if changed else self

    def __len__(self) -> int:
        return len(self.user_index)

    def __repr__(self) -> str:
        parts = [f"{len(self)} events, {self.n_users} users, {self.n_items} items"]
        if self.datetime is None:
            parts.append("no times")
        else:
            days = np.array([self.datetime.min(), self.datetime.max()]).astype("datetime64[us]").astype("datetime64[D]")
            parts.append(f"{days[0]} to {days[1]}")
        for name, table in (("item", self.item_features), ("user", self.user_features)):
            if table is not None:
                parts.append(f"{name} features {', '.join(table.columns[1:])}")
        if self.source:
            parts.append(f"source {self.source!r}")
        return f"Interactions({', '.join(parts)})"


def _build(table: CheckedTable, source: str) -> Interactions:
    raise_first(table.findings)
    users, user_index = factorize(table.user_ids)  # type: ignore[arg-type]  # there, since there is no error
    items, item_index = factorize(table.item_ids)  # type: ignore[arg-type]
    weight = np.ones(table.n_rows, dtype=np.float32) if table.weights is None else table.weights
    return Interactions(
        users,
        items,
        _frozen(user_index.astype(np.int32)),
        _frozen(item_index.astype(np.int32)),
        _frozen(weight),
        table.datetimes if table.datetimes is None else _frozen(table.datetimes),
        source=source,
    )


def _owned(values: Any, dtype: type) -> np.ndarray[Any, Any]:
    """The values as a read-only contiguous array; copied if they need be, or if anybody could write to them."""
    array: np.ndarray[Any, Any] = np.asarray(values)
    array = np.array(array, dtype=dtype, order="C", copy=True if _is_writable(array) else None)
    return _frozen(array)


def _is_writable(array: Any) -> bool:
    """Whether the array, or one that it is a view of, may be written to."""
    while isinstance(array, np.ndarray):
        if array.flags.writeable:
            return True
        array = array.base
    return False


def _frozen(array: np.ndarray[Any, _Dtype]) -> np.ndarray[Any, _Dtype]:
    """Make an array that nobody else holds read-only, so that it need not be copied."""
    array.flags.writeable = False
    return array


def _reduce(
    ids: IdMap, index: Index32Array, features: pl.DataFrame | None
) -> tuple[IdMap, Index32Array, pl.DataFrame | None]:
    occurs = np.bincount(index, minlength=len(ids)) > 0
    if occurs.all():
        return ids, index, features
    kept = np.flatnonzero(occurs)
    renumbered = np.cumsum(occurs, dtype=np.int32) - 1
    return ids.select(kept), renumbered[index], None if features is None else features[kept]
