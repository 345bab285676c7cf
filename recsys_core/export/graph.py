"""A small builder of ONNX graphs: one call a node, names made up on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.compose
import onnx.inliner
from onnx import TensorProto, helper, numpy_helper

from recsys_core.errors import ExportError

__all__ = ["OPSET", "GraphBuilder"]

OPSET = 18
"""Read by onnxruntime from 1.14 on, its web build and Triton's images; ScatterElements adds from 16 on."""
IR_VERSION = 9

_TYPES = {"int64": TensorProto.INT64, "float32": TensorProto.FLOAT, "bool": TensorProto.BOOL}


class GraphBuilder:
    """Collects the nodes, constants, inputs and outputs of one graph.

    Parameters
    ----------
    parent
        The graph around this one when it is the body of an ``If`` or a ``Loop``.  A body may use every name of its
        parents; its constants are kept by the outermost graph, so that big tables are stored once.
    """

    def __init__(self, parent: GraphBuilder | None = None) -> None:
        self._root: GraphBuilder = parent._root if parent else self
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        if parent is None:
            self._initializers: dict[str, onnx.TensorProto] = {}
            self._constants: dict[tuple[str, str, tuple[int, ...], bytes], str] = {}
            self._counter = 0

    def _fresh(self, stem: str) -> str:
        self._root._counter += 1
        return f"{stem}_{self._root._counter}"

    def input(self, name: str, dtype: str, shape: list[str | int]) -> str:
        """Declare an input; strings in ``shape`` are dynamic sizes.  Asking for the same one again gives the same."""
        if all(declared.name != name for declared in self._inputs):
            self._inputs.append(helper.make_tensor_value_info(name, _TYPES[dtype], shape))
        return name

    def output(self, name: str, value: str, dtype: str, shape: list[str | int] | None) -> None:
        """Declare that ``value`` leaves the graph as ``name``."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, _TYPES[dtype], shape))

    def table(self, name: str, values: np.ndarray[Any, Any]) -> str:
        """A named constant, such as the item factors."""
        self._root._initializers[name] = numpy_helper.from_array(np.asarray(values, order="C"), name)
        return name

    def constant(self, value: Any, dtype: str = "int64") -> str:
        """A small constant; equal ones are stored once."""
        array = np.asarray(value, dtype)
        key = (dtype, "constant", array.shape, array.tobytes())
        constants = self._root._constants
        if key not in constants:
            constants[key] = self.table(self._fresh("constant"), array)
        return constants[key]

    def op(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output, and return the output's name."""
        return self.op_n(operator, 1, *inputs, **attributes)[0]

    def op_n(self, operator: str, n_outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """Add a node with several outputs, and return their names."""
        outputs = [self._fresh(operator.lower()) for _ in range(n_outputs)]
        self._nodes.append(helper.make_node(operator, list(inputs), outputs, **attributes))
        return outputs

    def inline(self, model: onnx.ModelProto, prefix: str, inputs: dict[str, str]) -> list[str]:
        """Add the nodes of another model, and return the names of its outputs here.

        Parameters
        ----------
        model
            Standard operators of at most this builder's opset; functions of its own are expanded.
        prefix
            In front of every name of the model, so that none meets one that is here already.
        inputs
            For each input of the model, the value here that it gets.

        Raises
        ------
        ExportError
            It uses operators that onnxruntime does not have everywhere.
        """
        model = onnx.inliner.inline_local_functions(model)
        foreign = [
            f"{opset.domain or 'ai.onnx'} {opset.version}"
            for opset in model.opset_import
            if opset.domain not in ("", "ai.onnx") or opset.version > OPSET
        ]
        if foreign:
            raise ExportError(f"{prefix}: expected operators of ai.onnx up to {OPSET}, got {', '.join(foreign)}.")
        graph = onnx.compose.add_prefix_graph(model.graph, prefix)
        for own in graph.input:
            self._nodes.append(helper.make_node("Identity", [inputs[own.name.removeprefix(prefix)]], [own.name]))
        for tensor in graph.initializer:
            self._root._initializers[tensor.name] = tensor
        self._nodes.extend(graph.node)
        return [output.name for output in graph.output]

    def body(self) -> GraphBuilder:
        """A graph to be the body of an ``If`` or a ``Loop`` here."""
        return GraphBuilder(self)

    def proto(self, name: str) -> onnx.GraphProto:
        """The finished graph."""
        initializers = list(self._initializers.values()) if self._root is self else []
        return helper.make_graph(self._nodes, name, self._inputs, self._outputs, initializers)

    def model(self, name: str, metadata: dict[str, str]) -> onnx.ModelProto:
        """The finished model."""
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(self.proto(name), opset_imports=opsets, producer_name="recsys_core")
        model.ir_version = IR_VERSION
        helper.set_model_props(model, metadata)
        return model
