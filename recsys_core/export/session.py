"""Running an exported graph: from positions and filters to the arrays it takes, and back to a ranking."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import onnxruntime as ort

from recsys_core import ops
from recsys_core.data import Histories
from recsys_core.errors import FormatError
from recsys_core.types import CSR, FloatArray, IndexArray, Ranking

__all__ = ["OnnxRanker"]

# The graph holds a few [B, n_items] blocks of scores; a batch is cut so that one of them stays under this size.
SCORES_BYTES = 64 << 20


class OnnxRanker:
    """An exported model in onnxruntime.

    Parameters
    ----------
    path
        The ONNX file.
    n_threads
        Threads of onnxruntime, 0 for all.

    Raises
    ------
    FormatError
        onnxruntime cannot read the file.
    """

    def __init__(self, path: str | os.PathLike[str], *, n_threads: int = 0) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = n_threads or ops.max_threads()
        options.inter_op_num_threads = 1
        # Spinning threads steal the processor from the core's own pool between two requests.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
        except Exception as cause:
            raise FormatError(f"{os.fspath(path)}: onnxruntime cannot read it ({cause}); export it again.") from cause
        self.inputs = frozenset(node.name for node in self._session.get_inputs())
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self._n_items = int(self.metadata["recsys_core.n_items"])

    def rank(
        self,
        user_index: IndexArray | None,
        histories: Histories | None,
        k: int,
        *,
        exclude: CSR | None = None,
        allow: IndexArray | None = None,
        deny: IndexArray | None = None,
    ) -> Ranking:
        """Top k of each query; as a scoring form's ``rank``, computed by the graph."""
        asked = user_index if user_index is not None else histories
        assert asked is not None
        n_queries = len(asked)
        batch = max(1, SCORES_BYTES // (4 * max(self._n_items, 1)))
        indices = np.empty((n_queries, k), np.int64)
        scores = np.empty((n_queries, k), np.float32)
        for start in range(0, n_queries, batch):
            rows = slice(start, min(start + batch, n_queries))
            feeds = self._feeds(user_index, histories, rows, k, exclude, allow, deny)
            indices[rows], scores[rows] = self._session.run(["item_index", "score"], feeds)
        return Ranking(indices, scores)

    def _feeds(
        self,
        user_index: IndexArray | None,
        histories: Histories | None,
        rows: slice,
        k: int,
        exclude: CSR | None,
        allow: IndexArray | None,
        deny: IndexArray | None,
    ) -> dict[str, np.ndarray[Any, Any]]:
        n_rows = rows.stop - rows.start
        feeds: dict[str, np.ndarray[Any, Any]] = {
            "exclude": _excluded(exclude, rows, deny),
            "allow": _allowed(allow),
        }
        if "k" in self.inputs:
            feeds["k"] = np.asarray(k, np.int64)
        if "user_index" in self.inputs:
            feeds["user_index"] = np.full(n_rows, -1, np.int64) if user_index is None else user_index[rows]
        if "history" in self.inputs:
            history, weight = np.empty((n_rows, 0), np.int64), np.empty((n_rows, 0), np.float32)
            if histories is not None:
                # A graph adds up what a history repeats; summed beforehand, it is what the model was trained on.
                chosen = histories.rows(np.arange(rows.start, rows.stop)).to_csr(self._n_items)
                history, weight = _padded(chosen)
            feeds["history"] = history
            if "history_weight" in self.inputs:
                feeds["history_weight"] = weight
        return feeds


def _padded(matrix: CSR) -> tuple[IndexArray, FloatArray]:
    """CSR rows as indices padded with -1 and weights padded with 0."""
    lengths = np.diff(matrix.indptr)
    filled = np.arange(lengths.max(initial=0)) < lengths[:, None]
    indices = np.full(filled.shape, -1, np.int64)
    weights = np.zeros(filled.shape, np.float32)
    indices[filled], weights[filled] = matrix.indices, matrix.data
    return indices, weights


def _excluded(exclude: CSR | None, rows: slice, deny: IndexArray | None) -> IndexArray:
    parts = [_padded(exclude[rows])[0]] if exclude is not None else []
    n_rows = rows.stop - rows.start
    if deny is not None:
        parts.append(np.broadcast_to(np.asarray(deny, np.int64), (n_rows, len(deny))))
    return np.concatenate(parts, axis=1) if parts else np.empty((n_rows, 0), np.int64)


def _allowed(allow: IndexArray | None) -> IndexArray:
    if allow is None:
        return np.empty(0, np.int64)
    # An empty list means no restriction to the graph, so that "nothing is allowed" is written as padding.
    return np.asarray(allow, np.int64) if len(allow) else np.array([-1], np.int64)
