"""The shapes of every value of a graph for one batch size and sequence length, by onnxruntime's own inference: it knows
its own operators."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import TensorProto, helper

from edgelm.errors import InputError

_SMALLEST = 1024  # bytes: smaller vectors may be sizes and axes, which the inference reads
_BITS = {"float": 32, "float16": 16, "bfloat16": 16, "double": 64, "bool": 8, "int4": 4, "uint4": 4}


@dataclass(frozen=True)
class Value:
    """A tensor.

    Attributes:
        shape: sizes.
        dtype: such as float, float16, uint8.
        constant: known before the first run.
    """

    shape: tuple[int, ...]
    dtype: str
    constant: bool

    @property
    def elements(self) -> int:
        """How many."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> float:
        """In memory."""
        bits = _BITS.get(self.dtype) or int(self.dtype.removeprefix("u").removeprefix("int"))
        return self.elements * bits / 8


def infer_values(graph: onnx.ModelProto, batch: int, sequence: int) -> dict[str, Value]:
    """Every value by name. Nothing is run, and large constants need no content.

    Raises:
        InputError: a graph that onnxruntime refuses, or one whose shapes do not follow from batch and sequence.
    """
    result = _without_weights(graph)
    for entry in result.graph.input:
        for dim, size in zip(entry.type.tensor_type.shape.dim, (batch, sequence), strict=False):
            if not dim.dim_value:
                dim.dim_value = size
    names = [name for node in result.graph.node for name in node.output if name]
    del result.graph.output[:]
    result.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    try:
        session = _make_session(result)
    except Exception as error:
        raise InputError(
            f"the graph cannot be read: {str(error).splitlines()[0]}", hint="Export it again with `edgelm export`."
        ) from error
    halves = _bfloat_values(graph)
    values = {
        tensor.name: Value(tuple(tensor.dims), _dtype(tensor.data_type), True) for tensor in graph.graph.initializer
    }
    for entry in (*session.get_inputs(), *session.get_outputs()):
        if entry.name in values:
            continue
        if not all(isinstance(size, int) for size in entry.shape):
            raise InputError(
                f"the shape of {entry.name} does not follow from batch {batch} and {sequence} tokens: {entry.shape}.",
                hint="Only graphs of (batch, sequence) inputs can be estimated.",
            )
        dtype = entry.type.removeprefix("tensor(").removesuffix(")")
        values[entry.name] = Value(tuple(entry.shape), "bfloat16" if halves and dtype == "float16" else dtype, False)
    for node in graph.graph.node:  # what is computed of constants alone is computed once, when the model is loaded
        if node.input and all(not name or values[name].constant for name in node.input):
            for name in filter(None, node.output):
                values[name] = Value(values[name].shape, values[name].dtype, True)
    return values


def _make_session(graph: onnx.ModelProto) -> Any:
    """With what follows from fixed sizes folded: shapes that a graph computes are known then."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _without_weights(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with its large constants as inputs; BF16 as FP16, for which onnxruntime's CPU has kernels."""
    result = onnx.ModelProto(ir_version=graph.ir_version, opset_import=graph.opset_import)
    result.graph.name = graph.graph.name
    result.graph.node.extend(graph.graph.node)
    constants = {tensor.name for tensor in graph.graph.initializer}
    result.graph.input.extend(value for value in graph.graph.input if value.name not in constants)
    for tensor in graph.graph.initializer:
        kind = TensorProto.FLOAT16 if tensor.data_type == TensorProto.BFLOAT16 else tensor.data_type
        size = Value(tuple(tensor.dims), _dtype(tensor.data_type), True).bytes
        if size >= _SMALLEST or len(tensor.dims) > 1 or tensor.data_location == TensorProto.EXTERNAL:
            result.graph.input.append(helper.make_tensor_value_info(tensor.name, kind, list(tensor.dims)))
        else:
            result.graph.initializer.add().CopyFrom(tensor)
            result.graph.initializer[-1].data_type = kind
    for node in result.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.BFLOAT16:
                attribute.i = TensorProto.FLOAT16
    return result


def _bfloat_values(graph: onnx.ModelProto) -> bool:
    return any(tensor.data_type == TensorProto.BFLOAT16 for tensor in graph.graph.initializer)


def _dtype(data_type: int) -> str:
    return TensorProto.DataType.Name(data_type).lower()
