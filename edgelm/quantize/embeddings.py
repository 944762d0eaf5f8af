"""Embedding tables in 8 or 4 bits: few of their rows are read at a time, and only those are turned to floats."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgelm.graph.external_data import copy_graph
from edgelm.graph.rewrites import MICROSOFT, add_weight, import_microsoft, remove_unused, replace_nodes, weights_of
from edgelm.quantize.blocks import BLOCK, pack, round_blocks
from edgelm.quantize.grid import quantize_columns

SMALLEST_TABLE = 16_384  # elements: smaller tables stay floats


def quantize_embeddings(graph: onnx.ModelProto, *, bits: int = 8) -> onnx.ModelProto:
    """Keep embedding tables in integers.

    Args:
        bits: 8: INT8 with one scale a row, in standard operators; 4: blocks of 32 with a scale each, for onnxruntime's
            CPU kernel.
    """
    result = copy_graph(graph)
    weights = weights_of(result)
    lookup = _lookup_bytes if bits == 8 else _lookup_blocks
    nodes: list[onnx.NodeProto] = []
    for node in result.graph.node:
        table = weights.get(node.input[0]) if node.op_type == "Gather" else None
        if (
            table is None
            or len(table.dims) != 2
            or np.prod(table.dims) < SMALLEST_TABLE
            or table.data_type != onnx.TensorProto.FLOAT
        ):
            nodes.append(node)
        else:
            nodes += lookup(result, node, table)
    replace_nodes(result, nodes)
    remove_unused(result)
    return result


def _lookup_bytes(graph: onnx.ModelProto, node: onnx.NodeProto, table: onnx.TensorProto) -> list[onnx.NodeProto]:
    rows = quantize_columns(numpy_helper.to_array(table).T)
    name, output = table.name, node.output[0]
    add_weight(graph, f"{name}_s8", rows.values.T)
    add_weight(graph, f"{name}_scale", rows.scale[:, None])
    return [
        helper.make_node("Gather", [f"{name}_s8", node.input[1]], [f"{output}_s8"], axis=0),
        helper.make_node("Gather", [f"{name}_scale", node.input[1]], [f"{output}_scale"], axis=0),
        helper.make_node("Cast", [f"{output}_s8"], [f"{output}_float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", [f"{output}_float", f"{output}_scale"], [output]),
    ]


def _lookup_blocks(graph: onnx.ModelProto, node: onnx.NodeProto, table: onnx.TensorProto) -> list[onnx.NodeProto]:
    import_microsoft(graph)
    rows, width = table.dims
    blocks = round_blocks(numpy_helper.to_array(table).T, 4)
    name, output = table.name, node.output[0]
    packed = add_weight(graph, f"{name}_u4", pack(blocks).reshape(rows, -1)[:, : -(-width // 2)])
    stored = add_weight(
        graph, f"{name}_scale_f16", blocks.scale.T
    )  # half the size in the file; folded when the graph is loaded
    cast = helper.make_node("Cast", [stored], [f"{name}_scale"], to=onnx.TensorProto.FLOAT)
    settings = {"bits": 4, "block_size": BLOCK, "gather_axis": 0, "quantize_axis": 1}
    gather = helper.make_node(
        "GatherBlockQuantized", [packed, node.input[1], cast.output[0]], [output], domain=MICROSOFT, **settings
    )
    return [cast, gather]
