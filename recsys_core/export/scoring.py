"""From a scoring form to the part of the graph that computes scores float32 [B, n_items].

A history is ``history`` int64 [B, L], padded with -1, and where the form weighs it ``history_weight`` float32 [B, L].
Forms that add items up take distinct ones, and turn padding into item 0 with weight 0; an encoder takes the newest
items in their order, repeats included.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
from typing import Any, Literal, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto

from recsys_core.export.graph import GraphBuilder
from recsys_core.models import DotForm, FoldIn, Form, HistoryEncoder, ItemItemForm, StaticForm
from recsys_core.types import CSR

__all__ = ["add_scores", "history_repeats", "history_width", "uses_weights"]

# A conjugate-gradient step is skipped for a row once its squared residual, in the norm of the preconditioner, has
# fallen by this factor: 1e-6 in the solution, which is what float32 holds.
RESIDUAL_DROP = 1e-13


@singledispatch
def add_scores(form: Any, graph: GraphBuilder, exclude: str) -> str:
    """Add inputs and nodes that score every item for every query; returns the scores' name."""
    raise TypeError(f"no ONNX export for {type(form).__name__}")


def uses_weights(form: Form) -> bool:
    """Whether the form's graph takes ``history_weight``."""
    if isinstance(form, DotForm):
        return form.fold_in is not None and (form.fold_in.confidence[1] != 0 or form.fold_in.target[1] != 0)
    return isinstance(form, ItemItemForm) and not form.binary


def history_repeats(form: Form) -> Literal["sum", "last", "keep"]:
    """What an item that a history repeats weighs; unless it is "keep", whoever feeds the graph makes items distinct."""
    if _encoder(form) is not None:
        return "keep"
    return form.fold_in.repeats if isinstance(form, DotForm) and form.fold_in is not None else "sum"


def history_width(form: Form) -> int:
    """About how many numbers the graph holds at a time for each item of a history."""
    encoder = _encoder(form)
    if encoder is not None:
        assert isinstance(form, DotForm)
        return 8 * max(len(form.item_factors[0]), encoder.max_length)
    if isinstance(form, DotForm):
        return 2 * form.item_factors.shape[1] if form.fold_in is not None else 0
    if isinstance(form, ItemItemForm) and not isinstance(form.weights, np.ndarray):
        return 8 * -(-int(form.weights.nnz) // max(form.n_items, 1))
    return 0


def _encoder(form: Form) -> HistoryEncoder | None:
    return form.encoder if isinstance(form, DotForm) else None


@add_scores.register
def _(form: StaticForm, graph: GraphBuilder, exclude: str) -> str:
    scores = graph.table("item_scores", form.scores[None, :])
    batch = graph.op("Shape", exclude, start=0, end=1)
    return graph.op("Expand", scores, graph.op("Concat", batch, graph.constant([form.n_items]), axis=0))


@add_scores.register
def _(form: DotForm, graph: GraphBuilder, exclude: str) -> str:
    item_factors = graph.table("item_factors", form.item_factors)
    queries = _queries(form, graph)
    bias = [graph.table("item_bias", form.item_bias)] if form.item_bias is not None else []
    return graph.op("Gemm", queries, item_factors, *bias, transB=1)


@add_scores.register
def _(form: ItemItemForm, graph: GraphBuilder, exclude: str) -> str:
    history = _history(graph, not form.binary)
    if isinstance(form.weights, np.ndarray):
        return _dense_item_item(form.weights, graph, history)
    return _sparse_item_item(form.weights, graph, history)


class _History(NamedTuple):
    items: str  # int64 [B, L], 0 where padded
    weight: str  # float32 [B, L], 0 where padded
    mask: str  # float32 [B, L], 1 for an item and 0 where padded


def _history(graph: GraphBuilder, weighted: bool) -> _History:
    history = graph.input("history", "int64", ["batch", "length"])
    valid = graph.op("GreaterOrEqual", history, graph.constant(0))
    mask = graph.op("Cast", valid, to=TensorProto.FLOAT)
    weight = mask
    if weighted:
        # Padding may carry any weight, even NaN.
        given = graph.input("history_weight", "float32", ["batch", "length"])
        weight = graph.op("Where", valid, given, graph.constant(0.0, "float32"))
    return _History(graph.op("Where", valid, history, graph.constant(0)), weight, mask)


def _sparse_item_item(weights: CSR, graph: GraphBuilder, history: _History) -> str:
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


def _dense_item_item(weights: Any, graph: GraphBuilder, history: _History) -> str:
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


def _queries(form: DotForm, graph: GraphBuilder) -> str:
    """Query vectors [B, n_factors]: looked up for known users, computed from the history of the others."""
    if form.user_factors is None:
        return _stranger_queries(form, graph)(graph)
    user_index = graph.input("user_index", "int64", ["batch"])
    user_factors = graph.table("user_factors", form.user_factors)
    if not form.accepts_histories:
        return _known_only(graph, user_factors, user_index, len(form.user_factors))

    compute = _stranger_queries(form, graph)
    known = graph.op("GreaterOrEqual", user_index, graph.constant(0))
    looked_up = graph.op("Gather", user_factors, graph.op("Where", known, user_index, graph.constant(0)))
    shape: list[str | int] = ["batch", form.item_factors.shape[1]]
    # A batch of known users does not pay for the computation.
    computing = graph.body()
    computed = compute(computing)
    mixed = computing.op("Where", computing.op("Unsqueeze", known, computing.constant([1])), looked_up, computed)
    computing.output("mixed_queries", mixed, "float32", shape)
    looking = graph.body()
    looking.output("known_queries", looked_up, "float32", shape)
    n_unknown = graph.op("ReduceSum", graph.op("Cast", graph.op("Not", known), to=TensorProto.INT64), keepdims=0)
    any_unknown = graph.op("Greater", n_unknown, graph.constant(0))
    return graph.op(
        "If", any_unknown, then_branch=computing.proto("compute_unknown"), else_branch=looking.proto("look_up_known")
    )


def _stranger_queries(form: DotForm, graph: GraphBuilder) -> Callable[[GraphBuilder], str]:
    """Declare the inputs that a history needs; the result adds, to this graph or a body in it, the query's nodes."""
    if form.encoder is not None:
        encoder = form.encoder
        history = graph.input("history", "int64", ["batch", "length"])
        return lambda body: _encode(encoder, body, history)
    assert form.fold_in is not None
    fold_in, weighed = form.fold_in, _history(graph, uses_weights(form))
    return lambda body: _solve(form, fold_in, body, weighed)


def _encode(encoder: HistoryEncoder, graph: GraphBuilder, history: str) -> str:
    """The encoder's own graph, behind one that right-aligns the newest items of each row.

    An item's column follows from the number of items from it to the end of its row: the newest goes to the last of T
    columns, T being the longest row's length, within 1 and max_length; padding and items too old go to a spare one.
    """
    one, last_axis = graph.constant([1]), graph.constant(1)
    spare, minus_one = graph.constant([0]), graph.constant([-1])
    valid = graph.op("GreaterOrEqual", history, graph.constant(0))
    counted = graph.op("Cast", valid, to=TensorProto.INT64)
    lengths = graph.op("Concat", one, graph.op("ReduceSum", counted, one, keepdims=0), axis=0)
    longest = graph.op("Min", graph.op("ReduceMax", lengths, keepdims=1), graph.constant([encoder.max_length]))
    from_end = graph.op("CumSum", counted, last_axis, reverse=1)
    kept = graph.op("And", valid, graph.op("LessOrEqual", from_end, longest))
    column = graph.op("Sub", graph.op("Add", longest, graph.constant([1])), from_end)
    column = graph.op("Where", kept, column, spare)
    shape = graph.op("Concat", graph.op("Shape", history, start=0, end=1), graph.op("Add", longest, one), axis=0)
    blank = graph.op("Expand", minus_one, shape)
    aligned = graph.op("ScatterElements", blank, column, history, axis=1)
    aligned = graph.op("Slice", aligned, one, graph.op("Add", longest, one), one)

    model = onnx.load_from_string(encoder.graph)
    inputs = {"history": aligned, "item_factors": "item_factors"}
    return graph.inline(model, "encoder.", inputs)[0]


def _known_only(graph: GraphBuilder, user_factors: str, user_index: str, n_users: int) -> str:
    # Gather counts negative positions from the end.  An unknown user's query is NaN, so that all scores are NaN and
    # the retrieval head returns nothing.
    known = graph.op(
        "And",
        graph.op("GreaterOrEqual", user_index, graph.constant(0)),
        graph.op("Less", user_index, graph.constant(n_users)),
    )
    looked_up = graph.op("Gather", user_factors, graph.op("Where", known, user_index, graph.constant(0)))
    known = graph.op("Unsqueeze", known, graph.constant([1]))
    return graph.op("Where", known, looked_up, graph.constant(np.nan, "float32"))


def _solve(form: DotForm, fold_in: FoldIn, graph: GraphBuilder, history: _History) -> str:
    r"""Solve the fold-in system of every row by preconditioned conjugate gradients.

    ONNX has no solver, but :math:`(P + V_h^\top C V_h)\,q = V_h^\top t` needs only products with :math:`P` and with the
    gathered rows :math:`V_h`.  The constant :math:`P^{-1}` preconditions: the history is a low-rank change of
    :math:`P`, so exact arithmetic needs at most (distinct items + 1) steps.  Everything is [B, 1, n_factors]; a row
    that has converged no longer moves, so that it does not depend on the others in the batch.
    """
    n_factors = form.item_factors.shape[1]
    one = graph.constant(1.0, "float32")
    rows = graph.op("Gather", "item_factors", history.items)
    rows_t = graph.op("Transpose", rows, perm=[0, 2, 1])
    confidence = _affine(graph, fold_in.confidence, history.weight)
    target = _affine(graph, fold_in.target, history.weight)
    if fold_in.item_offset is not None:
        offset = graph.table("item_offset", fold_in.item_offset)
        target = graph.op("Sub", target, graph.op("Gather", offset, history.items))
    confidence = graph.op("Unsqueeze", graph.op("Mul", confidence, history.mask), graph.constant([1]))
    target = graph.op("Unsqueeze", graph.op("Mul", target, history.mask), graph.constant([1]))

    prior = graph.table("fold_in_prior", fold_in.prior)
    inverse = np.linalg.inv(fold_in.prior.astype(np.float64))
    prior_inverse = graph.table("fold_in_prior_inverse", inverse.astype(np.float32))
    residual = graph.op("MatMul", target, rows)
    descent = graph.op("MatMul", residual, prior_inverse)
    energy = _inner(graph, residual, descent)
    enough = graph.op("Mul", energy, graph.constant(RESIDUAL_DROP, "float32"))
    start = graph.op("Mul", residual, graph.constant(0.0, "float32"))

    body = graph.body()
    body.input("solve_step", "int64", [])
    body.input("solve_keep_going", "bool", [])
    vector: list[str | int] = ["batch", 1, n_factors]
    scalar: list[str | int] = ["batch", 1, 1]
    q = body.input("q", "float32", vector)
    r = body.input("r", "float32", vector)
    p = body.input("p", "float32", vector)
    rz = body.input("rz", "float32", scalar)
    seen = body.op("Mul", body.op("MatMul", p, rows_t), confidence)
    a_p = body.op("Add", body.op("MatMul", p, prior), body.op("MatMul", seen, rows))
    moving = body.op("Greater", rz, enough)
    curvature = body.op("Where", moving, _inner(body, p, a_p), one)
    alpha = body.op("Where", moving, body.op("Div", rz, curvature), body.constant(0.0, "float32"))
    q_next = body.op("Add", q, body.op("Mul", alpha, p))
    r_next = body.op("Sub", r, body.op("Mul", alpha, a_p))
    z = body.op("MatMul", r_next, prior_inverse)
    rz_new = _inner(body, r_next, z)
    rz_next = body.op("Where", moving, rz_new, rz)
    beta = body.op("Div", rz_next, body.op("Where", moving, rz, one))
    p_next = body.op("Where", moving, body.op("Add", z, body.op("Mul", beta, p)), p)
    still = body.op("Cast", body.op("Greater", rz_next, enough), to=TensorProto.INT64)
    body.output("solve_more", body.op("Greater", body.op("ReduceSum", still, keepdims=0), body.constant(0)), "bool", [])
    body.output("q_next", q_next, "float32", vector)
    body.output("r_next", r_next, "float32", vector)
    body.output("p_next", p_next, "float32", vector)
    body.output("rz_next", rz_next, "float32", scalar)

    # Rounding costs steps beyond the n_factors of exact arithmetic.
    solution = graph.op_n(
        "Loop",
        4,
        graph.constant(4 * n_factors + 8),
        graph.constant(True, "bool"),
        start,
        residual,
        descent,
        energy,
        body=body.proto("conjugate_gradients"),
    )[0]
    return graph.op("Squeeze", solution, graph.constant([1]))


def _affine(graph: GraphBuilder, coefficients: tuple[float, float], weight: str) -> str:
    constant, slope = (graph.constant(value, "float32") for value in coefficients)
    return graph.op("Add", constant, graph.op("Mul", slope, weight))


def _inner(graph: GraphBuilder, a: str, b: str) -> str:
    return graph.op("ReduceSum", graph.op("Mul", a, b), graph.constant([2]), keepdims=1)
