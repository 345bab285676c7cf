"""Running an exported graph: from positions and filters to the arrays it takes, and back to a ranking."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_core.data import Histories
from recsys_core.errors import DataError, FormatError
from recsys_core.models import NO_FILTERS, Filters, FittedModel
from recsys_core.models.onnx_session import open_session
from recsys_core.models.user_features import DescribedHistories, feature_feeds
from recsys_core.types import CSR, FloatArray, IndexArray, Ranking

__all__ = ["GRAPH_FORMAT_VERSION", "OnnxRanker"]

GRAPH_FORMAT_VERSION = 2
"""Raised when an old reader could not ask the new graph.  A graph carries the oldest version that has all that it
needs: 2 if it takes features of users, else 1."""

# A graph holds blocks of [B, n_items] scores and, for histories, [B, L, width] numbers; a batch is cut so that what it
# holds stays about this size.
BATCH_BYTES = 128 << 20
SCORE_BLOCKS = 4


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
        onnxruntime cannot read the file, it was not written by this library, or by a version with another format.
    """

    def __init__(self, path: str | os.PathLike[str], *, n_threads: int = 0) -> None:
        self._session = open_session(path, os.fspath(path), n_threads=n_threads)
        self.inputs = frozenset(node.name for node in self._session.get_inputs())
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        version = self.metadata.get("recsys_core.format_version")
        if version not in {str(known) for known in range(1, GRAPH_FORMAT_VERSION + 1)}:
            raise FormatError(
                f"{os.fspath(path)}: expected a graph of recsys_core with format_version 1 to {GRAPH_FORMAT_VERSION}, "
                f"got {version}; export it again."
            )
        self._n_items = int(self.metadata["recsys_core.n_items"])
        self._repeats = self.metadata["recsys_core.history_repeats"]
        self._history_width = int(self.metadata["recsys_core.history_width"])
        self._score_width = SCORE_BLOCKS + int(self.metadata.get("recsys_core.score_width", 0))

    @property
    def vector_dims(self) -> int | None:
        """Length of the vectors of users' texts that the graph takes, or None if it takes none."""
        shapes = (node.shape for node in self._session.get_inputs() if node.name == "user_vector")
        return next((int(shape[1]) for shape in shapes), None)

    def check_ids(self, fitted: FittedModel) -> None:
        """Check that the graph was made from a model over the same users and items.

        Raises
        ------
        FormatError
            It was not, so that its positions mean other ids.
        """
        for what, ids in (("item", fitted.items), ("user", fitted.users)):
            if self.metadata.get(f"recsys_core.{what}_ids_sha256", ids.digest) != ids.digest:
                raise FormatError(f"model.onnx: made for other {what} ids than those beside it; copy the whole bundle.")

    def rank(
        self,
        user_index: IndexArray | None,
        histories: Histories | None,
        k: int,
        filters: Filters = NO_FILTERS,
    ) -> Ranking:
        """Top k of each query; as a scoring form's ``rank``, computed by the graph.

        Raises
        ------
        DataError
            Allowed items are given for each query, where a graph takes one list for all.
        """
        asked = user_index if user_index is not None else histories
        assert asked is not None
        indices = np.empty((len(asked), k), np.int64)
        scores = np.empty((len(asked), k), np.float32)
        for rows in self._batches(len(asked), histories, filters.exclude):
            feeds = self._feeds(user_index, histories, rows, k, filters)
            indices[rows], scores[rows] = self._session.run(["item_index", "score"], feeds)
        return Ranking(indices, scores)

    def _batches(self, n_queries: int, histories: Histories | None, exclude: CSR | None) -> Iterator[IndexArray]:
        """Rows to run at a time: long lists together, since all of a batch are padded to its longest."""
        lengths = np.zeros(n_queries, np.int64)
        if histories is not None and "history" in self.inputs:
            lengths += histories.lengths * (self._history_width + 4)
        if isinstance(histories, DescribedHistories):
            lengths += sum(array.shape[1] for array in histories.features.values()) * (self._history_width + 4)
        if exclude is not None:
            lengths += 4 * np.diff(exclude.indptr)
        order = np.argsort(-lengths, kind="stable")
        start = 0
        while start < n_queries:
            per_row = 4 * (self._score_width * self._n_items + int(lengths[order[start]]) + 1)
            size = max(1, BATCH_BYTES // per_row)
            yield order[start : start + size]
            start += size

    def _feeds(
        self,
        user_index: IndexArray | None,
        histories: Histories | None,
        rows: IndexArray,
        k: int,
        filters: Filters,
    ) -> dict[str, np.ndarray[Any, Any]]:
        n_rows = len(rows)
        feeds: dict[str, np.ndarray[Any, Any]] = {
            "exclude": _excluded(filters.exclude, rows, filters.deny),
            "allow": _allowed(filters.allow),
        }
        if "k" in self.inputs:
            feeds["k"] = np.asarray(k, np.int64)
        if "user_index" in self.inputs:
            feeds["user_index"] = np.full(n_rows, -1, np.int64) if user_index is None else user_index[rows]
        if "history" in self.inputs:
            history, weight = np.empty((n_rows, 0), np.int64), np.empty((n_rows, 0), np.float32)
            if histories is not None:
                history, weight = self._history(histories.rows(rows))
            feeds["history"] = history
            if "history_weight" in self.inputs:
                feeds["history_weight"] = weight
        return feeds | feature_feeds(self._session.get_inputs(), histories, rows)

    def _history(self, histories: Histories) -> tuple[IndexArray, FloatArray]:
        if self._repeats == "keep":
            return _padded(histories)
        # Such a graph takes distinct items, and repeats mean what they meant in training.
        return _padded(histories.to_csr(self._n_items, "last" if self._repeats == "last" else "sum"))


def _padded(matrix: CSR | Histories) -> tuple[IndexArray, FloatArray]:
    """Ragged rows as indices padded with -1 and weights padded with 0."""
    lengths = np.diff(matrix.indptr)
    filled = np.arange(lengths.max(initial=0)) < lengths[:, None]
    indices = np.full(filled.shape, -1, np.int64)
    weights = np.zeros(filled.shape, np.float32)
    indices[filled] = matrix.indices
    weights[filled] = matrix.weights if isinstance(matrix, Histories) else matrix.data
    return indices, weights


def _excluded(exclude: CSR | None, rows: IndexArray, deny: IndexArray | None) -> IndexArray:
    parts = [_padded(exclude[rows])[0]] if exclude is not None else []
    n_rows = len(rows)
    if deny is not None:
        parts.append(np.broadcast_to(np.asarray(deny, np.int64), (n_rows, len(deny))))
    return np.concatenate(parts, axis=1) if parts else np.empty((n_rows, 0), np.int64)


def _allowed(allow: IndexArray | CSR | None) -> IndexArray:
    if allow is None:
        return np.empty(0, np.int64)
    if sp.issparse(allow):
        raise DataError("allow: expected one list of positions for all queries, got CSR; ask the scoring form instead.")
    # An empty list means no restriction to the graph, so that "nothing is allowed" is written as padding.
    return np.asarray(allow, np.int64) if len(allow) else np.array([-1], np.int64)
