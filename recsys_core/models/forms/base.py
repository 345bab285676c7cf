"""What the scoring forms share."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp

from recsys_core.types import CSR, IndexArray

__all__ = ["FittedArrays", "State", "one_hot"]

State: TypeAlias = dict[str, "np.ndarray[Any, Any]"]
"""The arrays of a form, by name."""


class FittedArrays:
    """The compiled indices are built at first use and cannot be pickled: only the fields are."""

    def __getstate__(self) -> dict[str, Any]:
        return {part.name: getattr(self, part.name) for part in fields(self)}  # type: ignore[arg-type]


def one_hot(item_index: IndexArray, n_items: int) -> CSR:
    """A row for each given item, with a one in its column."""
    n = len(item_index)
    parts = (np.ones(n, np.float32), item_index.astype(np.int32), np.arange(n + 1, dtype=np.int64))
    return sp.csr_matrix(parts, shape=(n, n_items))
