"""A function of a query vector and an item vector, as an ONNX graph."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_core.errors import DataError, DTypeError, FormatError
from recsys_core.models.onnx_session import open_session
from recsys_core.types import FloatArray

if TYPE_CHECKING:
    import onnxruntime as ort

__all__ = ["PairScorer"]


@dataclass(frozen=True, eq=False)
class PairScorer:
    """A score from a query vector and an item vector, computed by an ONNX graph.

    The graph's inputs are ``query`` float32 [P, dq] and ``item`` float32 [P, di], row by row the two sides of P pairs,
    and, where a second stage goes by what the first said, ``retrieved`` float32 [P], the retriever's scores; its output
    is ``score`` float32 [P].

    Parameters
    ----------
    graph
        The ONNX model, standard operators up to opset 18; see :func:`recsys_core.export.scorer_from_torch`.
    """

    graph: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.graph, bytes):
            raise DTypeError(f"scorer.graph: expected the bytes of an ONNX model, got {type(self.graph).__name__}.")

    def __getstate__(self) -> dict[str, Any]:
        return {"graph": self.graph}  # a session cannot be pickled

    @cached_property
    def takes_retrieved(self) -> bool:
        """Whether the graph asks for the retriever's scores."""
        return any(node.name == "retrieved" for node in self._session.get_inputs())

    def score(self, queries: FloatArray, items: FloatArray, retrieved: FloatArray | None = None) -> FloatArray:
        """Scores of P pairs, float32 (P,), from (P, dq), (P, di) and the retriever's scores (P,), if there are."""
        feeds = {"query": queries, "item": items}
        if self.takes_retrieved:
            if retrieved is None:
                raise DataError("PairForm: expected a retriever, whose scores the scorer asks for, got none.")
            feeds["retrieved"] = retrieved
        (scores,) = self._session.run(["score"], feeds)
        if scores.shape != (len(queries),):
            raise FormatError(f"scorer: expected a score for each of {len(queries)} pairs, got shape {scores.shape}.")
        if not np.isfinite(scores).all():
            raise DataError("scorer: expected finite scores, got NaN or infinity; mend the training.")
        return np.asarray(scores, np.float32)

    @cached_property
    def _session(self) -> ort.InferenceSession:
        return open_session(self.graph, "scorer")
