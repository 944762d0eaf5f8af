"""Which inputs a graph asks for: one unpadded text needs no mask."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgelm.graph.rewrites import MICROSOFT, remove_unused, replace_nodes

TOKENS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"
_MASK_PLACES = {"Attention": 3, "MultiHeadAttention": 4, "QAttention": 5}  # among the inputs of onnxruntime's operators
_ONES_OF_ONES = frozenset(("Cast", "Unsqueeze", "Squeeze", "AveragePool", "Ceil", "Max"))  # Max: with less
_NORMS = frozenset(("LayerNormalization", "SkipLayerNormalization"))
_ROWS_OF_ROWS = frozenset(("Unsqueeze", "AveragePool"))


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
        for index, name in enumerate(node.input):
            node.input[index] = rows.get(name, name)
        if node.op_type in _ONES_OF_ONES and node.input[0] in ones:
            ones.add(node.output[0])
        if node.op_type in _NORMS or (node.op_type in _ROWS_OF_ROWS and node.input[0] in normed):
            normed.add(node.output[0])
        if node.op_type in ("Mul", "Div") and node.input[0] in normed and node.input[1] in ones:
            rows[node.output[0]] = node.input[0]
            continue
        nodes.append(node)
    replace_nodes(graph, nodes)
    drop_input(graph, MASK, fill=1)


def drop_input(graph: onnx.ModelProto, name: str, *, fill: int) -> None:
    """Take an input of the tokens' shape out of a graph for which it holds one number alone: its shape is that of the
    tokens, and what else reads it reads that number."""
    kept = [value for value in graph.graph.input if value.name != name]
    del graph.graph.input[:]
    graph.graph.input.extend(kept)
    for node in graph.graph.node:
        if node.op_type == "Shape" and node.input[0] == name:
            node.input[0] = TOKENS
    shape = helper.make_node("Shape", [TOKENS], [f"{name}_shape"])
    value = numpy_helper.from_array(np.array([fill], dtype=np.int64))
    filled = helper.make_node("ConstantOfShape", [f"{name}_shape"], [name], value=value)
    replace_nodes(graph, [*graph.graph.node, shape, filled])
    remove_unused(graph)
