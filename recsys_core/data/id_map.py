"""The two-way map between external ids and indices 0..n-1."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from recsys_core.data.frames import to_series
from recsys_core.data.validation import ID_DTYPES, check_ids, raise_first
from recsys_core.errors import DataError, DTypeError, FormatError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from recsys_core.types import IndexArray

__all__ = ["IdMap"]


class IdMap:
    """Unique ids in a fixed order; the position of an id is its index.

    Parameters
    ----------
    ids
        Integers of up to 64 bits, strings, categories (kept as strings) or dates: a list, an array or a series.
        Their order is kept.

    Raises
    ------
    DataError
        If an id is null or occurs twice, or the ids mix types.
    DTypeError
        If the ids are floats, booleans, wider integers or other objects.

    Notes
    -----
    A lookup is a binary search, O(log n) an id and without a hash table; ids that are not in ascending order
    cost one more int64 array of their length.

    Examples
    --------
    >>> items = IdMap(["alien", "brazil", "casablanca"])
    >>> items.index_of(["casablanca", "unknown", "alien"])
    array([ 2, -1,  0])
    >>> items.labels([1, -1]).to_list()
    ['brazil', None]
    >>> "alien" in items
    True
    """

    def __init__(self, ids: Any) -> None:
        series = to_series(ids, "ids")
        raise_first(check_ids(series, "ids"))
        if series.dtype in (pl.Categorical, pl.Enum):
            series = series.cast(pl.String)
        if series.dtype == pl.Null:  # an empty list has no type yet
            series = series.cast(pl.Int64)
        repeated = series.filter(series.is_duplicated()).unique(maintain_order=True)
        if len(repeated):
            raise DataError(
                f"ids: expected unique ids, got {len(repeated)} that occur more than once, the first {repeated[0]!r}; "
                "pass ids.unique()"
            )
        self._ids = series.rechunk()

    @property
    def ids(self) -> pl.Series:
        """The ids, shape (n,); the position of an id is its index."""
        return self._ids

    @property
    def dtype(self) -> str:
        """Name of the type of the ids: ``int8`` to ``uint64``, ``string`` or ``date``."""
        return next(name for name, dtype in ID_DTYPES.items() if dtype == self._ids.dtype)

    def index_of(self, values: Any, *, missing: int = -1, argument: str = "values") -> IndexArray:
        """Look up the indices of ids.

        Parameters
        ----------
        values
            Ids of the same kind as the map's; integers may have another width.
        missing
            The index returned for an id that is not in the map, and for null.
        argument
            What an error calls the values.

        Returns
        -------
        numpy.ndarray
            int64, shape (len(values),).

        Raises
        ------
        DTypeError
            If the values are of another kind than the ids, such as strings for an integer map: no lookup could
            succeed, and a silent miss would hide the mistake.

        Notes
        -----
        O(len(values) log n).
        """
        series = to_series(values, "values")
        found = np.full(len(series), missing, dtype=np.int64)
        if not len(series) or not len(self._ids) or series.dtype == pl.Null:
            return found
        kind, expected = _kind(series.dtype), _kind(self._ids.dtype)
        if kind != expected:
            raise DTypeError(
                f"{argument}: expected {expected} ids as in the map ({self.dtype}), got {kind} ({series.dtype}); "
                "convert them to the type of the ids the data had"
            )
        # A value that does not fit the ids' width turns into null: it cannot be in the map.
        series = series.cast(self._ids.dtype, strict=False)
        ascending, order = self._search
        if series.dtype.is_integer() and not series.null_count():
            # The same in NumPy: a single request is answered in a fifth of the time.
            numbers, wanted = ascending.to_numpy(), series.to_numpy()
            position = np.searchsorted(numbers, wanted)
            position[position == len(numbers)] = 0
            hit = numbers[position] == wanted
        else:
            position = ascending.search_sorted(series).to_numpy().astype(np.int64)
            position[position == len(ascending)] = 0
            hit = (ascending.gather(position) == series).fill_null(value=False).to_numpy()
        position = position[hit]
        found[hit] = position if order is None else order[position]
        return found

    def labels(self, indices: Any) -> pl.Series:
        """Return the ids at indices; -1, the padding of a ranking, gives null.

        Parameters
        ----------
        indices
            Integers in [-1, n), shape (m,).

        Raises
        ------
        DataError
            If an index is out of range.
        """
        indices = np.asarray(indices, dtype=np.int64)
        if indices.size and (indices.min() < -1 or indices.max() >= len(self)):
            raise DataError(
                f"indices: expected values in [-1, {len(self)}), got a range of [{indices.min()}, {indices.max()}]"
            )
        padding = pl.Series(indices == -1)
        positions = pl.Series(indices).set(padding, None) if padding.any() else pl.Series(indices)
        return self._ids.gather(positions)

    def select(self, indices: Any) -> IdMap:
        """Return the map of some of the ids, in the order of the given indices."""
        return IdMap(self._ids.gather(np.asarray(indices, dtype=np.int64)))

    def extended(self, ids: Any) -> IdMap:
        """Return the map with those of the given ids that it lacks behind its own, in their order.

        Parameters
        ----------
        ids
            Ids of the same kind, each any number of times; null is passed over.

        Raises
        ------
        DTypeError
            If they are of another kind.

        Examples
        --------
        >>> IdMap(["b", "c"]).extended(["a", "c", "a"]).ids.to_list()
        ['b', 'c', 'a']
        """
        series = to_series(ids, "ids")
        new = series.filter(pl.Series(self.index_of(series) < 0)).drop_nulls().unique(maintain_order=True)
        if not len(new):
            return self
        if not len(self):
            return IdMap(new)
        width = self._ids.dtype if new.cast(self._ids.dtype, strict=False).null_count() == 0 else pl.Int64
        return IdMap(pl.concat([self._ids.cast(width), new.cast(width)]))

    def to_json(self) -> str:
        """Write the map as JSON: ``{"dtype": "int64", "ids": [...]}``; dates as ``YYYY-MM-DD``."""
        ids = self._ids.cast(pl.String) if self._ids.dtype == pl.Date else self._ids
        return json.dumps({"dtype": self.dtype, "ids": ids.to_list()}, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> IdMap:
        """Read what :meth:`to_json` wrote.

        Raises
        ------
        FormatError
            If the text is not JSON of that form, or an id is not of the stated type.
        """
        try:
            content = json.loads(text)
            dtype, ids = content["dtype"], content["ids"]
            if not isinstance(ids, list):
                raise TypeError(f"ids is {type(ids).__name__}")
            if dtype == "date":
                ids = [dt.date.fromisoformat(value) for value in ids]
            return cls(pl.Series("ids", ids, dtype=ID_DTYPES[dtype], strict=True))
        except (KeyError, TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
            raise FormatError(
                f'text: expected an id map, {{"dtype": one of {", ".join(ID_DTYPES)}, "ids": [...]}}; {error!r}'
            ) from error

    @cached_property
    def digest(self) -> str:
        """SHA-256 of :meth:`to_json` in UTF-8, as 64 hexadecimal digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @cached_property
    def _search(self) -> tuple[pl.Series, IndexArray | None]:
        if self._ids.is_sorted():
            return self._ids, None
        order = self._ids.arg_sort().to_numpy().astype(np.int64)
        return self._ids.gather(order), order

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._ids)

    def __contains__(self, value: object) -> bool:
        try:
            return bool(self.index_of([value])[0] >= 0)
        except DTypeError:
            return False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, IdMap):
            return NotImplemented
        return self is other or (self._ids.dtype == other._ids.dtype and self._ids.equals(other._ids))

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self._ids.head(3)))
        return f"IdMap({len(self)} {self.dtype} ids: {shown}{', ...' if len(self) > 3 else ''})"


def factorize(series: pl.Series) -> tuple[IdMap, IndexArray]:
    """Return the map of the distinct ids in ascending order, and the index of each row's id.

    Ascending order makes the indices independent of the order of the rows.  Strings compare by their UTF-8
    bytes.
    """
    if series.dtype in (pl.Categorical, pl.Enum):
        series = series.cast(pl.String)
    ids = IdMap(series.unique().sort())
    numbered = pl.DataFrame({"id": ids.ids, "index": np.arange(len(ids))})
    # For a whole column a hash join is about twice as fast as the binary search of index_of.
    joined = pl.DataFrame({"id": series}).join(numbered, on="id", how="left", maintain_order="left")
    return ids, joined["index"].to_numpy()


def _kind(dtype: pl.DataType) -> str:
    if dtype.is_integer():
        return "integer"
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return "string"
    return "date" if dtype == pl.Date else str(dtype)


def as_id_map(ids: IdMap | Iterable[Any] | None, n: int, argument: str) -> IdMap:
    """Return the ids of n rows or columns: the given ones, or 0..n-1."""
    if ids is None:
        return IdMap(pl.int_range(n, eager=True))
    ids = ids if isinstance(ids, IdMap) else IdMap(ids)
    if len(ids) != n:
        raise DataError(f"{argument}: expected {n} ids, one a row or column of the matrix, got {len(ids)}")
    return ids
