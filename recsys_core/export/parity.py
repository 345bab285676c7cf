"""The parity check: an exported graph must give the model's own answers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys_core.data import Histories
from recsys_core.errors import ExportError
from recsys_core.export.session import OnnxRanker
from recsys_core.models import NO_FILTERS, DotForm, Filters, FittedModel, Form, PairForm
from recsys_core.models.history_encoder import TOLERANCE
from recsys_core.models.user_features import DescribedHistories
from recsys_core.types import IndexArray, Ranking

__all__ = ["ParityReport", "check_parity"]


@dataclass(frozen=True)
class ParityReport:
    """Outcome of a parity check that passed.

    Attributes
    ----------
    max_error
        Largest difference of two scores of one rank, relative to the largest score of the row (at least 1).
    tolerance
        What was allowed.
    n_queries, shapes
        Queries compared, and the (batch, k) of each comparison.
    n_swapped
        Places where the two order items differently whose scores are within the tolerance of each other.
    """

    max_error: float
    tolerance: float
    n_queries: int
    shapes: tuple[tuple[int, int], ...]
    n_swapped: int

    def __str__(self) -> str:
        shapes = ", ".join(f"{batch}x{k}" for batch, k in self.shapes)
        return (
            f"ONNX gives the model's answers: {self.n_queries} queries (batch x k: {shapes}), "
            f"largest relative difference {self.max_error:.1e}, tolerance {self.tolerance:.0e}"
        )


def check_parity(
    fitted: FittedModel, path: str | os.PathLike[str], *, tolerance: float | None = None, random_state: int = 0
) -> ParityReport:
    """Compare onnxruntime's answers with the model's own on several shapes.

    Known users and histories are asked where the model takes them, and histories with made-up features where it reads
    such, in batches of 1, 3 and 33, with k of 1, 10 and more than there are items, with and without seen items, an
    allow list and a deny list; the longest history and an empty one are always among them.  Scores must agree rank by
    rank within ``tolerance``; items too, except where scores closer than the tolerance may be swapped, since two
    backends add in different orders.

    Parameters
    ----------
    fitted
        The model.
    path
        Its ONNX file.
    tolerance
        Allowed difference of two scores, relative to the largest absolute score of the row, at least 1.  By default
        that of the model's encoder of histories, the larger one where both stages have one, or 1e-4 if there is none.
    random_state
        Chooses the users.

    Returns
    -------
    ParityReport

    Raises
    ------
    ExportError
        The answers differ.
    """
    if tolerance is None:
        tolerance = _tolerance(fitted.form)
    ranker = OnnxRanker(path)
    rng = np.random.default_rng(random_state)
    n_items = len(fitted.items)
    fixed_k = ranker.metadata.get("recsys_core.k")
    shapes: list[tuple[int, int]] = []
    worst, swapped = 0.0, 0
    for batch, wanted_k in ((1, 10), (3, 1), (33, 10), (3, n_items + 3)):
        k = int(fixed_k) if fixed_k else wanted_k
        users, told = _askers(fitted, batch, rng)
        some = np.sort(rng.choice(n_items, max(1, n_items // 2), replace=False))
        seen = told.to_csr(n_items)
        for user_index, histories in _questions(fitted, users, told, rng, ranker.vector_dims):
            for filters in (NO_FILTERS, Filters(seen), Filters(seen, allow=some), Filters(deny=some)):
                native = fitted.form.rank(user_index, histories, k, filters)
                onnx = ranker.rank(user_index, histories, k, filters)
                error, n_swapped = _difference(native, onnx, tolerance)
                worst, swapped = max(worst, error), swapped + n_swapped
                shapes.append((batch, k))
    return ParityReport(worst, tolerance, sum(b for b, _ in shapes), tuple(dict.fromkeys(shapes)), swapped)


def _tolerance(form: Form) -> float:
    stages = [form, form.retriever] if isinstance(form, PairForm) else [form]
    encoders = [stage.encoder for stage in stages if isinstance(stage, DotForm | PairForm)]
    return max((encoder.tolerance for encoder in encoders if encoder is not None), default=TOLERANCE)


def _askers(fitted: FittedModel, n: int, rng: np.random.Generator) -> tuple[IndexArray | None, Histories]:
    """Users, the one with the longest history first, and what they had; where there are none, histories by chance."""
    if not len(fitted.users):
        lengths = rng.integers(1, 20, n)
        items = rng.integers(0, len(fitted.items), lengths.sum())
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        return None, Histories(indptr, items.astype(np.int32), np.ones(len(items), np.float32))
    users = rng.integers(0, len(fitted.users), n)
    users[0] = np.argmax(np.diff(fitted.histories.indptr))
    return users, fitted.histories.rows(users)


def _questions(
    fitted: FittedModel, users: IndexArray | None, told: Histories, rng: np.random.Generator, vector_dims: int | None
) -> Iterator[tuple[IndexArray, None] | tuple[None, Histories]]:
    """The users by index, by history and by features, as far as the model takes them.

    The last of several histories is empty.
    """
    if fitted.form.accepts_users and users is not None:
        yield users, None
    if fitted.form.accepts_histories:
        if len(told) > 1:
            indptr = np.append(told.indptr[:-1], told.indptr[-2])
            told = Histories(indptr, told.indices[: indptr[-1]], told.weights[: indptr[-1]])
        yield None, told
        preparation = fitted.form.user_preparation
        if preparation is not None:
            features = preparation.made_up(rng, len(told), vector_dims)
            arrays = {f"user_{name}": array for name, array in features.items()}
            yield None, DescribedHistories(told.indptr, told.indices, told.weights, arrays)


def _difference(native: Ranking, onnx: Ranking, tolerance: float) -> tuple[float, int]:
    found = native.indices >= 0
    if not np.array_equal(found, onnx.indices >= 0):
        raise ExportError("parity: ONNX and the model return different numbers of items; the graph filters wrongly.")
    scale = np.maximum(np.abs(np.where(found, native.scores, 0)).max(axis=1, keepdims=True, initial=0), 1)
    gap = np.zeros(native.scores.shape)
    gap[found] = np.abs(native.scores[found] - onnx.scores[found])
    error = float((gap / scale).max(initial=0))
    if not error <= tolerance:
        raise ExportError(
            f"parity: expected scores within {tolerance:.0e} of the model's, got a relative difference of {error:.1e}; "
            "raise the model's regularization if its systems are ill-conditioned, or pass a larger tolerance."
        )
    swapped = found & (native.indices != onnx.indices)
    for row in np.flatnonzero(swapped.any(axis=1)):
        _check_swaps(native, onnx, int(row), swapped[row], tolerance * float(scale[row, 0]))
    return error, int(swapped.sum())


def _check_swaps(native: Ranking, onnx: Ranking, row: int, swapped: npt.NDArray[np.bool_], allowed: float) -> None:
    own_score = dict(zip(native.indices[row].tolist(), native.scores[row].tolist(), strict=True))
    last = float(native.scores[row][native.indices[row] >= 0][-1])
    for item, score in zip(onnx.indices[row][swapped].tolist(), onnx.scores[row][swapped].tolist(), strict=True):
        # An item that the model itself leaves out can only have come in at the end of the list.
        if not abs(own_score.get(item, last) - score) <= 2 * allowed:
            raise ExportError(
                f"parity: ONNX ranks item {item} with score {score:.6g} where the model's own is "
                f"{own_score.get(item, last):.6g}; the graph computes another score."
            )
