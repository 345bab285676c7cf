"""What whoever feeds a graph must know about it besides its inputs: kept in the file's metadata."""

from __future__ import annotations

from typing import Literal

import numpy as np

from recsys_core.models import DotForm, Form, ItemItemForm, PairForm

__all__ = ["history_repeats", "history_width", "score_width"]


def history_repeats(form: Form) -> Literal["sum", "last", "keep"]:
    """What an item that a history repeats weighs; unless it is "keep", whoever feeds the graph makes items distinct."""
    if isinstance(form, DotForm | PairForm) and form.encoder is not None:
        return "keep"
    if isinstance(form, PairForm) and form.retriever is not None:
        return history_repeats(form.retriever)
    return form.fold_in.repeats if isinstance(form, DotForm) and form.fold_in is not None else "sum"


def history_width(form: Form) -> int:
    """About how many numbers the graph holds at a time for each item of a history."""
    if isinstance(form, PairForm):
        retrieving = history_width(form.retriever) if form.retriever is not None else 0
        return retrieving + (8 * max(form.encoder.n_dims, form.encoder.max_length) if form.encoder is not None else 0)
    if isinstance(form, DotForm):
        if form.encoder is not None:
            return 8 * max(form.encoder.n_dims, form.encoder.max_length)
        return 2 * int(form.item_factors.shape[1]) if form.fold_in is not None else 0
    if isinstance(form, ItemItemForm) and not isinstance(form.weights, np.ndarray):
        return 8 * -(-int(form.weights.nnz) // max(form.n_items, 1))
    return 0


def score_width(form: Form) -> int:
    """About how many numbers the graph holds at a time for each item that it scores, besides the score."""
    if not isinstance(form, PairForm):
        return 0
    width = 4 * int(form.item_inputs.shape[1] + form.n_dims)
    # Of a second stage only the candidates are held so.
    return width if form.retriever is None else -(-width * form.n_candidates // max(form.n_items, 1))
