"""From a scoring form to the part of the graph that computes scores float32 [B, n_items]."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from recsys_core.export.graph import GraphBuilder
from recsys_core.export.history import History, add_history, distinct
from recsys_core.export.item_item import add_item_item
from recsys_core.export.queries import add_dot_queries, add_pair_queries, weighs_history
from recsys_core.export.retrieval import Rescorer
from recsys_core.models import DotForm, Form, ItemItemForm, PairForm, StaticForm
from recsys_core.models.forms.standardize import LEAST_DEVIATION

__all__ = ["add_scoring"]


def add_scoring(form: Form, graph: GraphBuilder, exclude: str) -> tuple[str, Rescorer | None]:
    """Add inputs and nodes that score every item for every query.

    Returns
    -------
    scores
        Their name, float32 [B, n_items].
    rescorer
        The second stage, where the form has one.
    """
    if not isinstance(form, PairForm):
        return _add_scores(form, graph, exclude, None), None
    graph.table("item_inputs", form.item_inputs)
    queries = add_pair_queries(form, graph)
    if form.retriever is None:
        return _score_all(form, graph, queries), None
    retrieved = _add_scores(form.retriever, graph, exclude, _history_beside_an_encoder(form, graph))

    def rescore(items: str, first_scores: str, unrestricted: str) -> str:
        if form.standardized:
            size = graph.constant([min(form.n_candidates, form.n_items)])
            listed, _ = graph.op_n("TopK", 2, unrestricted, size, axis=1, largest=1, sorted=0)
            first_scores = _standardized(graph, first_scores, listed)
        return _score_pairs(form, graph, queries, graph.op("Gather", "item_inputs", items), first_scores)

    return retrieved, Rescorer(form.n_candidates, rescore)


@singledispatch
def _add_scores(form: Any, graph: GraphBuilder, exclude: str, history: History | None) -> str:
    """Scores float32 [B, n_items]; ``history`` is read instead of the graph's own inputs."""
    raise TypeError(f"no ONNX export for {type(form).__name__}")


@_add_scores.register
def _(form: StaticForm, graph: GraphBuilder, exclude: str, history: History | None) -> str:
    scores = graph.table("item_scores", form.scores[None, :])
    batch = graph.op("Shape", exclude, start=0, end=1)
    return graph.op("Expand", scores, graph.op("Concat", batch, graph.constant([form.n_items]), axis=0))


@_add_scores.register
def _(form: DotForm, graph: GraphBuilder, exclude: str, history: History | None) -> str:
    item_factors = graph.table("item_factors", form.item_factors)
    queries = add_dot_queries(form, graph, history)
    bias = [graph.table("item_bias", form.item_bias)] if form.item_bias is not None else []
    return graph.op("Gemm", queries, item_factors, *bias, transB=1)


@_add_scores.register
def _(form: ItemItemForm, graph: GraphBuilder, exclude: str, history: History | None) -> str:
    return add_item_item(graph, form.weights, history or add_history(graph, not form.binary))


def _history_beside_an_encoder(form: PairForm, graph: GraphBuilder) -> History | None:
    """The distinct items that a retriever adds up, where the graph's history is a sequence with repeats."""
    if form.encoder is None or not form.accepts_histories:
        return None
    if isinstance(form.retriever, DotForm) and form.retriever.fold_in is not None:
        return distinct(graph, weighs_history(form.retriever.fold_in), form.retriever.fold_in.repeats)
    if isinstance(form.retriever, ItemItemForm):
        return distinct(graph, not form.retriever.binary, "sum")
    return None


def _score_all(form: PairForm, graph: GraphBuilder, queries: str) -> str:
    batch = graph.op("Shape", queries, start=0, end=1)
    rows = graph.op("Unsqueeze", "item_inputs", graph.constant([0]))
    shape = graph.op("Concat", batch, graph.constant([form.n_items, form.item_inputs.shape[1]]), axis=0)
    return _score_pairs(form, graph, queries, graph.op("Expand", rows, shape))


def _standardized(graph: GraphBuilder, scores: str, lists: str) -> str:
    """Scores float32 [B, C] by the scales of lists [B, C], as of ``ListScale``; 0 for a score of -inf, no item."""
    zero, axis = graph.constant(0.0, "float32"), graph.constant([1])

    def mean(values: str) -> str:
        return graph.op("Div", graph.op("ReduceSum", values, axis, keepdims=1), count)

    there = graph.op("Greater", lists, graph.constant(-np.inf, "float32"))
    n_there = graph.op("ReduceSum", graph.op("Cast", there, to=TensorProto.FLOAT), axis, keepdims=1)
    count = graph.op("Max", n_there, graph.constant(1.0, "float32"))
    known = graph.op("Where", there, lists, zero)
    middle = mean(known)
    apart = graph.op("Where", there, graph.op("Sub", known, middle), zero)
    deviation = graph.op("Sqrt", mean(graph.op("Mul", apart, apart)))
    least = graph.op("Mul", mean(graph.op("Abs", known)), graph.constant(LEAST_DEVIATION, "float32"))
    scale = graph.op("Add", deviation, least)
    has_width = graph.op("Greater", scale, zero)
    divisor = graph.op("Where", has_width, scale, graph.constant(1.0, "float32"))
    is_known = graph.op("And", graph.op("Greater", scores, graph.constant(-np.inf, "float32")), has_width)
    return graph.op("Where", is_known, graph.op("Div", graph.op("Sub", scores, middle), divisor), zero)


def _score_pairs(form: PairForm, graph: GraphBuilder, queries: str, items: str, first_scores: str | None = None) -> str:
    """Scores [B, C] of queries [B, dq] and the items [B, C, di] of each, as B * C pairs, row by row.

    ``first_scores`` float32 [B, C] are the retriever's, where there is one.
    """
    matrix = graph.op("Shape", items, start=0, end=2)
    width = graph.op("Shape", queries, start=1, end=2)
    repeated = graph.op(
        "Expand", graph.op("Unsqueeze", queries, graph.constant([1])), graph.op("Concat", matrix, width, axis=0)
    )
    pairs = {
        "query": graph.op("Reshape", repeated, graph.op("Concat", graph.constant([-1]), width, axis=0)),
        "item": graph.op("Reshape", items, graph.constant([-1, form.item_inputs.shape[1]])),
    }
    if first_scores is not None:
        pairs["retrieved"] = graph.op("Reshape", first_scores, graph.constant([-1]))
    scores = graph.inline(onnx.load_from_string(form.scorer.graph), "scorer.", pairs)[0]
    return graph.op("Reshape", scores, matrix, allowzero=1)
