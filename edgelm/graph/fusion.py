"""The blocks of an encoder in onnxruntime's own operators, in the form that is fastest on its CPU kernels.

The exporter gives fused blocks; they are opened (`simplify_attention`, `split_norms`) so that every matrix product
stands alone and can be quantized, and closed again (`fuse_attention`) around whatever precision each product got.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgelm.graph.names import module_of
from edgelm.graph.rewrites import MICROSOFT, add_weight, count_readers, remove_unused, replace_nodes, weights_of


def simplify_attention(graph: onnx.ModelProto) -> None:
    """Turn each fused Attention into its projection, a MatMul that can be quantized, and MultiHeadAttention.

    The padding mask goes in as it is, (batch, sequence) of 0 and 1: the two dozen nodes that build an additive mask of
    (batch, 1, sequence, sequence) are left without a reader. Works for layers with any number of heads.
    """
    if not any(node.op_type == "Attention" for node in graph.graph.node):
        return
    weights, used = weights_of(graph), Counter[str]()
    nodes = [helper.make_node("Cast", ["attention_mask"], ["key_padding_mask"], to=onnx.TensorProto.INT32)]
    for index, node in enumerate(graph.graph.node):
        if node.op_type != "Attention" or node.domain != MICROSOFT:
            nodes.append(node)
            continue
        source, weight = node.input[:2]
        sizes = helper.get_node_attr_value(node, "qkv_hidden_sizes")
        heads = helper.get_node_attr_value(node, "num_heads")
        own, parts = f"{module_of(node) or index}.qkv", [f"{part}_{index}" for part in ("query", "key", "value")]
        bias, split = f"{own}.bias", f"{own}.sizes"
        used[own] += 1  # layers that share their weights are one module
        packed = own if used[own] == 1 else f"{own}_{used[own]}"
        if packed == own:
            add_weight(graph, bias, numpy_helper.to_array(weights[node.input[2]]))
            add_weight(graph, split, np.asarray(sizes, dtype=np.int64))
        nodes += [
            helper.make_node("MatMul", [source, weight], [f"{packed}_product"], name=f"{packed}/MatMul"),
            helper.make_node("Add", [f"{packed}_product", bias], [packed], name=f"{packed}/Add"),
            helper.make_node("Split", [packed, split], parts, axis=-1, name=f"{packed}/Split"),
            helper.make_node(
                "MultiHeadAttention",
                [*parts, "", "key_padding_mask"],
                [node.output[0]],
                domain=MICROSOFT,
                num_heads=heads,
                name=f"{packed.replace('.qkv', '')}/MultiHeadAttention",
            ),
        ]
    replace_nodes(graph, nodes)


def fuse_attention(graph: onnx.ModelProto) -> None:
    """Join each projection, Split and MultiHeadAttention into Attention or, where the projection is in integers,
    QAttention.

    One node instead of three: the heads read the projection where it lies. Layers whose query, key and value differ in
    width stay as they are, and so do those in integers that add a bias to their scores, for which QAttention has no
    place. Both operators take the mask as it comes, (batch, sequence) of 0 and 1.
    """
    weights = weights_of(graph)
    makers, readers = {name: node for node in graph.graph.node for name in node.output}, count_readers(graph)
    joined: dict[str, onnx.NodeProto] = {}
    for node in graph.graph.node:
        split = makers.get(node.input[0]) if node.op_type == "MultiHeadAttention" else None
        product = makers.get(split.input[0]) if split is not None and split.op_type == "Split" else None
        if product is None or split is None or len(set(numpy_helper.to_array(weights[split.input[1]]).tolist())) != 1:
            continue
        if any(readers[name] > 1 for name in split.output):  # what positions ask would take a second product
            continue
        mask, added = node.input[4], ""
        scores = [*node.input[5:]]
        if product.op_type == "Add":
            product, added = makers[product.input[0]], product.input[1]
        if product.op_type == "MatMul" and added:
            operator, inputs = "Attention", [product.input[0], product.input[1], added, mask]
            inputs += ["", scores[0]] if scores else []
        elif product.op_type == "MatMulIntegerToFloat" and not scores:
            values, weight, scale, weight_scale, zero, _, bias = product.input
            columns = numpy_helper.to_array(weights[weight_scale]).size
            weight_zero = add_weight(graph, f"{weight}_zeros", np.zeros(columns, dtype=np.int8))
            operator, inputs = "QAttention", [values, weight, bias, scale, weight_scale, mask, zero, weight_zero]
        else:
            continue
        given = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        joined[node.output[0]] = helper.make_node(
            operator, inputs, [node.output[0]], domain=MICROSOFT, name=node.name, **given
        )
    replace_nodes(graph, [joined.get(node.output[0], node) for node in graph.graph.node])
    remove_unused(graph)


def split_norms(graph: onnx.ModelProto) -> None:
    """Turn each SkipLayerNormalization into its additions and a LayerNormalization.

    onnxruntime's CPU kernel of the fused operator is the slower one: five times, on 25 tokens (benchmarks/norms.py).
    The bias stands first, where a quantized product takes it in.
    """
    nodes: list[onnx.NodeProto] = []
    for node in graph.graph.node:
        if node.op_type != "SkipLayerNormalization":
            nodes.append(node)
            continue
        name = node.output[0]
        source, skip, scale, shift = node.input[:4]
        if len(node.input) > 4:
            nodes.append(helper.make_node("Add", [source, node.input[4]], [f"{name}_biased"]))
            source = f"{name}_biased"
        nodes.append(helper.make_node("Add", [source, skip], [f"{name}_sum"]))
        epsilon = helper.get_node_attr_value(node, "epsilon")
        nodes.append(
            helper.make_node("LayerNormalization", [f"{name}_sum", scale, shift], [name], axis=-1, epsilon=epsilon)
        )
    replace_nodes(graph, nodes)
