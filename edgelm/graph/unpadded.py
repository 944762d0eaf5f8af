"""A graph for one unpadded text at a time, which needs no mask."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgelm.graph.rewrites import MICROSOFT, remove_unused, replace_nodes

TOKENS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"
_MASK_PLACES = {"Attention": 3, "MultiHeadAttention": 4, "QAttention": 5}  # among the inputs of onnxruntime's operators


def for_one_text(graph: onnx.ModelProto) -> None:
    """Take the mask out of a graph: it then reads texts of equal lengths alone.

    Attention goes without a mask, and so do normed rows; what else read it reads ones of the tokens' shape. The outputs
    for unpadded texts stay what they were.
    """
    nodes: list[onnx.NodeProto] = []
    rows: dict[str, str] = {}
    ones, normed = {MASK}, set[str]()
    for node in graph.graph.node:
        place = _MASK_PLACES.get(node.op_type)
        if place is not None and node.domain == MICROSOFT and len(node.input) > place:
            node.input[place] = ""
        if node.op_type == "Shape" and node.input[0] == MASK:
            node.input[0] = TOKENS
        if node.op_type in ("Cast", "Unsqueeze") and node.input[0] in ones:
            ones.add(node.output[0])
        if node.op_type == "LayerNormalization":
            normed.add(node.output[0])
        if node.op_type == "Mul" and node.input[0] in normed and node.input[1] in ones:
            rows[node.output[0]] = node.input[0]
            continue
        for index, name in enumerate(node.input):
            node.input[index] = rows.get(name, name)
        nodes.append(node)
    kept = [value for value in graph.graph.input if value.name != MASK]
    del graph.graph.input[:]
    graph.graph.input.extend(kept)
    if any(MASK in node.input for node in nodes):
        fill = numpy_helper.from_array(np.array([1], dtype=np.int64))
        nodes.append(helper.make_node("Shape", [TOKENS], [f"{MASK}_shape"]))
        nodes.append(helper.make_node("ConstantOfShape", [f"{MASK}_shape"], [MASK], value=fill))
    replace_nodes(graph, nodes)
    remove_unused(graph)
