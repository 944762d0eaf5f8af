"""A part of a graph as a graph of its own, to be tried by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import onnx
from onnx import helper


def part_before(
    nodes: Sequence[onnx.NodeProto],
    name: str,
    *,
    inputs: Iterable[str],
    constant: Callable[[str], onnx.TensorProto | None],
    opsets: Sequence[onnx.OperatorSetIdProto],
    ir_version: int,
) -> onnx.ModelProto:
    """What computes one value of a graph: its nodes, the constants that they read, and those of the inputs.

    Args:
        nodes: of the graph, in its order.
        inputs: of the graph, int64, (batch, sequence).
        constant: a constant of the graph by its name; None: there is none of this name.
    """
    part, read = list[onnx.NodeProto](), {name}
    for node in reversed(nodes):
        if read & set(node.output):
            part.append(node)
            read |= set(node.input)
    graph = helper.make_graph(
        part[::-1],
        "part",
        [
            helper.make_tensor_value_info(each, onnx.TensorProto.INT64, ["batch", "sequence"])
            for each in inputs
            if each in read
        ],
        [helper.make_empty_tensor_value_info(name)],
        [tensor for tensor in map(constant, sorted(read)) if tensor is not None],
    )
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)
