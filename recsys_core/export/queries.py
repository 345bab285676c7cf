"""Query vectors, as nodes: looked up for known users, computed from the history of the others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto

from recsys_core.export.graph import GraphBuilder
from recsys_core.export.history import History, add_history, newest_items
from recsys_core.models import DotForm, FoldIn, HistoryEncoder, HistoryRidge, PairForm, PriorMean
from recsys_core.types import FloatArray

__all__ = ["add_dot_queries", "add_pair_queries", "weighs_history"]

# A conjugate-gradient step is skipped for a row once its squared residual, in the norm of the preconditioner, has
# fallen by this factor: 1e-6 in the solution, which is what float32 holds.
RESIDUAL_DROP = 1e-13


def add_dot_queries(form: DotForm, graph: GraphBuilder, history: History | None = None) -> str:
    """Queries float32 [B, n_factors] of a form whose ``item_factors`` are a table of the graph.

    ``history`` is read by a fold-in instead of the graph's own inputs.
    """
    compute: Callable[[GraphBuilder], str] | None = None
    if form.encoder is not None:
        compute = _encoding(form.encoder, graph, "encoder.", "item_factors")
    elif form.fold_in is not None:
        fold_in, read = form.fold_in, history or add_history(graph, weighs_history(form.fold_in))
        features = _declare_features(graph, fold_in.mean)
        compute = lambda body: _solve(form, fold_in, body, read, features)  # noqa: E731
    queries = _queries(graph, "user_factors", form.user_factors, compute)
    return queries if form.item_bias is not None else _silent_where_zero(graph, queries)


def _silent_where_zero(graph: GraphBuilder, queries: str) -> str:
    # Zeros score all items alike; the retrieval head returns nothing for NaN.
    largest = graph.op("ReduceMax", graph.op("Abs", queries), graph.constant([1]), keepdims=1)
    says_something = graph.op("Greater", largest, graph.constant(0.0, "float32"))
    return graph.op("Where", says_something, queries, graph.constant(np.nan, "float32"))


def add_pair_queries(form: PairForm, graph: GraphBuilder) -> str:
    """Queries float32 [B, dq] of a form whose ``item_inputs`` are a table of the graph."""
    compute: Callable[[GraphBuilder], str] | None = None
    if form.encoder is not None and form.accepts_histories:
        compute = _encoding(form.encoder, graph, "pair_encoder.", "item_inputs")
    return _queries(graph, "user_inputs", form.user_inputs if form.accepts_users else None, compute)


def weighs_history(fold_in: FoldIn) -> bool:
    """Whether the weights of a history's items count."""
    return fold_in.confidence[1] != 0 or fold_in.target[1] != 0


def _queries(
    graph: GraphBuilder, name: str, table: FloatArray | None, compute: Callable[[GraphBuilder], str] | None
) -> str:
    """Rows of the table where ``user_index`` is given, the result of ``compute`` elsewhere."""
    if table is None:
        assert compute is not None
        return compute(graph)
    user_index = graph.input("user_index", "int64", ["batch"])
    rows = graph.table(name, table)
    if compute is None:
        return _known_only(graph, rows, user_index, len(table))

    known = graph.op("GreaterOrEqual", user_index, graph.constant(0))
    looked_up = graph.op("Gather", rows, graph.op("Where", known, user_index, graph.constant(0)))
    shape: list[str | int] = ["batch", table.shape[1]]
    # A batch of known users does not pay for the computation.
    computing = graph.body()
    computed = compute(computing)
    mixed = computing.op("Where", computing.op("Unsqueeze", known, computing.constant([1])), looked_up, computed)
    computing.output(f"mixed_{name}", mixed, "float32", shape)
    looking = graph.body()
    looking.output(f"known_{name}", looked_up, "float32", shape)
    n_unknown = graph.op("ReduceSum", graph.op("Cast", graph.op("Not", known), to=TensorProto.INT64), keepdims=0)
    any_unknown = graph.op("Greater", n_unknown, graph.constant(0))
    return graph.op(
        "If", any_unknown, then_branch=computing.proto("compute_unknown"), else_branch=looking.proto("look_up_known")
    )


def _encoding(
    encoder: HistoryEncoder, graph: GraphBuilder, prefix: str, item_table: str
) -> Callable[[GraphBuilder], str]:
    """The encoder's own graph, to be put into this graph or a body of it."""
    inputs = {"history": newest_items(graph, encoder.max_length), "item_factors": item_table}
    for name, (dtype, width) in encoder.user_inputs.items():
        inputs[name] = graph.input(name, dtype, ["batch", "ngrams" if width is None else width])
    model = onnx.load_from_string(encoder.graph)
    return lambda body: body.inline(model, prefix, inputs)[0]


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


def _declare_features(graph: GraphBuilder, mean: PriorMean | None) -> dict[str, str]:
    """Inputs of the features that a mean reads, by the names of the preparation's arrays."""
    features: dict[str, str] = {}
    if mean is None:
        return features
    preparation = mean.preparation
    if preparation.n_numbers:
        features["numeric"] = graph.input("user_numeric", "float32", ["batch", preparation.n_numbers])
    if preparation.widths:
        features["categorical"] = graph.input("user_categorical", "int64", ["batch", sum(preparation.widths)])
    return features


def _mean(graph: GraphBuilder, mean: PriorMean, features: dict[str, str]) -> str:
    """Where the vector of each asker is expected to lie, float32 [B, 1, n_factors]."""
    numbers, values, shared = np.split(mean.vectors, [mean.preparation.n_numbers, len(mean.vectors) - 1])
    total = graph.table("mean_of_all", shared[None])
    if "numeric" in features:
        missing = graph.op("IsNaN", features["numeric"])
        known = graph.op("Where", missing, graph.constant(0.0, "float32"), features["numeric"])
        part = graph.op("MatMul", known, graph.table("mean_of_numbers", numbers))
        total = graph.op("Add", total, graph.op("Unsqueeze", part, graph.constant([1])))
    if "categorical" in features:
        # A missing value has the last vector, of zeros.
        missing = graph.op("Less", features["categorical"], graph.constant(0))
        place = graph.op("Where", missing, graph.constant(len(values)), features["categorical"])
        table = graph.table("mean_of_values", np.vstack([values, np.zeros_like(shared)]))
        part = graph.op("ReduceSum", graph.op("Gather", table, place), graph.constant([1]), keepdims=1)
        total = graph.op("Add", total, part)
    return total


def _solve(form: DotForm, fold_in: FoldIn, graph: GraphBuilder, history: History, features: dict[str, str]) -> str:
    r"""Solve the fold-in system of every row by preconditioned conjugate gradients.

    ONNX has no solver, but :math:`(P + \lambda_h I + V_h^\top C V_h)\,q = V_h^\top t + \lambda_h m` needs only products
    with :math:`P` and with the gathered rows :math:`V_h`.  :math:`(P + \lambda_h I)^{-1}` preconditions: the history is
    a low-rank change of the rest, so exact arithmetic needs at most (distinct items + 1) steps.  Everything is
    [B, 1, n_factors]; a row that has converged no longer moves, so that it does not depend on the others in the batch.
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
    ridge = None if fold_in.ridge is None else _ridge(graph, fold_in.ridge, history)
    precondition = _preconditioner(graph, fold_in, ridge)
    residual = graph.op("MatMul", target, rows)
    mean = None if fold_in.mean is None else _mean(graph, fold_in.mean, features)
    if mean is not None:
        assert ridge is not None
        residual = graph.op("Add", residual, graph.op("Mul", ridge, mean))
    descent = precondition(graph, residual)
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
    if ridge is not None:
        a_p = body.op("Add", a_p, body.op("Mul", ridge, p))
    moving = body.op("Greater", rz, enough)
    curvature = body.op("Where", moving, _inner(body, p, a_p), one)
    alpha = body.op("Where", moving, body.op("Div", rz, curvature), body.constant(0.0, "float32"))
    q_next = body.op("Add", q, body.op("Mul", alpha, p))
    r_next = body.op("Sub", r, body.op("Mul", alpha, a_p))
    z = precondition(body, r_next)
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
    if mean is not None:
        n_items = graph.op("ReduceSum", history.mask, graph.constant([1]), keepdims=1)
        known = graph.op("Greater", graph.op("Unsqueeze", n_items, graph.constant([2])), graph.constant(0.0, "float32"))
        solution = graph.op("Where", known, solution, mean)
    return graph.op("Squeeze", solution, graph.constant([1]))


def _ridge(graph: GraphBuilder, ridge: HistoryRidge, history: History) -> str:
    """The regularization of each history, float32 [B, 1, 1]."""
    scale, base, exponent, one = (
        graph.constant(value, "float32") for value in (ridge.scale, ridge.base, ridge.exponent, 1.0)
    )
    n_items = graph.op("ReduceSum", graph.op("Unsqueeze", history.mask, graph.constant([2])), graph.constant([1]))
    return graph.op("Mul", scale, graph.op("Pow", graph.op("Add", graph.op("Max", n_items, one), base), exponent))


def _preconditioner(graph: GraphBuilder, fold_in: FoldIn, ridge: str | None) -> Callable[[GraphBuilder, str], str]:
    """Products [B, 1, n_factors] with the inverse of the prior and ridge, in the graph or a body of it."""
    if ridge is None:
        inverse = np.linalg.inv(fold_in.prior.astype(np.float64))
        table = graph.table("fold_in_prior_inverse", inverse.astype(np.float32))
        return lambda builder, vector: builder.op("MatMul", vector, table)
    # In the coordinates of the prior's eigenvectors, every row's matrix is diagonal.
    values, vectors = np.linalg.eigh(fold_in.prior.astype(np.float64))
    enter = graph.table("fold_in_eigenvectors", vectors.astype(np.float32))
    leave = graph.op("Transpose", enter, perm=[1, 0])
    eigenvalues = graph.table("fold_in_eigenvalues", np.maximum(values, 0.0).astype(np.float32))
    diagonal = graph.op("Add", eigenvalues, ridge)

    def product(builder: GraphBuilder, vector: str) -> str:
        return builder.op("MatMul", builder.op("Div", builder.op("MatMul", vector, enter), diagonal), leave)

    return product


def _affine(graph: GraphBuilder, coefficients: tuple[float, float], weight: str) -> str:
    constant, slope = (graph.constant(value, "float32") for value in coefficients)
    return graph.op("Add", constant, graph.op("Mul", slope, weight))


def _inner(graph: GraphBuilder, a: str, b: str) -> str:
    return graph.op("ReduceSum", graph.op("Mul", a, b), graph.constant([2]), keepdims=1)
