"""Outlier channels, moved from activations into weights.

Both methods leave the float function as it is: y = (x / s) (s W). `smooth` divides the activation by one Mul before it is quantized;
`equalize_values` folds the division into the values of the attention, where the softmax mixes tokens but never channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgelm.graph.files import copy_graph
from edgelm.graph.nodes import add_weight, count_readers, prune_dead, replace_nodes, weights_of
from edgelm.quantize.products import Product, find_products

_SMALLEST = 1e-5
ALPHAS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def smoothing_scales(channel_max: np.ndarray, weights: Sequence[np.ndarray], alpha: float) -> np.ndarray:
    """(channels,) s_j = max|X_j|^alpha / max|W_j|^(1 - alpha), over all weights (channels, out) that read the activation.

    Source: Xiao et al., "SmoothQuant" (2022), equation 4. A channel that is always zero keeps 1.
    """
    activation = np.maximum(channel_max.astype(np.float64), _SMALLEST)
    weight = np.maximum(np.max([np.abs(matrix).max(axis=1) for matrix in weights], axis=0).astype(np.float64), _SMALLEST)
    scale = np.maximum(activation**alpha / weight ** (1 - alpha), _SMALLEST)
    return np.where(channel_max > 0, scale / np.exp(np.log(scale).mean()), 1.0).astype(np.float32)


def smooth(graph: onnx.ModelProto, scales: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """Divide these activations, by name, by their scales (channels,) before the products that read them."""
    result = copy_graph(graph)
    products = {product.replaces[0]: product for product in find_products(result)}
    nodes = list(result.graph.node)
    for node in nodes:
        product = products.get(node.output[0])
        if product is not None and product.source in scales:
            scale = scales[product.source]
            weight = product.weight * scale[:, None]
            node.input[0] = f"{product.source}_smooth"
            node.input[1] = add_weight(result, f"{product.name}.weight_smooth", weight.T if product.transposed else weight)
    for source, scale in scales.items():
        inverse = add_weight(result, f"{source}_smoothing", (1 / scale).astype(np.float32))
        nodes.append(helper.make_node("Mul", [source, inverse], [f"{source}_smooth"]))
    replace_nodes(result, nodes)
    prune_dead(result)
    return result


def equalize_values(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Level the channels that each attention hands to its output projection: values divided, projection multiplied.

    Cross-layer equalization (Nagel et al., "Data-Free Quantization", 2019, equation 11): s_j = sqrt(max|V_j| / max|O_j|). In a
    post-norm encoder this pair is the only one with nothing but linear maps between.
    """
    result = copy_graph(graph)
    products = find_products(result)
    by_output = {product.output: product for product in products}
    makers = {name: node for node in result.graph.node for name in node.output}
    readers = count_readers(result)
    for product in products:
        found = _value_projection(product.source, makers, by_output)
        if found is None:
            continue
        value, first = found
        if any(readers[name] > 1 for name in (value.matrix, value.bias, product.matrix) if name):
            continue
        ahead = np.abs(value.weight[:, first : first + len(product.weight)]).max(axis=0)
        scale = np.sqrt(np.maximum(ahead, _SMALLEST) / np.maximum(np.abs(product.weight).max(axis=1), _SMALLEST)).astype(np.float32)
        columns = np.ones(value.weight.shape[1], dtype=np.float32)
        columns[first : first + len(scale)] = 1 / scale
        _multiply(result, value.matrix, columns[:, None] if value.transposed else columns)
        if value.bias:
            _multiply(result, value.bias, columns)
        _multiply(result, product.matrix, scale if product.transposed else scale[:, None])
    return result


def _value_projection(name: str, makers: dict[str, onnx.NodeProto], products: dict[str, Product]) -> tuple[Product, int] | None:
    """The product that computes the values that an attention mixes into `name`, and the first of its columns that holds them."""
    first = 0
    while name not in products:
        node = makers.get(name)
        if node is None:
            return None
        if node.op_type == "MultiHeadAttention":
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


def _multiply(graph: onnx.ModelProto, name: str, factor: np.ndarray) -> None:
    tensor = weights_of(graph)[name]
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(numpy_helper.to_array(tensor) * factor), name))
