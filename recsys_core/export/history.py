"""The history of a question, as inputs of the graph and nodes that tidy them up.

A history is ``history`` int64 [B, L], padded with -1, and where the form weighs it ``history_weight`` float32 [B, L].
Forms that add items up take distinct ones; an encoder takes the newest items in their order, repeats included.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from onnx import TensorProto

from recsys_core.export.graph import GraphBuilder

__all__ = ["History", "add_history", "distinct", "newest_items"]


class History(NamedTuple):
    """What forms that add items up read: padding is item 0 with weight 0."""

    items: str  # int64 [B, L], 0 where padded
    weight: str  # float32 [B, L], 0 where padded
    mask: str  # float32 [B, L], 1 for an item and 0 where padded


def add_history(graph: GraphBuilder, weighted: bool) -> History:
    """Declare the inputs of a history of distinct items."""
    history = graph.input("history", "int64", ["batch", "length"])
    weight = graph.input("history_weight", "float32", ["batch", "length"]) if weighted else None
    return _padded(graph, history, weight)


def distinct(graph: GraphBuilder, weighted: bool, repeats: Literal["sum", "last"]) -> History:
    """The same from a history with repeats, for a form beside an encoder: an item stays where it comes last.

    It compares the L items of a row with each other.
    """
    history = graph.input("history", "int64", ["batch", "length"])
    minus_one, valid = graph.constant(-1), graph.op("GreaterOrEqual", history, graph.constant(0))
    same = graph.op("Equal", *(graph.op("Unsqueeze", history, graph.constant([axis])) for axis in (2, 1)))
    same = graph.op("Cast", same, to=TensorProto.FLOAT)
    later = graph.op("ReduceSum", graph.op("Trilu", same, graph.constant(1), upper=1), graph.constant([2]), keepdims=0)
    last = graph.op("And", valid, graph.op("Equal", later, graph.constant(0.0, "float32")))
    weight = None
    if weighted:
        given = graph.input("history_weight", "float32", ["batch", "length"])
        weight = graph.op("Where", valid, given, graph.constant(0.0, "float32"))
        if repeats == "sum":
            summed = graph.op("MatMul", same, graph.op("Unsqueeze", weight, graph.constant([2])))
            weight = graph.op("Squeeze", summed, graph.constant([2]))
    return _padded(graph, graph.op("Where", last, history, minus_one), weight)


def _padded(graph: GraphBuilder, history: str, weight: str | None) -> History:
    valid = graph.op("GreaterOrEqual", history, graph.constant(0))
    mask = graph.op("Cast", valid, to=TensorProto.FLOAT)
    # Padding may carry any weight, even NaN.
    kept = mask if weight is None else graph.op("Where", valid, weight, graph.constant(0.0, "float32"))
    return History(graph.op("Where", valid, history, graph.constant(0)), kept, mask)


def newest_items(graph: GraphBuilder, length: int) -> str:
    """The newest ``length`` items of each row, right-aligned, int64 [B, T] with -1 in front.

    An item's column follows from the number of items from it to the end of its row: the newest goes to the last of T
    columns, T being the longest row's length, within 1 and ``length``; padding and items too old go to a spare one.
    """
    history = graph.input("history", "int64", ["batch", "length"])
    one, last_axis = graph.constant([1]), graph.constant(1)
    spare, minus_one = graph.constant([0]), graph.constant([-1])
    valid = graph.op("GreaterOrEqual", history, graph.constant(0))
    counted = graph.op("Cast", valid, to=TensorProto.INT64)
    lengths = graph.op("Concat", one, graph.op("ReduceSum", counted, one, keepdims=0), axis=0)
    longest = graph.op("Min", graph.op("ReduceMax", lengths, keepdims=1), graph.constant([length]))
    from_end = graph.op("CumSum", counted, last_axis, reverse=1)
    kept = graph.op("And", valid, graph.op("LessOrEqual", from_end, longest))
    column = graph.op("Sub", graph.op("Add", longest, graph.constant([1])), from_end)
    column = graph.op("Where", kept, column, spare)
    shape = graph.op("Concat", graph.op("Shape", history, start=0, end=1), graph.op("Add", longest, one), axis=0)
    blank = graph.op("Expand", minus_one, shape)
    aligned = graph.op("ScatterElements", blank, column, history, axis=1)
    return graph.op("Slice", aligned, one, graph.op("Add", longest, one), one)
