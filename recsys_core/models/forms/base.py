"""What the scoring forms share."""

from __future__ import annotations

from dataclasses import fields
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from recsys_core import ops
from recsys_core.errors import DataError
from recsys_core.types import CSR, FloatArray, IndexArray, Ranking

__all__ = ["FittedArrays", "IndexedForm", "State", "in_blocks", "one_hot", "only_of"]

State: TypeAlias = dict[str, "np.ndarray[Any, Any]"]
"""The arrays of a form, by name."""


class FittedArrays:
    """The compiled indices are built at first use and cannot be pickled: only the fields are."""

    def __getstate__(self) -> dict[str, Any]:
        return {part.name: getattr(self, part.name) for part in fields(self)}  # type: ignore[arg-type]


class IndexedForm(FittedArrays):
    """A form that answers from an item index."""

    def _index_parts(self) -> tuple[FloatArray, FloatArray | None]:
        """Item factors and bias of the index."""
        raise NotImplementedError

    @cached_property
    def index(self) -> ops.ItemIndex:
        """The compiled top-k index over the items, built at first use and shared by threads."""
        return ops.ItemIndex(*self._index_parts())

    def use_index(self, index: ops.ItemIndex) -> None:
        """Answer from a ready index of these very items, such as one that is mapped from a file.

        Parameters
        ----------
        index
            The index, which from now on is :attr:`index`.

        Raises
        ------
        DataError
            It has other sizes or another metric than the form's own, or removed items.
        """
        factors, _ = self._index_parts()
        expected, got = (*factors.shape, "dot", 0), (index.n_items, index.n_factors, index.metric, index.n_removed)
        if got != expected:
            raise DataError(
                f"index: expected n_items, n_factors, metric and n_removed of the form, {expected}, got {got}; "
                "save the index of this form."
            )
        self.__dict__["index"] = index


def only_of(answered: npt.NDArray[np.bool_], ranking: Ranking) -> Ranking:
    """The ranking with nothing but padding in the rows that are not ``answered``."""
    if answered.all():
        return ranking
    return Ranking(
        np.where(answered[:, None], ranking.indices, -1),
        np.where(answered[:, None], ranking.scores, np.float32(-np.inf)),
    )


def in_blocks(n: int, size: int) -> list[slice]:
    """Slices of at most ``size`` that make up ``range(n)``; one, which is empty, for none."""
    return [slice(start, min(start + size, n)) for start in range(0, max(n, 1), size)]


def one_hot(item_index: IndexArray, n_items: int) -> CSR:
    """A row for each given item, with a one in its column."""
    n = len(item_index)
    parts = (np.ones(n, np.float32), item_index.astype(np.int32), np.arange(n + 1, dtype=np.int64))
    return sp.csr_matrix(parts, shape=(n, n_items))
