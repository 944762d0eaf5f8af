"""What an encoder's graph says of its size, where no configuration lies beside it."""

from __future__ import annotations

import math

import onnx
from onnx import helper

from edgelm.cost.operators import ATTENTIONS, PRODUCTS

_NORMS = ("LayerNormalization", "SkipLayerNormalization", "SimplifiedLayerNormalization", "RMSNormalization")


def count_layers(graph: onnx.ModelProto) -> int:
    """Layers, by their attention: one operator, or one softmax."""
    names = [node.op_type for node in graph.graph.node]
    return max(names.count("Softmax"), sum(name in ATTENTIONS for name in names))


def count_weights(graph: onnx.ModelProto) -> int:
    """Weights of the layers: of every constant matrix up to the last norm, behind which the head stands."""
    nodes = graph.graph.node
    constants = {tensor.name: math.prod(tensor.dims) for tensor in graph.graph.initializer if len(tensor.dims) > 1}
    for node in nodes:  # integers that are read as floats
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            constants[node.output[0]] = constants[node.input[0]]
    last = max((index for index, node in enumerate(nodes) if node.op_type in _NORMS), default=len(nodes))
    return sum(_weights(node, constants) for node in list(nodes)[:last])


def _weights(node: onnx.NodeProto, constants: dict[str, int]) -> int:
    if node.op_type == "MatMulNBits":
        return int(helper.get_node_attr_value(node, "K") * helper.get_node_attr_value(node, "N"))
    if node.op_type not in PRODUCTS and node.op_type not in ATTENTIONS:
        return 0
    return max((constants.get(name, 0) for name in node.input), default=0)
