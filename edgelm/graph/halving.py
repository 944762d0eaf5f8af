"""Fewer tokens on the way: behind some layers of a traced encoder, means of two neighbours stand for both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgelm.errors import ModelError
from edgelm.graph.names import module_of
from edgelm.graph.rewrites import add_weight, replace_nodes
from edgelm.graph.unpadded import MASK

_NORMS = ("LayerNormalization", "SkipLayerNormalization")
_MASK_PLACE = 4  # among the inputs of MultiHeadAttention
_ROWS, _TOKENS, _LEAST = "halving.axes_of_rows", "halving.axes_of_tokens", "halving.least_share"


def halve_tokens(graph: onnx.ModelProto, norms: Sequence[str]) -> None:
    """Behind each of these norms, let all that follows read the first token and of each two others their mean.

    What is padding takes no part; fused attention behind it is given the mask of what is left. It computes what
    `edgelm.anatomy.halving.halve` does.

    Args:
        norms: names of the modules that they come from, from the input on.

    Raises:
        ModelError: the graph does not say where such a norm is.
    """
    if not norms:
        return
    add_weight(graph, _ROWS, np.array([1], dtype=np.int64))
    add_weight(graph, _TOKENS, np.array([1, 3], dtype=np.int64))
    add_weight(graph, _LEAST, np.array(0.5, dtype=np.float32))  # of two tokens one is no padding, if any is
    plane = "halving/weights"
    cast = helper.make_node("Cast", [MASK], ["halving/real"], to=TensorProto.FLOAT)
    replace_nodes(graph, [*graph.graph.node, cast, helper.make_node("Unsqueeze", [cast.output[0], _TOKENS], [plane])])
    for number, norm in enumerate(norms):
        found = [node for node in graph.graph.node if node.op_type in _NORMS and module_of(node) == norm]
        if len(found) != 1:
            raise ModelError(
                f"the traced graph has {len(found)} norms of {norm}, behind which tokens are halved.",
                hint="Report it with the model's config.json.",
            )
        plane = _halve_behind(graph, found[0], f"halving.{number}", plane)


def _halve_behind(graph: onnx.ModelProto, norm: onnx.NodeProto, own: str, plane: str) -> str:
    """Halve what a norm gives.

    Args:
        plane: the mask as floats, (batch, 1, tokens, 1).

    Returns:
        the same of what is left.
    """
    behind, nodes = _behind(graph, norm.output[0]), list[onnx.NodeProto]()

    def add(operator: str, inputs: list[str], name: str, **attributes: object) -> str:
        nodes.append(helper.make_node(operator, inputs, [f"{own}/{name}"], name=f"{own}/{name}", **attributes))
        return f"{own}/{name}"

    def pooled(values: str, name: str) -> str:
        """Of (batch, 1, tokens, width): a place before the first token makes that one stand alone."""
        sizes = {"kernel_shape": [2, 1], "strides": [2, 1], "pads": [1, 0, 1, 0]}
        return add("AveragePool", [values], name, **sizes, count_include_pad=0)

    shares = pooled(plane, "shares")
    left = add("Ceil", [shares], "left")
    mask = add("Cast", [add("Squeeze", [left, _TOKENS], "left_tokens")], "left_mask", to=TensorProto.INT32)
    rows = add("Unsqueeze", [norm.output[0], _ROWS], "rows")
    sums = pooled(add("Mul", [rows, plane], "tokens"), "sums")
    means = add("Div", [sums, add("Max", [shares, _LEAST], "divisors")], "means")
    halved = add("Squeeze", [means, _ROWS], "halved")
    for node in behind:
        for index, name in enumerate(node.input):
            if name == norm.output[0]:
                node.input[index] = halved
        if node.op_type == "MultiHeadAttention":
            node.input[_MASK_PLACE] = mask
    replace_nodes(graph, [*graph.graph.node, *nodes])
    return left


def _behind(graph: onnx.ModelProto, name: str) -> list[onnx.NodeProto]:
    """All nodes that need a value."""
    reached, found = {name}, []
    for node in graph.graph.node:
        if reached & set(node.input):
            found.append(node)
            reached.update(node.output)
    return found
