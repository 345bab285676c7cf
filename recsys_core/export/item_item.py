"""Scores of an item-item model, as nodes: the rows of the weights that a history names, added up."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from recsys_core.export.graph import GraphBuilder
from recsys_core.export.history import History
from recsys_core.types import CSR, FloatArray

__all__ = ["add_item_item"]


def add_item_item(graph: GraphBuilder, weights: FloatArray | CSR, history: History) -> str:
    """Scores float32 [B, n_items] of histories times weights (n_items, n_items); NaN where a history is empty."""
    if isinstance(weights, np.ndarray):
        return _silent_where_empty(graph, history, _dense(weights, graph, history))
    return _silent_where_empty(graph, history, _sparse(weights, graph, history))


def _silent_where_empty(graph: GraphBuilder, history: History, scores: str) -> str:
    # All scores of an empty history are 0; the retrieval head returns nothing for NaN.
    n_known = graph.op("ReduceSum", history.mask, graph.constant([1]), keepdims=1)
    says_something = graph.op("Greater", n_known, graph.constant(0.0, "float32"))
    return graph.op("Where", says_something, scores, graph.constant(np.nan, "float32"))


def _sparse(weights: CSR, graph: GraphBuilder, history: History) -> str:
    """Scatter the stored entries of each history item's row into the scores.

    The rows lie one behind another, as in CSR, so that the cost is the entries that occur; padding every row to the
    longest would cost n_items rows of it.  With lengths l of the rows asked for, the flat entries are numbered
    0 .. sum(l) - 1: an entry's row is found by counting the row starts up to it, and its place in the row is its
    number less the start.
    """
    n_items = weights.shape[0]
    zero, one, all_rows = graph.constant([0]), graph.constant([1]), graph.constant([-1])
    row_start = graph.table("row_start", weights.indptr[:-1].astype(np.int64))
    row_length = graph.table("row_length", np.diff(weights.indptr).astype(np.int64))
    neighbors = graph.table("neighbors", weights.indices.astype(np.int32))
    values = graph.table("neighbor_weights", weights.data)

    batch = graph.op("Shape", history.items, start=0, end=1)
    length = graph.op("Shape", history.items, start=1, end=2)
    items = graph.op("Reshape", history.items, all_rows)
    lengths = graph.op("Mul", graph.op("Gather", row_length, items), _flat_integers(graph, history.mask))
    ends = graph.op("CumSum", lengths, graph.constant(0))
    starts = graph.op("Sub", ends, lengths)
    # One more place than entries, where the starts of empty rows at the end go.
    total = graph.op("ReduceSum", lengths, keepdims=1)
    marks = graph.op("Expand", zero, graph.op("Add", total, one))
    marks = graph.op("ScatterElements", marks, starts, _ones_like(graph, starts), axis=0, reduction="add")
    marks = graph.op("Slice", marks, zero, total, zero)
    row = graph.op("Sub", graph.op("CumSum", marks, graph.constant(0)), one)

    number = graph.op("Range", graph.constant(0), graph.op("Squeeze", total), graph.constant(1))
    within = graph.op("Sub", number, graph.op("Gather", starts, row))
    entry = graph.op("Add", graph.op("Gather", row_start, graph.op("Gather", items, row)), within)
    weight = graph.op("Gather", graph.op("Reshape", history.weight, all_rows), row)
    added = graph.op("Mul", graph.op("Gather", values, entry), weight)
    neighbor = graph.op("Cast", graph.op("Gather", neighbors, entry), to=TensorProto.INT64)
    query = graph.op("Div", row, graph.op("Max", length, one))
    where = graph.op("Add", graph.op("Mul", query, graph.constant(n_items)), neighbor)
    size = graph.op("Mul", batch, graph.constant([n_items]))
    scores = graph.op("Expand", graph.constant([0.0], "float32"), size)
    scores = graph.op("ScatterElements", scores, where, added, axis=0, reduction="add")
    return graph.op("Reshape", scores, graph.op("Concat", batch, graph.constant([n_items]), axis=0), allowzero=1)


def _flat_integers(graph: GraphBuilder, mask: str) -> str:
    return graph.op("Cast", graph.op("Reshape", mask, graph.constant([-1])), to=TensorProto.INT64)


def _ones_like(graph: GraphBuilder, indices: str) -> str:
    return graph.op("Expand", graph.constant([1]), graph.op("Shape", indices))


def _dense(weights: Any, graph: GraphBuilder, history: History) -> str:
    """Add up one row of the matrix a step, in a loop over the positions of the history.

    The product with a [B, n_items] history matrix would read the whole n_items^2 table for every batch; this reads
    the rows that occur and holds two [B, n_items] blocks.
    """
    n_items = weights.shape[0]
    table = graph.table("item_item_weights", weights)
    batch = graph.op("Shape", history.items, start=0, end=1)
    size = graph.op("Concat", batch, graph.constant([n_items]), axis=0)
    zeros = graph.op("Expand", graph.constant(0.0, "float32"), size)

    body = graph.body()
    step = body.input("step", "int64", [])
    keep_going = body.input("keep_going", "bool", [])
    so_far = body.input("scores_so_far", "float32", ["batch", n_items])
    item = body.op("Gather", history.items, step, axis=1)
    step_weight = body.op("Unsqueeze", body.op("Gather", history.weight, step, axis=1), body.constant([1]))
    added = body.op("Mul", body.op("Gather", table, item), step_weight)
    body.output("keep_going_out", keep_going, "bool", [])
    body.output("scores_out", body.op("Add", so_far, added), "float32", ["batch", n_items])

    n_steps = graph.op("Squeeze", graph.op("Shape", history.items, start=1, end=2))
    return graph.op("Loop", n_steps, graph.constant(True, "bool"), zeros, body=body.proto("add_history_item"))
