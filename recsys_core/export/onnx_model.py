"""From a fitted model to an ONNX file that onnxruntime alone can serve."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import onnx

from recsys_core.errors import ExportError
from recsys_core.export.feeding import history_repeats, history_width, score_width
from recsys_core.export.graph import GraphBuilder
from recsys_core.export.parity import ParityReport, check_parity
from recsys_core.export.retrieval import add_retrieval_head
from recsys_core.export.scoring import add_scoring
from recsys_core.export.session import GRAPH_FORMAT_VERSION
from recsys_core.models import FittedModel, Recommender, RerankedModel

__all__ = ["build_onnx", "export_onnx"]

# A protobuf file ends at 2 GiB; beyond this much, the tables go to a file beside it.
EXTERNAL_DATA_BYTES = 1 << 30


def build_onnx(model: Recommender | FittedModel, *, k: int | None = None) -> onnx.ModelProto:
    """The graph of a fitted model; see :func:`export_onnx` for its inputs and outputs.

    Raises
    ------
    ExportError
        A re-ranker stands behind the model, which a graph would leave out.
    NotFittedError
        The model is not fitted.
    """
    fitted = model.fitted if isinstance(model, Recommender) else model
    if isinstance(fitted, RerankedModel):
        raise ExportError(
            f"model: expected one without a re-ranker, which is no part of a graph, got one with "
            f"{type(fitted.reranker).__name__}; export its base, and re-rank where it is served: "
            "runtime.load(...).reranked(...)."
        )
    graph = GraphBuilder()
    exclude = graph.input("exclude", "int64", ["batch", "excluded"])
    scores, rescorer = add_scoring(fitted.form, graph, exclude)
    add_retrieval_head(graph, scores, len(fitted.items), exclude, k, rescorer)
    provenance = fitted.provenance
    metadata = {
        "recsys_core.format_version": str(1 if fitted.form.user_preparation is None else GRAPH_FORMAT_VERSION),
        "recsys_core.form": fitted.form.kind,
        "recsys_core.n_items": str(len(fitted.items)),
        "recsys_core.history_repeats": history_repeats(fitted.form),
        "recsys_core.history_width": str(history_width(fitted.form)),
        "recsys_core.score_width": str(score_width(fitted.form)),
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
    tolerance: float | None = None,
) -> ParityReport:
    """Write a fitted model as one ONNX file, and check that onnxruntime gives the model's answers.

    Which inputs the graph has depends on what the model can be asked:

    ====================  ================  ==================================================================
    input                 type and shape    meaning
    ====================  ================  ==================================================================
    ``user_index``        int64 [B]         position of a known user; -1 (where there is a history): an unknown one
    ``history``           int64 [B, L]      item positions, padded with -1 on any side: oldest first and with repeats
                                            for a model that reads sequences, distinct ones for the others
    ``history_weight``    float32 [B, L]    their weights
    ``user_numeric``      float32 [B, n]    what else is known of an unknown user, as the ``preparation`` of the form's
    ``user_categorical``  int64 [B, w]      encoder makes it from a table: NaN, or -1 in integers, where it is missing
    ``user_text``         int64 [B, W]
    ``user_vector``       float32 [B, v]
    ``exclude``           int64 [B, E]      item positions to leave out, padded with -1
    ``allow``             int64 [A]         the only item positions to return; empty for all, padded with -1
    ``k``                 int64, a scalar   how many to return
    ====================  ================  ==================================================================

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
        The graph is invalid, its answers differ, or a re-ranker stands behind the model; what was at ``path`` is left
        as it was.
    NotFittedError
        The model is not fitted.
    """
    fitted = model.fitted if isinstance(model, Recommender) else model
    path = Path(path)
    proto = build_onnx(fitted, k=k)
    large = proto.ByteSize() > EXTERNAL_DATA_BYTES
    data = path.name + ".data"
    # Written and checked beside its place, so that a model which fails leaves the old file as it was.
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        staged = Path(folder) / path.name
        try:
            onnx.save_model(proto, staged, save_as_external_data=large, location=data if large else None)
            onnx.checker.check_model(os.fspath(staged), full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as cause:
            raise ExportError(f"{path}: the graph is invalid ({cause}).") from cause
        report = check_parity(fitted, staged, tolerance=tolerance)
        path.with_name(data).unlink(missing_ok=True)
        for file in sorted(Path(folder).iterdir(), key=lambda file: file.name == path.name):
            file.replace(path.parent / file.name)
    return report
