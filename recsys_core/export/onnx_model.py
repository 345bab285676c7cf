"""From a fitted model to an ONNX file that onnxruntime alone can serve."""

from __future__ import annotations

import os
from pathlib import Path

import onnx

from recsys_core.errors import ExportError
from recsys_core.export.graph import GraphBuilder
from recsys_core.export.parity import TOLERANCE, ParityReport, check_parity
from recsys_core.export.retrieval import add_retrieval_head
from recsys_core.export.scoring import add_scores
from recsys_core.models import FittedModel, Recommender

__all__ = ["GRAPH_FORMAT_VERSION", "build_onnx", "export_onnx"]

GRAPH_FORMAT_VERSION = 1
"""Raised when the meaning of the graph's inputs or outputs changes."""

# A protobuf file ends at 2 GiB; beyond this much, the tables go to a file beside it.
EXTERNAL_DATA_BYTES = 1 << 30


def build_onnx(model: Recommender | FittedModel, *, k: int | None = None) -> onnx.ModelProto:
    """The graph of a fitted model; see :func:`export_onnx` for its inputs and outputs.

    Raises
    ------
    NotFittedError
        The model is not fitted.
    """
    fitted = model.fitted if isinstance(model, Recommender) else model
    graph = GraphBuilder()
    exclude = graph.input("exclude", "int64", ["batch", "excluded"])
    scores = add_scores(fitted.form, graph, exclude)
    add_retrieval_head(graph, scores, len(fitted.items), exclude, k)
    provenance = fitted.provenance
    metadata = {
        "recsys_core.format_version": str(GRAPH_FORMAT_VERSION),
        "recsys_core.form": fitted.form.kind,
        "recsys_core.n_items": str(len(fitted.items)),
        "recsys_core.item_ids_sha256": fitted.items.digest,
        "recsys_core.model": provenance.name,
        "recsys_core.distribution": provenance.distribution,
        "recsys_core.version": provenance.version,
    }
    if k is not None:
        metadata["recsys_core.k"] = str(k)
    if fitted.form.accepts_users:
        metadata["recsys_core.user_ids_sha256"] = fitted.users.digest
    return graph.model(provenance.name or fitted.form.kind, metadata)


def export_onnx(
    model: Recommender | FittedModel,
    path: str | os.PathLike[str],
    *,
    k: int | None = None,
    tolerance: float = TOLERANCE,
) -> ParityReport:
    """Write a fitted model as one ONNX file, and check that onnxruntime gives the model's answers.

    Which inputs the graph has depends on what the model can be asked:

    =================  ===================  ==================================================================
    input              type and shape       meaning
    =================  ===================  ==================================================================
    ``user_index``     int64 [B]            position of a known user; -1 (where there is a history): an unknown one
    ``history``        int64 [B, L]         distinct item positions, padded with -1
    ``history_weight`` float32 [B, L]       their weights
    ``exclude``        int64 [B, E]         item positions to leave out, padded with -1
    ``allow``          int64 [A]            the only item positions to return; empty for all, padded with -1
    ``k``              int64, a scalar      how many to return
    =================  ===================  ==================================================================

    The outputs are ``item_index`` int64 [B, k] and ``score`` float32 [B, k]: score descending, then position ascending,
    padded with -1 and ``-inf``.  Only standard operators of opset 18 are used.

    Parameters
    ----------
    model
        A fitted recommender, or a :class:`~recsys_core.models.FittedModel`.
    path
        The file to write; a model above 1 GiB gets a second one, ``<name>.data``, beside it.
    k
        Bake this k into the graph instead of taking it as an input, for servers that want fixed output shapes.
    tolerance
        For the parity check; see :func:`check_parity`.

    Returns
    -------
    ParityReport

    Raises
    ------
    ExportError
        The graph is invalid, or its answers differ; nothing is left at ``path``.
    NotFittedError
        The model is not fitted.
    """
    fitted = model.fitted if isinstance(model, Recommender) else model
    path = Path(path)
    proto = build_onnx(fitted, k=k)
    data = path.with_name(path.name + ".data")
    large = proto.ByteSize() > EXTERNAL_DATA_BYTES
    try:
        onnx.save_model(proto, path, save_as_external_data=large, location=data.name if large else None)
        onnx.checker.check_model(os.fspath(path), full_check=True)
        return check_parity(fitted, path, tolerance=tolerance)
    except Exception as cause:
        path.unlink(missing_ok=True)
        if large:
            data.unlink(missing_ok=True)
        if isinstance(cause, onnx.checker.ValidationError):
            raise ExportError(f"{path}: the graph is invalid ({cause}).") from cause
        raise
