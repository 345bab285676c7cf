"""The neural way from a history to a query vector: an ONNX graph, so that answering needs no training framework."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from recsys_core.data import FeaturePreparation, Histories
from recsys_core.errors import ConfigError, DTypeError, FormatError
from recsys_core.models.onnx_session import open_session
from recsys_core.models.user_features import USER_INPUTS, feature_feeds
from recsys_core.types import FloatArray, IndexArray

if TYPE_CHECKING:
    import onnxruntime as ort

__all__ = ["TOLERANCE", "HistoryEncoder"]

# How far the scores of two backends may differ by the rounding of float32, relative to the largest of a row.
TOLERANCE = 1e-4

# Rows are encoded together as long as their activations stay in the order of 100 MB.
BATCH_NUMBERS = 1 << 23


@dataclass(frozen=True, eq=False)
class HistoryEncoder:
    """A query vector from a history, and from features of the asker if there are, computed by an ONNX graph.

    Whatever way histories are asked for, the graph gets them in one shape, so that its author handles one:

    ====================  ================  ==========================================================================
    input                 type and shape    meaning
    ====================  ================  ==========================================================================
    ``history``           int64 [B, T]      item positions, oldest first, in the last places of a row; -1 before them.
                                            1 <= T <= ``max_length``; repeats are kept; of a longer history the newest
                                            ``max_length`` items are left.  An empty history is a row of -1.
    ``item_factors``      float32 [N, d]    optional: the form's own item factors, for graphs that look items up in the
                                            very table that they are scored with, so that it is stored once
    ``user_numeric``      float32 [B, n]    optional, with a ``preparation``: the asker's features, as its ``arrays``
    ``user_categorical``  int64 [B, w]      gives them, NaN, or -1 in integers, where something is missing: in whole
    ``user_text``         int64 [B, W]      rows for those of whom only the history is known
    ``user_vector``       float32 [B, v]
    ====================  ================  ==========================================================================

    The output is ``query`` float32 [B, d], finite for every row, and a row's does not depend on the other rows.

    Parameters
    ----------
    graph
        The ONNX model, standard operators up to opset 18; see :func:`recsys_core.export.encoder_from_torch`.
    max_length
        The longest history that it takes, at least 1.
    preparation
        How a table of user features becomes the inputs that take them, or None if the graph takes none.
    tolerance
        How far a score may be from that of the same graph elsewhere, relative to the largest of its row, at least 1:
        the rounding of float32, or more where the graph computes in fewer bits.

    Raises
    ------
    DTypeError
        ``graph`` is not bytes.
    ConfigError
        ``max_length`` is under 1.
    """

    graph: bytes
    max_length: int
    preparation: FeaturePreparation | None = None
    tolerance: float = TOLERANCE

    def __post_init__(self) -> None:
        if not isinstance(self.graph, bytes):
            raise DTypeError(f"encoder.graph: expected the bytes of an ONNX model, got {type(self.graph).__name__}.")
        if type(self.max_length) is not int or self.max_length < 1:
            raise ConfigError(f"encoder.max_length: expected an integer of at least 1, got {self.max_length!r}.")

    def __getstate__(self) -> dict[str, Any]:
        # A session cannot be pickled.
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def state(self) -> dict[str, Any]:
        """What a saved form keeps of the encoder beside its graph, ready for JSON."""
        saved: dict[str, Any] = {"max_length": self.max_length}
        if self.preparation is not None:
            saved["preparation"] = self.preparation.to_dict()
        if self.tolerance != TOLERANCE:
            saved["tolerance"] = self.tolerance
        return saved

    @classmethod
    def from_state(cls, graph: bytes, saved: Mapping[str, Any]) -> HistoryEncoder:
        """Inverse of :meth:`state`."""
        preparation = saved.get("preparation")
        return cls(
            graph,
            saved["max_length"],
            None if preparation is None else FeaturePreparation.from_dict(preparation),
            saved.get("tolerance", TOLERANCE),
        )

    def encode(self, histories: Histories, item_factors: FloatArray) -> FloatArray:
        """Query vectors of histories, float32 (len(histories), n_dims), computed by onnxruntime.

        Features are read from :class:`~recsys_core.models.user_features.DescribedHistories`, and missing in others.
        Rows of like lengths are encoded together, so that short ones are not padded to the longest of all.
        """
        queries = np.empty((len(histories), self.n_dims), np.float32)
        for rows, history in self._batches(histories):
            feeds: dict[str, Any] = {"history": history, **feature_feeds(self._session.get_inputs(), histories, rows)}
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

    @property
    def user_inputs(self) -> dict[str, tuple[Literal["float32", "int64"], int | None]]:
        """Type and width of each input that takes features of users, None for a width that varies."""
        return {
            node.name: (
                "float32" if node.type == "tensor(float)" else "int64",
                node.shape[1] if isinstance(node.shape[1], int) else None,
            )
            for node in self._session.get_inputs()
            if node.name in self._inputs and node.name in USER_INPUTS
        }

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
        known = {"history", "item_factors", *(USER_INPUTS if self.preparation is not None else ())}
        if outputs != ["query"] or "history" not in inputs or not inputs <= known:
            raise FormatError(
                "encoder: expected the inputs 'history' and, if need be, 'item_factors' and, with a preparation of "
                f"user features, {', '.join(USER_INPUTS)}, and the output 'query'; got {', '.join(sorted(inputs))} and "
                f"{', '.join(outputs)}."
            )
        return inputs
