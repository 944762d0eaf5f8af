"""Which inputs a graph asks for: one unpadded text needs no mask, and single texts no token types."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgelm.graph.rewrites import MICROSOFT, add_weight, remove_unused, replace_nodes, weights_of

TOKENS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"
_MASK_PLACES = {"Attention": 3, "MultiHeadAttention": 4, "QAttention": 5}  # among the inputs of onnxruntime's operators


def for_one_text(graph: onnx.ModelProto, *, pair: bool) -> None:
    """Take the mask out of a graph and, unless texts come in pairs, the token types: it then reads texts of equal
    lengths alone.

    Attention goes without a mask; token types become the row that they all chose; what else read one of them reads ones
    or zeros of the tokens' shape. The outputs for unpadded texts stay what they were.
    """
    gone = {value.name for value in graph.graph.input} & ({MASK} if pair else {MASK, TYPES})
    weights = weights_of(graph)
    nodes: list[onnx.NodeProto] = []
    rows: dict[str, str] = {}
    for node in graph.graph.node:
        place = _MASK_PLACES.get(node.op_type)
        if place is not None and node.domain == MICROSOFT and len(node.input) > place:
            node.input[place] = ""
        if node.op_type == "Shape" and node.input[0] in gone:
            node.input[0] = TOKENS
        if node.op_type == "Gather" and node.input[1] in gone and node.input[0] in weights:
            row = np.ascontiguousarray(numpy_helper.to_array(weights[node.input[0]])[0])
            rows[node.output[0]] = add_weight(graph, f"{node.output[0]}_row", row)
            continue
        for index, name in enumerate(node.input):
            node.input[index] = rows.get(name, name)
        nodes.append(node)
    kept = [value for value in graph.graph.input if value.name not in gone]
    del graph.graph.input[:]
    graph.graph.input.extend(kept)
    read = {name for node in nodes for name in node.input}
    for name in sorted(gone & read):
        fill = numpy_helper.from_array(np.array([1 if name == MASK else 0], dtype=np.int64))
        nodes.append(helper.make_node("Shape", [TOKENS], [f"{name}_shape"]))
        nodes.append(helper.make_node("ConstantOfShape", [f"{name}_shape"], [name], value=fill))
    replace_nodes(graph, nodes)
    remove_unused(graph)
