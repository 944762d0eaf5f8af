"""FP16: weights and arithmetic in half precision; what could overflow or lose its meaning stays in FP32."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgelm.export.rewrite import add_weight, prune_dead, rename_value, weights_of

# Everything else keeps FP32: sums of squares, exponentials and norms leave FP16's range or eat its ten bits.
_ARITHMETIC = ("Add", "BiasGelu", "Div", "FastGelu", "Gelu", "Gemm", "MatMul", "Mul", "QuickGelu", "Relu", "Sub", "Tanh")
_MOVES = ("Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze")
HALF_OPERATORS = frozenset((*_ARITHMETIC, *_MOVES))
_LARGEST = 65504.0  # the largest finite FP16 number
_FLOAT, _HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


def to_half(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Convert a graph to FP16 with FP32 inputs and outputs.

    Nodes of `HALF_OPERATORS` compute in FP16, unless one of their constants is beyond its range (a mask of the most negative
    float); casts stand where the two precisions meet, one for each value and precision.
    """
    result = onnx.ModelProto()
    result.CopyFrom(graph)
    writer = _Writer(result)
    nodes = list(result.graph.node)
    del result.graph.node[:]
    for node in nodes:
        writer.add(node)
    for output in result.graph.output:
        writer.finish(output.name)
    prune_dead(result)
    return result


class _Writer:
    """Writes the nodes again, each in its precision; knows in which precision every float value is."""

    def __init__(self, graph: onnx.ModelProto) -> None:
        self._nodes = graph.graph.node
        self._graph = graph
        self._weights = {name: numpy_helper.to_array(tensor) for name, tensor in weights_of(graph).items() if tensor.data_type == _FLOAT}
        self._kinds = _float_values(graph)
        self._precision = dict.fromkeys(self._kinds, _FLOAT)
        self._made: dict[tuple[str, int], str] = {}

    def add(self, node: onnx.NodeProto) -> None:
        floats = [name for name in (*node.input, *node.output) if name in self._kinds or name in self._weights]
        if not floats:
            self._nodes.append(node)
            return
        weights = [self._weights[name] for name in node.input if name in self._weights]
        fits = all(np.abs(weight).max(initial=0) <= _LARGEST for weight in weights)
        precision = _HALF if node.op_type in HALF_OPERATORS and fits else _FLOAT
        inputs = [self._read(name, precision) for name in node.input]
        del node.input[:]
        node.input.extend(inputs)
        self._nodes.append(node)
        self._precision.update((name, precision) for name in node.output if name in self._kinds)

    def finish(self, name: str) -> None:
        """Give a graph's output in FP32."""
        if self._precision.get(name) != _HALF:
            return
        inner = f"{name}_half"
        rename_value(self._graph, name, inner)
        self._nodes.append(helper.make_node("Cast", [inner], [name], to=_FLOAT))

    def _read(self, name: str, precision: int) -> str:
        """The name of a value in a precision."""
        if name in self._weights:
            if precision == _FLOAT:
                return name
            if (name, precision) not in self._made:
                self._made[name, precision] = add_weight(self._graph, f"{name}_half", self._weights[name].astype(np.float16))
        elif name not in self._kinds or self._precision[name] == precision:
            return name
        elif (name, precision) not in self._made:
            self._made[name, precision] = f"{name}_as_{'half' if precision == _HALF else 'float'}"
            self._nodes.append(helper.make_node("Cast", [name], [self._made[name, precision]], to=precision))
        return self._made[name, precision]


def _float_values(graph: onnx.ModelProto) -> frozenset[str]:
    """The computed values that are FP32, by onnxruntime's type inference: it knows its own operators too."""
    import onnxruntime

    watched = onnx.ModelProto()
    watched.CopyFrom(graph)
    names = [name for node in graph.graph.node for name in node.output if name]
    del watched.graph.output[:]
    watched.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return frozenset(value.name for value in session.get_outputs() if value.type == "tensor(float)")
