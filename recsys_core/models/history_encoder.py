"""The neural way from a history to a query vector: an ONNX graph, so that answering needs no training framework."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_core.data import Histories
from recsys_core.errors import ConfigError, DTypeError, FormatError
from recsys_core.models.onnx_session import open_session
from recsys_core.types import FloatArray, IndexArray

if TYPE_CHECKING:
    import onnxruntime as ort

__all__ = ["HistoryEncoder"]

# Rows are encoded together as long as their activations stay in the order of 100 MB.
BATCH_NUMBERS = 1 << 23


@dataclass(frozen=True, eq=False)
class HistoryEncoder:
    """A query vector from a history, computed by an ONNX graph.

    Whatever way histories are asked for, the graph gets them in one shape, so that its author handles one:

    ================  ====================  ==========================================================================
    input             type and shape        meaning
    ================  ====================  ==========================================================================
    ``history``       int64 [B, T]          item positions, oldest first, in the last places of a row; -1 before them.
                                            1 <= T <= ``max_length``; repeats are kept; of a longer history the newest
                                            ``max_length`` items are left.  An empty history is a row of -1.
    ``item_factors``  float32 [N, d]        optional: the form's own item factors, for graphs that look items up in the
                                            very table that they are scored with, so that it is stored once
    ================  ====================  ==========================================================================

    The output is ``query`` float32 [B, d], finite for every row, and a row's does not depend on the other rows.

    Parameters
    ----------
    graph
        The ONNX model, standard operators up to opset 18; see :func:`recsys_core.export.encoder_from_torch`.
    max_length
        The longest history that it takes, at least 1.

    Raises
    ------
    DTypeError
        ``graph`` is not bytes.
    ConfigError
        ``max_length`` is under 1.
    """

    graph: bytes
    max_length: int

    def __post_init__(self) -> None:
        if not isinstance(self.graph, bytes):
            raise DTypeError(f"encoder.graph: expected the bytes of an ONNX model, got {type(self.graph).__name__}.")
        if type(self.max_length) is not int or self.max_length < 1:
            raise ConfigError(f"encoder.max_length: expected an integer of at least 1, got {self.max_length!r}.")

    def __getstate__(self) -> dict[str, Any]:
        return {"graph": self.graph, "max_length": self.max_length}  # a session cannot be pickled

    def encode(self, histories: Histories, item_factors: FloatArray) -> FloatArray:
        """Query vectors of histories, float32 (len(histories), n_dims), computed by onnxruntime.

        Rows of like lengths are encoded together, so that short ones are not padded to the longest of all.
        """
        queries = np.empty((len(histories), self.n_dims), np.float32)
        for rows, history in self._batches(histories):
            feeds: dict[str, Any] = {"history": history}
            if self.takes_item_factors:
                feeds["item_factors"] = item_factors
            (queries[rows],) = self._session.run(["query"], feeds)
        return queries

    @cached_property
    def n_dims(self) -> int:
        """Length of a query vector.

        Raises
        ------
        FormatError
            The graph does not say.
        """
        shape = self._session.get_outputs()[0].shape
        if len(shape) != 2 or not isinstance(shape[1], int):
            raise FormatError(f"encoder: expected an output of shape [batch, n_dims] with n_dims fixed, got {shape}.")
        return shape[1]

    @property
    def takes_item_factors(self) -> bool:
        """Whether the graph looks items up in the form's item factors."""
        return "item_factors" in self._inputs

    def _batches(self, histories: Histories) -> Iterator[tuple[IndexArray, IndexArray]]:
        lengths = np.clip(histories.lengths, 1, self.max_length)
        order = np.argsort(-lengths, kind="stable")
        start = 0
        while start < len(order):
            longest = int(lengths[order[start]])
            size = max(1, BATCH_NUMBERS // (longest * max(longest, self.n_dims)))
            rows = order[start : start + size]
            yield rows, histories.rows(rows).newest(self.max_length)
            start += size

    @cached_property
    def _session(self) -> ort.InferenceSession:
        return open_session(self.graph, "encoder")

    @cached_property
    def _inputs(self) -> frozenset[str]:
        inputs = frozenset(node.name for node in self._session.get_inputs())
        outputs = [node.name for node in self._session.get_outputs()]
        if outputs != ["query"] or "history" not in inputs or not inputs <= {"history", "item_factors"}:
            raise FormatError(
                "encoder: expected the inputs 'history' and, if need be, 'item_factors', and the output 'query'; "
                f"got {', '.join(sorted(inputs))} and {', '.join(outputs)}."
            )
        return inputs
