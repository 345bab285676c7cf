"""How any torch module becomes an ONNX graph, and the comparison of their answers."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_core.errors import ExportError
from recsys_core.export.graph import OPSET
from recsys_core.models.onnx_session import open_session
from recsys_core.types import FloatArray

if TYPE_CHECKING:
    import onnx
    import torch

__all__ = ["TOLERANCE", "compare_answers", "export_module", "exporting", "graph_from_torch"]

TOLERANCE = 1e-4


def graph_from_torch(
    module: torch.nn.Module,
    batches: Sequence[Mapping[str, torch.Tensor]],
    *,
    varying: Mapping[str, tuple[int, ...]],
    output: str,
    tolerance: float = TOLERANCE,
) -> bytes:
    """Export a module that takes its tensors by name, and check that onnxruntime gives its answers.

    Parameters
    ----------
    module
        ``forward(batch)``, with a dict of tensors, returns float32 (B, d).
    batches
        Examples, each with the same names.  The first is exported with, and so has no varying size of 0 or 1, which
        torch would take for a constant; all are compared.
    varying
        The axes of each input whose size may vary.
    output
        Name of the output.
    tolerance
        Allowed difference from the module's answers, relative to the largest of a batch, at least 1.

    Returns
    -------
    bytes
        The ONNX model, whose inputs have the names of the tensors.

    Raises
    ------
    ExportError
        torch cannot export the module, it uses operators that are not standard, or onnxruntime's answers differ or are
        not finite.
    """
    import torch

    first = dict(batches[0])
    dynamic = torch.export.Dim.DYNAMIC
    sizes: dict[str, Any] = {name: dict.fromkeys(varying.get(name, ()), dynamic) for name in first}
    with exporting(module):
        graph: bytes = export_module(module, (first,), (sizes,), list(first), [output]).SerializeToString()
        session = open_session(graph, type(module).__name__)
        for batch in batches:
            with torch.no_grad():
                expected = module(dict(batch)).numpy()
            # The exporter leaves out an input that nothing depends on.
            feeds = {node.name: batch[node.name].numpy() for node in session.get_inputs()}
            what = f"onnxruntime's answers to a batch of {len(expected)}"
            compare_answers(expected, session.run([output], feeds)[0], tolerance, what)
    return graph


@contextmanager
def exporting(module: torch.nn.Module) -> Iterator[None]:
    """Have a module in evaluation mode and on the CPU meanwhile."""
    import torch

    training = module.training
    parameter = next(module.parameters(), None)
    device = parameter.device if parameter is not None else torch.device("cpu")
    module.eval().to("cpu")
    try:
        yield
    finally:
        module.train(training).to(device)


@contextmanager
def _quiet_torch() -> Iterator[None]:
    # torch's exporter warns of its own deprecations and logs its progress; neither is for whoever fits a model.
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def export_module(
    module: torch.nn.Module, arguments: tuple[Any, ...], shapes: tuple[Any, ...], inputs: list[str], outputs: list[str]
) -> onnx.ModelProto:
    """Export a module.

    Parameters
    ----------
    module
        In evaluation mode and on the CPU.
    arguments
        Tensors; the last may be a dict of tensors.
    shapes
        For each argument, or each tensor of the dict, which of its sizes may vary.
    inputs, outputs
        Names of all tensors, in their order.
    """
    import onnx
    import torch

    with _quiet_torch():
        try:
            program = torch.onnx.export(
                module,
                # Of a last argument that is a dict, torch would make keyword arguments.
                (*arguments, {}) if isinstance(arguments[-1], dict) else arguments,
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=shapes,
                input_names=inputs,
                output_names=outputs,
                verbose=False,
            )
        except Exception as cause:
            # torch wraps what went wrong in pages of advice; the first line of the first cause says it.
            first: BaseException = cause
            while first.__cause__ is not None:
                first = first.__cause__
            reason = str(first).strip().partition("\n")[0]
            raise ExportError(
                f"{type(module).__name__}: torch cannot export it to ONNX ({type(first).__name__}: {reason}); "
                "avoid control flow and shapes that depend on values."
            ) from cause
    assert program is not None
    model = program.model_proto
    # Notes for torch's own tools, larger than the graph of a small model.
    for part in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
    del model.graph.value_info[:]
    onnx.checker.check_model(model)
    return model


def compare_answers(expected: FloatArray, got: FloatArray, tolerance: float, what: str) -> None:
    """Refuse answers that are not finite, or further from the expected ones than a share of the largest of these."""
    if not np.isfinite(expected).all() or not np.isfinite(got).all():
        raise ExportError(f"export: expected finite numbers, got NaN or infinity in {what}; mind empty histories.")
    error = float(np.abs(expected - got).max(initial=0)) / max(1.0, float(np.abs(expected).max(initial=0)))
    if not error <= tolerance:
        raise ExportError(
            f"export: expected {what} within {tolerance:.0e} of the module's, got a relative difference of {error:.1e}."
        )
