"""From a trained torch module to the ONNX graph that a scoring form carries; torch is needed here and nowhere later."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_core.data import FeaturePreparation
from recsys_core.errors import ConfigError, ExportError
from recsys_core.export.torch_export import TOLERANCE, compare_answers, export_module, exporting
from recsys_core.models import HistoryEncoder, PairScorer
from recsys_core.models.arrays import finite_floats
from recsys_core.models.onnx_session import open_session
from recsys_core.models.user_features import USER_INPUTS
from recsys_core.types import FloatArray, IndexArray

if TYPE_CHECKING:
    import torch

__all__ = ["encoder_from_torch", "scorer_from_torch"]


def encoder_from_torch(
    module: torch.nn.Module,
    item_factors: Any,
    *,
    max_length: int,
    n_dims: int | None = None,
    preparation: FeaturePreparation | None = None,
    tolerance: float = TOLERANCE,
    random_state: int = 0,
) -> HistoryEncoder:
    """Export a module that turns histories into query vectors, and check that onnxruntime gives its answers.

    Parameters
    ----------
    module
        ``forward(history)`` or ``forward(history, item_factors)`` returns float32 (B, d).  ``history`` is int64 (B, T)
        as :class:`~recsys_core.models.HistoryEncoder` describes it: right-aligned, -1 in front, T up to ``max_length``
        and, since short batches are not padded to it, often less; count positions from the end.  With a
        ``preparation``, it is ``forward(history, item_factors, user_features)``: a dict of the tensors of
        :meth:`FeaturePreparation.arrays <recsys_core.data.FeaturePreparation.arrays>`, B rows each, NaN, or -1 in
        integers, where something is missing, and in whole rows for those of whom only the history is known.  The module
        is exported in evaluation mode and on the CPU; its mode and device are given back afterwards.
    item_factors
        float32 (n_items, d): what queries are multiplied with.  A module that looks items up in them takes them as its
        second argument, so that they are stored once.
    max_length
        The longest history that the module takes, at least 1.
    n_dims
        Length of a query, where it is not the items', as a second stage's may be.
    preparation
        How features of users become the tensors that the module takes, or None if it takes none.
    tolerance
        Allowed difference from the module's answers, relative to the largest value of a batch, at least 1.
    random_state
        Seed of the histories that are compared.

    Returns
    -------
    HistoryEncoder

    Raises
    ------
    ExportError
        torch cannot export the module; it uses operators that are not standard; or onnxruntime's answers differ, are
        not finite, or change when a history gets more padding in front.

    Notes
    -----
    Written for ``torch.onnx.export(dynamo=True)``.  Write attention as products and a softmax:
    ``nn.MultiheadAttention`` has a fast path that does not export.  A row without any item must not come to a softmax
    over nothing; let every place attend to itself.
    """
    import torch

    item_factors = finite_floats(item_factors, "item_factors", None, None)
    n_items = len(item_factors)
    n_dims = item_factors.shape[1] if n_dims is None else n_dims
    if type(max_length) is not int or max_length < 1:
        raise ConfigError(f"max_length: expected an integer of at least 1, got {max_length!r}.")
    takes_factors = preparation is not None or len(inspect.signature(module.forward).parameters) > 1
    rng = np.random.default_rng(random_state)
    vector_dims = None

    def asked(batch: int, length: int) -> dict[str, Any]:
        """Inputs by name, by chance; of the last of several askers nothing is known."""
        nonlocal vector_dims
        inputs: dict[str, Any] = {"history": _histories(rng, batch, length, n_items)}
        if takes_factors:
            inputs["item_factors"] = item_factors
        if preparation is not None:
            features = preparation.made_up(rng, batch, vector_dims)
            if "vector" in features:  # once is enough to ask the text model
                vector_dims = features["vector"].shape[1]
            inputs |= {f"user_{name}": array[::-1].copy() for name, array in features.items()}
        return inputs

    def answers(inputs: dict[str, Any]) -> FloatArray:
        with torch.no_grad():
            answered: FloatArray = module(*_arguments(inputs)).numpy()
        return answered

    example = asked(3, min(max_length, 7))
    # A size of 1 would be taken for a constant, and is one where no history is longer.
    dynamic = torch.export.Dim.DYNAMIC
    shapes: list[Any] = [{0: dynamic, 1: dynamic} if max_length > 1 else {0: dynamic}]
    if takes_factors:
        shapes.append({0: dynamic} if n_items > 1 else None)  # a catalogue may grow
    if preparation is not None:
        names = [name.removeprefix("user_") for name in example if name in USER_INPUTS]
        shapes.append({name: {0: dynamic, 1: dynamic} if name == "text" else {0: dynamic} for name in names})
    with exporting(module):
        model = export_module(module, _arguments(example), tuple(shapes), list(example), ["query"])
        encoder = HistoryEncoder(model.SerializeToString(), max_length, preparation)
        session = open_session(encoder.graph, "encoder")
        taken = [node.name for node in session.get_inputs()]  # the exporter leaves out what nothing depends on
        for batch, length in ((1, 1), (2, min(2, max_length)), (5, max_length), (33, (max_length + 1) // 2)):
            inputs = asked(batch, length)
            expected = answers(inputs)
            if expected.shape != (batch, n_dims):
                raise ExportError(
                    f"{type(module).__name__}: expected queries of shape {(batch, n_dims)}, got {expected.shape}."
                )
            feeds = {name: inputs[name] for name in taken}
            compare_answers(expected, session.run(["query"], feeds)[0], tolerance, "onnxruntime's answers")
            if length < max_length:
                feeds["history"] = np.pad(inputs["history"], ((0, 0), (1, 0)), constant_values=-1)
                compare_answers(
                    expected, session.run(["query"], feeds)[0], tolerance, "answers to histories with more padding"
                )
    return encoder


def scorer_from_torch(
    module: torch.nn.Module, item_inputs: Any, queries: Any, *, tolerance: float = TOLERANCE, random_state: int = 0
) -> PairScorer:
    """Export a module that scores pairs of a query and an item, and check that onnxruntime gives its answers.

    Parameters
    ----------
    module
        ``forward(query, item)`` with float32 (P, dq) and (P, di), row by row the two sides of P pairs, returns float32
        (P,).  With a third argument it gets a retriever's scores of the pairs too, float32 (P,).
    item_inputs
        float32 (n_items, di), of which some are compared.
    queries
        float32 (n, dq), n at least 1: examples of queries.
    tolerance
        Allowed difference from the module's answers, relative to the largest of a batch, at least 1.
    random_state
        Seed of the pairs that are compared.

    Returns
    -------
    PairScorer

    Raises
    ------
    ExportError
        torch cannot export the module, it uses operators that are not standard, or onnxruntime's answers differ.
    """
    import torch

    item_inputs = finite_floats(item_inputs, "item_inputs", None, None)
    queries = finite_floats(queries, "queries", None, None)
    rng = np.random.default_rng(random_state)

    names = ["query", "item", "retrieved"][: len(inspect.signature(module.forward).parameters)]

    def pairs(n: int) -> tuple[FloatArray, ...]:
        query, item = queries[rng.integers(0, len(queries), n)], item_inputs[rng.integers(0, len(item_inputs), n)]
        return (query, item, rng.normal(size=n).astype(np.float32))[: len(names)]

    with exporting(module):
        shapes = tuple({0: torch.export.Dim.DYNAMIC} for _ in names)
        model = export_module(module, tuple(map(torch.from_numpy, pairs(3))), shapes, names, ["score"])
        scorer = PairScorer(model.SerializeToString())
        session = open_session(scorer.graph, "scorer")
        for n in (1, 2, 33):
            inputs = pairs(n)
            with torch.no_grad():
                expected = module(*map(torch.from_numpy, inputs)).numpy()
            if expected.shape != (n,):
                raise ExportError(f"{type(module).__name__}: expected scores of shape {(n,)}, got {expected.shape}.")
            got = session.run(["score"], dict(zip(names, inputs, strict=True)))[0]
            compare_answers(expected, got, tolerance, "onnxruntime's scores")
    return scorer


def _arguments(inputs: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a module is called with: tensors, those of features in a dict, which is the last argument."""
    import torch

    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    features = {name.removeprefix("user_"): tensors.pop(name) for name in USER_INPUTS if name in inputs}
    return (*tensors.values(), features) if features else tuple(tensors.values())


def _histories(rng: np.random.Generator, batch: int, length: int, n_items: int) -> IndexArray:
    """Random rows of all lengths; the first is full and the last of several is empty."""
    lengths = rng.integers(0, length + 1, batch)
    lengths[-1], lengths[0] = 0, length
    items = rng.integers(0, n_items, (batch, length))
    return np.where(np.arange(length) >= length - lengths[:, None], items, -1)
