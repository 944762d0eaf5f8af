"""Weights in 4 or 8 bits by blocks, activations in float: less memory and bandwidth, no calibration of ranges
(MatMulNBits)."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import helper

from edgelm.graph.external_data import copy_graph
from edgelm.graph.rewrites import MICROSOFT, add_weight, import_microsoft, remove_unused, replace_nodes
from edgelm.quantize.blocks import BLOCK, BlockWeight, pack, round_blocks
from edgelm.quantize.matmuls import MatMul, find_matmuls
from edgelm.quantize.rounding import hessian
from edgelm.quantize.statistics import Statistics


def quantize_weights(
    graph: onnx.ModelProto, *, bits: int, statistics: Mapping[str, Statistics] | None = None
) -> onnx.ModelProto:
    """The products' weights in blocks of 32, 4 or 8 bits; with statistics (and their gram) by GPTQ, else rounded to the
    nearest."""
    result = copy_graph(graph)
    import_microsoft(result)
    products = find_matmuls(result)
    new: list[onnx.NodeProto] = []
    for product in products:
        known = (statistics or {}).get(product.source)
        weight = round_blocks(product.weight, bits, None if known is None else hessian(known.gram, known.tokens))
        new += _nodes(result, product, weight)
    replaced = {name for product in products for name in product.replaces}
    replace_nodes(result, [node for node in result.graph.node if node.output[0] not in replaced] + new)
    remove_unused(result)
    return result


def _nodes(graph: onnx.ModelProto, product: MatMul, weight: BlockWeight) -> list[onnx.NodeProto]:
    width, height = product.weight.shape
    stem = f"{product.name}.weight"
    packed = add_weight(graph, f"{stem}_u{weight.bits}", pack(weight))
    # Half the size in the file; onnxruntime folds the cast when it loads the graph.
    stored = add_weight(graph, f"{stem}_scale_f16", weight.scale.T.ravel())
    cast = helper.make_node("Cast", [stored], [f"{stem}_scale"], to=onnx.TensorProto.FLOAT)
    inputs = [product.source, packed, cast.output[0]]
    if product.bias:
        inputs += ["", "", product.bias]
    # accuracy_level 4: the kernel may take the activations of a block as INT8; three times faster on CPUs with VNNI
    sizes = {"K": width, "N": height, "bits": weight.bits, "block_size": BLOCK, "accuracy_level": 4}
    nodes = [
        cast,
        helper.make_node("MatMulNBits", inputs, [product.output], domain=MICROSOFT, name=product.name, **sizes),
    ]
    return (
        [*nodes, helper.make_node("Gelu", [product.output], [product.then], domain=MICROSOFT)]
        if product.then
        else nodes
    )
