"""Outlier channels, moved from activations into weights: y = (x / s) (s W) is the same function, and x / s the easier
to round."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgelm.graph.external_data import copy_graph
from edgelm.graph.rewrites import add_weight, count_readers, remove_unused, replace_nodes, weights_of
from edgelm.quantize.matmuls import MatMul, find_matmuls

_SMALLEST = 1e-5
ALPHAS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def smoothing_scales(channel_max: np.ndarray, weights: Sequence[np.ndarray], alpha: float) -> np.ndarray:
    """(channels,) s_j = max|X_j|^alpha / max|W_j|^(1 - alpha), over all weights (channels, out) that read the
    activation.

    Source: Xiao et al., "SmoothQuant" (2022), equation 4. A channel that is always zero keeps 1.
    """
    activation = np.maximum(channel_max.astype(np.float64), _SMALLEST)
    weight = np.maximum(
        np.max([np.abs(matrix).max(axis=1) for matrix in weights], axis=0).astype(np.float64), _SMALLEST
    )
    scale = np.maximum(activation**alpha / weight ** (1 - alpha), _SMALLEST)
    return np.where(channel_max > 0, scale / np.exp(np.log(scale).mean()), 1.0).astype(np.float32)


def smooth(graph: onnx.ModelProto, scales: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """Divide these activations, by name, by their scales (channels,) before the products that read them.

    Where `find_folds` has the activation, it is itself divided, at no cost; elsewhere a Mul makes another, named by
    `smoothed_name`.
    """
    result = copy_graph(graph)
    products = find_matmuls(result)
    folds = find_folds(result)
    weights: dict[str, np.ndarray] = {}
    for product in products:
        if product.source in scales:
            weights[product.name] = product.weight * scales[product.source][:, None]
    for source, (value, first) in folds.items():
        if source in scales:
            columns = np.ones(value.weight.shape[1], dtype=np.float32)
            columns[first : first + len(scales[source])] = 1 / scales[source]
            weights[value.name] = weights.get(value.name, value.weight) * columns
            if value.bias:
                tensor = weights_of(result)[value.bias]
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * columns, value.bias))
    nodes = {node.output[0]: node for node in result.graph.node}
    for product in products:
        node = nodes[product.replaces[0]]
        if product.name in weights:
            weight = weights[product.name]
            node.input[1] = add_weight(
                result, f"{product.name}.weight_smooth", weight.T if product.transposed else weight
            )
        if product.source in scales:
            node.input[0] = smoothed_name(product.source, folds)
    divided = [source for source in scales if source not in folds]
    inverses = [
        add_weight(result, f"{source}_smoothing", (1 / scales[source]).astype(np.float32)) for source in divided
    ]
    made = [
        helper.make_node("Mul", [source, inverse], [f"{source}_smooth"])
        for source, inverse in zip(divided, inverses, strict=True)
    ]
    replace_nodes(result, [*result.graph.node, *made])
    remove_unused(result)
    return result


def smoothed_name(source: str, folds: Collection[str]) -> str:
    """What an activation is called once it is divided."""
    return source if source in folds else f"{source}_smooth"


def find_folds(graph: onnx.ModelProto) -> dict[str, tuple[MatMul, int]]:
    """The activations whose division can be folded into an earlier product, each with that product and its first
    column.

    That is cross-layer equalization (Nagel et al., "Data-Free Quantization", 2019): in a post-norm encoder the values
    of an attention and its output projection are the only pair with nothing but linear maps between, as the softmax
    mixes tokens, never channels.
    """
    products = find_matmuls(graph)
    by_output = {product.output: product for product in products}
    makers = {name: node for node in graph.graph.node for name in node.output}
    readers = count_readers(graph)
    found = {}
    for product in products:
        value = _value_projection(product.source, makers, by_output)
        if value is not None and readers[product.source] == 1 and (not value[0].bias or readers[value[0].bias] == 1):
            found[product.source] = value
    return found


def _value_projection(
    name: str, makers: dict[str, onnx.NodeProto], products: dict[str, MatMul]
) -> tuple[MatMul, int] | None:
    """The product that computes the values that an attention mixes into `name`, and the first of its columns that holds
    them."""
    first = 0
    while name not in products:
        node = makers.get(name)
        if node is None:
            return None
        if node.op_type == "MultiHeadAttention" and not any(node.input[3:4]):  # it has no bias of its own
            name = node.input[2]
        elif node.op_type == "Split" and node.input[0] in products:
            first = products[node.input[0]].weight.shape[1] // len(node.output) * list(node.output).index(name)
            name = node.input[0]
        elif node.op_type == "MatMul":
            name = node.input[1]
        elif node.op_type in ("Reshape", "Transpose"):
            name = node.input[0]
        else:
            return None
    return products[name], first
