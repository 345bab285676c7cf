"""From what is known of an item to its vector: an ONNX graph and how a table becomes the arrays that it takes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_core.data import FeaturePreparation
from recsys_core.errors import DTypeError, FormatError
from recsys_core.models.onnx_session import open_session
from recsys_core.types import FloatArray

if TYPE_CHECKING:
    import onnxruntime as ort
    import polars as pl

__all__ = ["ItemEncoder"]

_ROWS = 4096


@dataclass(frozen=True, eq=False)
class ItemEncoder:
    """Vectors of items by their features, for items that the catalogue does not have.

    Parameters
    ----------
    graph
        The ONNX model.  Its inputs are some of the arrays of
        :meth:`FeaturePreparation.arrays <recsys_core.data.FeaturePreparation.arrays>`, ``numeric``, ``categorical``,
        ``text`` and ``vector``, with the same number of rows B; its output is ``item`` float32 [B, d].
    preparation
        How a table becomes these arrays.

    Raises
    ------
    DTypeError
        ``graph`` is not bytes.
    """

    graph: bytes
    preparation: FeaturePreparation

    def __post_init__(self) -> None:
        if not isinstance(self.graph, bytes):
            raise DTypeError(
                f"item_encoder.graph: expected the bytes of an ONNX model, got {type(self.graph).__name__}."
            )

    def __getstate__(self) -> dict[str, Any]:
        return {"graph": self.graph, "preparation": self.preparation}  # a session cannot be pickled

    def encode(self, table: pl.DataFrame) -> FloatArray:
        """Vectors of the items of a table, float32 (n_rows, d).

        Parameters
        ----------
        table
            A table with the feature columns that training had, in any order; others are left aside.

        Raises
        ------
        DataError, DTypeError
            A column is missing, or of another type than in training.
        FormatError
            The graph takes something that the preparation does not give.
        """
        session = self._session
        found = [
            self._run(session, self.preparation.arrays(table[start : start + _ROWS]))
            for start in range(0, max(1, len(table)), _ROWS)
        ]
        return np.concatenate(found)

    @cached_property
    def _session(self) -> ort.InferenceSession:
        return open_session(self.graph, "item_encoder")

    @staticmethod
    def _run(session: ort.InferenceSession, arrays: dict[str, Any]) -> FloatArray:
        names = [node.name for node in session.get_inputs()]
        missing = sorted(set(names) - set(arrays))
        if missing:
            raise FormatError(f"item_encoder: expected inputs that features have, got {', '.join(missing)}.")
        vectors: FloatArray = session.run(["item"], {name: arrays[name] for name in names})[0]
        return vectors
