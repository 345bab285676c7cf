"""Smaller encoders: float16 or 8-bit integers, and what that costs in NDCG."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import onnx

from recsys_core.data import Split
from recsys_core.errors import ConfigError, ExportError
from recsys_core.metrics import evaluate
from recsys_core.models import DotForm, FittedModel, PairForm, Recommender

__all__ = ["EncoderPrecision", "ReducedEncoder", "reduce_encoder"]

EncoderPrecision: TypeAlias = Literal["float16", "int8"]
"""What an encoder computes in: float16 throughout, or products of 8-bit integers with scales found as it runs."""

# Allowed difference of a score from the one before, relative to the largest, at least 1: what 10 bits of a mantissa
# leave behind a few layers, and what 7 bits of a weight and 8 of an activation do.
TOLERANCES: dict[EncoderPrecision, float] = {"float16": 1e-2, "int8": 1e-1}


@dataclass(frozen=True, eq=False)
class ReducedEncoder:
    """A model whose encoder was made smaller, with what was measured.

    Attributes
    ----------
    fitted
        The model with the smaller encoder.
    precision
        What it computes in.
    metric
        Name of the figures, such as ``"ndcg@10"``.
    before, after
        The metric of the model as it was, and of this one, on the same test part.
    query_difference
        Largest difference of a number of a training user's query, relative to the largest of all queries.
    n_bytes_before, n_bytes_after
        Sizes of the encoder's graph.
    """

    fitted: FittedModel
    precision: EncoderPrecision
    metric: str
    before: float
    after: float
    query_difference: float
    n_bytes_before: int
    n_bytes_after: int

    @property
    def loss(self) -> float:
        """How much the metric falls; negative where it rises."""
        return self.before - self.after

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain values, for a manifest."""
        figures = asdict(replace(self, fitted=None))  # type: ignore[arg-type]
        del figures["fitted"]
        return {**figures, "loss": self.loss}

    @classmethod
    def from_dict(cls, fitted: FittedModel, figures: Mapping[str, Any]) -> ReducedEncoder:
        """Inverse of :meth:`to_dict`, for a model that came from the same bundle as the figures."""
        return cls(fitted, **{field.name: figures[field.name] for field in fields(cls) if field.name != "fitted"})

    def __str__(self) -> str:
        return (
            f"{self.precision}: {self.metric} {self.before:.4f} -> {self.after:.4f} ({-self.loss:+.4f}), "
            f"encoder {self.n_bytes_before:,} -> {self.n_bytes_after:,} bytes"
        )


def reduce_encoder(
    model: Recommender | FittedModel, precision: EncoderPrecision, test: Split, *, k: int = 10, n_threads: int = 0
) -> ReducedEncoder:
    """Make a model's history encoder smaller, and measure what that costs.

    Parameters
    ----------
    model
        A fitted recommender, or a :class:`~recsys_core.models.FittedModel`, that encodes histories.
    precision
        ``"float16"``: weights and activations of 16 bits; half the size, and fast on hardware that has them, where
        others, most processors among them, convert back and forth.  ``"int8"``: products with weights of 8 bits a
        column and activations of 8 bits a batch; a quarter of the size.
    test
        The split whose test part tells the loss; the model should have been fitted on its training part.
    k
        Length of the lists that NDCG is measured on, at least 1.
    n_threads
        Threads, 0 for all.

    Returns
    -------
    ReducedEncoder

    Raises
    ------
    ConfigError
        The model has no encoder, or the precision is unknown.
    ExportError
        The smaller encoder answers with NaN or infinity, or only with operators that are not standard.
    NotFittedError
        The model is not fitted.

    Notes
    -----
    An 8-bit scale is that of the largest activation of a batch, so that a row's answer depends a little on the rows
    beside it: within its tolerance, and not, as for every other form, in the last bits only.  What items are scored
    with stays in float32.
    """
    if precision not in get_args(EncoderPrecision):
        raise ConfigError(f"precision: expected one of {', '.join(get_args(EncoderPrecision))}, got {precision!r}.")
    fitted = model.fitted if isinstance(model, Recommender) else model
    form = fitted.form
    encoder = form.encoder if isinstance(form, DotForm | PairForm) else None
    if encoder is None:
        raise ConfigError(f"precision: expected a model that encodes histories, got a form {form.kind!r} without.")
    assert isinstance(form, DotForm | PairForm)
    graph = _reduced(encoder.graph, precision)
    table = form.item_inputs if isinstance(form, PairForm) else form.item_factors
    smaller = replace(encoder, graph=graph, tolerance=TOLERANCES[precision])
    queries, other = (each.encode(fitted.histories, table) for each in (encoder, smaller))
    if not np.isfinite(other).all():
        raise ExportError(f"{precision}: expected finite queries, got NaN or infinity; keep float32.")
    # Not replace(): a bundle's model has an exported graph beside its form, which would go on answering.
    reduced = FittedModel(
        replace(form, encoder=smaller),
        fitted.users,
        fitted.items,
        fitted.histories,
        fitted.item_features,
        fitted.provenance,
    )
    metric = f"ndcg@{k}"
    before, after = (
        evaluate(each, test, k=[k], metrics=["ndcg"], n_threads=n_threads).values[metric] for each in (fitted, reduced)
    )
    return ReducedEncoder(
        reduced,
        precision,
        metric,
        before,
        after,
        float(np.abs(queries - other).max(initial=0) / np.abs(queries).max(initial=1e-30)),
        len(encoder.graph),
        len(graph),
    )


def _reduced(graph: bytes, precision: EncoderPrecision) -> bytes:
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = onnx.inliner.inline_local_functions(onnx.load_from_string(graph))
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        if precision == "float16":
            half = OnnxModel(convert_float_to_float16(model, keep_io_types=True))
            half.topological_sort()  # the converter puts the casts of inputs last
            converted: bytes = half.model.SerializeToString()
            return converted
        path = Path(folder) / "encoder.onnx"
        # Weights of 7 bits: processors without VNNI add two products up in 16 bits, which those of 8 would overflow.
        quantize_dynamic(
            model,
            path,
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm"],
        )
        return path.read_bytes()


@contextmanager
def _quiet() -> Iterator[None]:
    """The converters advise on the root logger to prepare the model, which the exporter has done."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
