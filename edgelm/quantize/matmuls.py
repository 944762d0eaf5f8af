"""The matrix products of a graph that are worth integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgelm.errors import ModelError
from edgelm.graph.rewrites import weights_of

SMALLEST = 16_384  # weights: a smaller matrix, such as a classifier's, gains nothing and is kept exact
_ALREADY = (
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "QLinearMatMul",
    "QAttention",
    "MatMulNBits",
)


@dataclass(frozen=True)
class MatMul:
    """A matrix product with a constant matrix: a MatMul or Gemm, and the bias that its only reader adds.

    Attributes:
        name: where it stands in the model, such as `bert.encoder.layer.0.intermediate.dense`; each has its own.
        source: name of the activation, (..., in).
        matrix: name of the constant.
        weight: (in, out), float32.
        transposed: the constant is stored as (out, in).
        bias: name of a constant (out,), or "".
        output: name of the result, bias included.
        then: name of the value that a GELU makes of the result, or "".
        replaces: outputs of the nodes that the product stands for.
    """

    name: str
    source: str
    matrix: str
    weight: np.ndarray
    transposed: bool
    bias: str
    output: str
    then: str
    replaces: tuple[str, ...]


def find_matmuls(graph: onnx.ModelProto) -> list[MatMul]:
    """The products, in the order of the graph.

    Raises:
        ModelError: the graph is quantized already.
    """
    integers = sorted({node.op_type for node in graph.graph.node if node.op_type in _ALREADY})
    if integers:
        raise ModelError(
            f"the graph is quantized already: it has {', '.join(integers)}.",
            hint="Quantize the float model it was made from.",
        )
    weights = weights_of(graph)
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for value in graph.graph.output:  # a result that is read from outside cannot be joined with what follows
        readers.setdefault(value.name, []).append(helper.make_node("Identity", [value.name], []))
    found = []
    for node in graph.graph.node:
        if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in weights:
            continue
        weight = numpy_helper.to_array(weights[node.input[1]])
        if weight.ndim != 2 or weight.size < SMALLEST:
            continue
        transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        weight = weight.T if transposed else weight
        output, bias, then = node.output[0], node.input[2] if len(node.input) > 2 else "", ""
        replaces = [output]
        reader = readers.get(output, [])
        if not bias and len(reader) == 1 and reader[0].op_type in ("Add", "BiasGelu"):
            (other,) = [name for name in reader[0].input if name != output] or [""]
            if other in weights and list(weights[other].dims) == [weight.shape[1]]:
                bias = other
                replaces.append(reader[0].output[0])
                if reader[0].op_type == "Add":
                    output = reader[0].output[0]
                else:
                    output, then = f"{output}_biased", reader[0].output[0]
        # The exporter keeps equal constants once: a bias that others read too names nobody.
        own = bias.endswith(".bias") and len(readers[bias]) == 1
        name = bias.removesuffix(".bias") if own else node.name.removesuffix(f"/{node.op_type}")
        found.append(
            MatMul(name, node.input[0], node.input[1], weight, transposed, bias, output, then, tuple(replaces))
        )
    return found
