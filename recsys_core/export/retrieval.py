"""The retrieval head that every exported model shares: filters and top-k, inside the graph.

Scores in, ``item_index`` and ``score`` out.  Ties go to the lowest item index because onnxruntime's TopK promises so on
the CPU; a filtered item is never returned, and missing places are filled with index -1 and score ``-inf``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from recsys_core.export.graph import GraphBuilder

__all__ = ["Rescorer", "add_retrieval_head"]


class Rescorer(NamedTuple):
    """A second stage: the best ``n_candidates`` by the scores are scored anew, and only they are returned."""

    n_candidates: int
    score: Callable[[str, str, str], str]
    """Adds the nodes that score candidates int64 [B, C], given their scores so far, float32 [B, C] and -inf for those
    that are left out, and those of all items but the excluded ones, allowed or not, float32 [B, n_items]; returns the
    new scores' name, float32 [B, C]."""


def add_retrieval_head(
    graph: GraphBuilder, scores: str, n_items: int, exclude: str, fixed_k: int | None, rescorer: Rescorer | None = None
) -> None:
    """Filter ``scores`` float32 [B, n_items] and return the top k of each row, by those of a rescorer if there is one.

    Adds the inputs ``allow`` int64 [A] (empty: no restriction; padded with -1) and ``k`` int64 (a scalar), unless
    ``fixed_k`` bakes k in, and the outputs ``item_index`` int64 [B, k] and ``score`` float32 [B, k].
    ``exclude`` is an int64 [B, E] input, padded with -1.
    """
    allow = graph.input("allow", "int64", ["allowed"])
    k = graph.constant([fixed_k]) if fixed_k else _as_vector(graph, graph.input("k", "int64", []))
    minus_inf = graph.constant(-np.inf, "float32")

    # NaN would count as the largest score in TopK.
    scores = graph.op("Where", graph.op("IsNaN", scores), minus_inf, scores)
    unrestricted = _excluded(graph, scores, n_items, exclude, minus_inf)
    scores = graph.op("Where", _allowed(graph, allow, n_items), unrestricted, minus_inf)

    # TopK refuses more than there are, so it gets less and the rest is padding.
    if rescorer is None:
        k_found = graph.op("Min", k, graph.constant([n_items]))
        values, indices = graph.op_n("TopK", 2, scores, k_found, axis=1, largest=1, sorted=1)
    else:
        n_candidates = min(rescorer.n_candidates, n_items)
        k_found = graph.op("Min", k, graph.constant([n_candidates]))
        candidates, scores = _rescored(graph, scores, unrestricted, n_candidates, rescorer, minus_inf)
        values, columns = graph.op_n("TopK", 2, scores, k_found, axis=1, largest=1, sorted=1)
        indices = graph.op("GatherElements", candidates, columns, axis=1)
    found = graph.op("Greater", values, minus_inf)
    indices = graph.op("Where", found, indices, graph.constant(-1))
    pads = graph.op("Concat", graph.constant([0, 0, 0]), graph.op("Sub", k, k_found), axis=0)
    shape: list[str | int] = ["batch", fixed_k or "k"]
    graph.output("item_index", graph.op("Pad", indices, pads, graph.constant(-1)), "int64", shape)
    graph.output("score", graph.op("Pad", values, pads, minus_inf), "float32", shape)


def _rescored(
    graph: GraphBuilder, scores: str, unrestricted: str, n_candidates: int, rescorer: Rescorer, minus_inf: str
) -> tuple[str, str]:
    """The candidates in item order, so that ties go to the lowest item, and their new scores."""
    size = graph.constant([n_candidates])
    _, found = graph.op_n("TopK", 2, scores, size, axis=1, largest=1, sorted=0)
    candidates, _ = graph.op_n("TopK", 2, found, size, axis=1, largest=0, sorted=1)
    retrieved = graph.op("GatherElements", scores, candidates, axis=1)
    admissible = graph.op("Greater", retrieved, minus_inf)
    anew = rescorer.score(candidates, retrieved, unrestricted)
    usable = graph.op("And", admissible, graph.op("Not", graph.op("IsNaN", anew)))
    return candidates, graph.op("Where", usable, anew, minus_inf)


def _as_vector(graph: GraphBuilder, k: str) -> str:
    return graph.op("Reshape", k, graph.constant([1]))


def _to_spare_column(graph: GraphBuilder, indices: str, n_items: int) -> str:
    # Padding and out-of-range indices all point to one spare column behind the last item: scattering must never
    # write outside, which on some devices is not checked.
    valid = graph.op(
        "And",
        graph.op("GreaterOrEqual", indices, graph.constant(0)),
        graph.op("Less", indices, graph.constant(n_items)),
    )
    return graph.op("Where", valid, indices, graph.constant(n_items))


def _excluded(graph: GraphBuilder, scores: str, n_items: int, exclude: str, minus_inf: str) -> str:
    spare = graph.op("Pad", scores, graph.constant([0, 0, 0, 1]), minus_inf)
    where = _to_spare_column(graph, exclude, n_items)
    updates = graph.op("Expand", minus_inf, graph.op("Shape", where))
    masked = graph.op("ScatterElements", spare, where, updates, axis=1)
    return graph.op("Slice", masked, graph.constant([0]), graph.constant([n_items]), graph.constant([1]))


def _allowed(graph: GraphBuilder, allow: str, n_items: int) -> str:
    """Boolean [n_items]: whether an item passes ``allow``."""
    where = _to_spare_column(graph, allow, n_items)
    ones = graph.op("Expand", graph.constant(1.0, "float32"), graph.op("Shape", where))
    marks = graph.op("ScatterElements", graph.table("no_item", np.zeros(n_items + 1, np.float32)), where, ones, axis=0)
    marked = graph.op("Slice", marks, graph.constant([0]), graph.constant([n_items]), graph.constant([0]))
    unrestricted = graph.op("Equal", graph.op("Size", allow), graph.constant(0))
    return graph.op("Or", graph.op("Greater", marked, graph.constant(0.0, "float32")), unrestricted)
