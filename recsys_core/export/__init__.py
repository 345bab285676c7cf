"""Export to ONNX: a scoring form becomes a graph with filters and top-k inside, checked against the model."""

from __future__ import annotations

from recsys_core.export.onnx_model import build_onnx, export_onnx
from recsys_core.export.parity import ParityReport, check_parity
from recsys_core.export.precision import EncoderPrecision, ReducedEncoder, reduce_encoder
from recsys_core.export.session import GRAPH_FORMAT_VERSION, OnnxRanker
from recsys_core.export.torch_export import graph_from_torch
from recsys_core.export.torch_modules import encoder_from_torch, scorer_from_torch

__all__ = [
    "GRAPH_FORMAT_VERSION",
    "EncoderPrecision",
    "OnnxRanker",
    "ParityReport",
    "ReducedEncoder",
    "build_onnx",
    "check_parity",
    "encoder_from_torch",
    "export_onnx",
    "graph_from_torch",
    "reduce_encoder",
    "scorer_from_torch",
]
