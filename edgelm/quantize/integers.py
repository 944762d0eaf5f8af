"""INT8 graphs: the large matrix products in integers, everything else in float.

One plan, three dialects. For onnxruntime's CPU kernels activations are UINT8, with a static range (`quantize_static`)
or one taken at run time (`quantize_dynamic`); for runtimes such as TensorRT the same is said with standard Q/DQ nodes,
signed and symmetric (`quantize_qdq`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import helper

from edgelm.graph.external_data import copy_graph
from edgelm.graph.rewrites import MICROSOFT, add_weight, import_microsoft, remove_unused, replace_nodes, weights_of
from edgelm.quantize.grid import IntegerWeight, quantize_columns, signed_grid, unsigned_grid
from edgelm.quantize.matmuls import MatMul, find_matmuls


@dataclass(frozen=True)
class QuantizationPlan:
    """What becomes an integer, and how.

    Attributes:
        ranges: by activation, the interval that its integers cover.
        residuals: by activation, the interval of those whose residual additions read integers too (Q/DQ alone has
            them).
        weights: by product, its integers; a product without an entry is rounded to the nearest.
        keep: products that stay in float.
        pair: the largest sum of two neighbouring integer weights, see `edgelm.quantize.grid.pair_sums`; None: any.
        per_channel: a scale for each column of a weight; False: one for the matrix.
    """

    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    residuals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    weights: Mapping[str, IntegerWeight] = field(default_factory=dict)
    keep: frozenset[str] = frozenset()
    pair: int | None = None
    per_channel: bool = True

    def weight_of(self, product: MatMul) -> IntegerWeight:
        """The product's integers."""
        made = self.weights.get(product.name)
        return made or quantize_columns(product.weight, pair=self.pair, per_channel=self.per_channel)


def quantize_static(graph: onnx.ModelProto, plan: QuantizationPlan) -> onnx.ModelProto:
    """INT8 for onnxruntime's CPU kernels: one QuantizeLinear for each activation, shared by its readers, and products
    that take bytes and give floats, scale and bias included (MatMulIntegerToFloat)."""
    result, products = _open(graph, plan)
    new: list[onnx.NodeProto] = []
    quantized: dict[str, tuple[str, str, str]] = {}
    for product in products:
        source = product.source
        if source not in quantized:
            scale, zero = unsigned_grid(*plan.ranges[source])
            names = (
                f"{source}_u8",
                add_weight(result, f"{source}_scale", scale),
                add_weight(result, f"{source}_zero", zero),
            )
            new.append(helper.make_node("QuantizeLinear", [source, *names[1:]], [names[0]]))
            quantized[source] = names
        bytes_name, scale_name, zero_name = quantized[source]
        weight, weight_scale, _ = _add_integers(result, product, plan)
        inputs = [bytes_name, weight, scale_name, weight_scale, zero_name, "", product.bias]
        new += _nodes(product, "MatMulIntegerToFloat", inputs if product.bias else inputs[:5])
    return _close(result, products, new)


def quantize_dynamic(graph: onnx.ModelProto, plan: QuantizationPlan) -> onnx.ModelProto:
    """INT8 with activation ranges taken from each input at run time (DynamicQuantizeMatMul); needs no calibration."""
    result, products = _open(graph, plan)
    new: list[onnx.NodeProto] = []
    for product in products:
        weight, weight_scale, weight_zero = _add_integers(result, product, plan)
        inputs = [product.source, weight, weight_scale, weight_zero, product.bias]
        new += _nodes(product, "DynamicQuantizeMatMul", inputs if product.bias else inputs[:4])
    return _close(result, products, new)


def quantize_qdq(graph: onnx.ModelProto, plan: QuantizationPlan) -> onnx.ModelProto:
    """INT8 in standard operators, as TensorRT reads it: signed and symmetric, Q/DQ before both inputs of each product
    and, where the plan says so, before residual additions."""
    result, products = _open(graph, plan)
    new: list[onnx.NodeProto] = []
    ranges = {product.source: plan.ranges[product.source] for product in products}
    for source, interval in (dict(plan.residuals) | ranges).items():
        step, zero_point = signed_grid(*interval)
        scale, zero = add_weight(result, f"{source}_scale", step), add_weight(result, f"{source}_zero", zero_point)
        new.append(helper.make_node("QuantizeLinear", [source, scale, zero], [f"{source}_s8"]))
        new.append(helper.make_node("DequantizeLinear", [f"{source}_s8", scale, zero], [f"{source}_dq"]))
    for node in result.graph.node:
        for name in set(residual_inputs(result, node)) & plan.residuals.keys():
            node.input[list(node.input).index(name)] = f"{name}_dq"
    for product in products:
        source, name = product.source, product.output
        weight, weight_scale, weight_zero = _add_integers(result, product, plan)
        new.append(helper.make_node("DequantizeLinear", [weight, weight_scale, weight_zero], [f"{weight}_dq"], axis=1))
        product_name = f"{name}_product" if product.bias else name
        new.append(helper.make_node("MatMul", [f"{source}_dq", f"{weight}_dq"], [product_name], name=product.name))
        if product.bias:
            new.append(helper.make_node("Add", [product_name, product.bias], [name]))
        if product.then:
            new.append(helper.make_node("Gelu", [name], [product.then]))
    return _close(result, products, new)


def residual_inputs(graph: onnx.ModelProto, node: onnx.NodeProto) -> list[str]:
    """The computed values that a node adds to each other; none, if it is another operator or adds a constant."""
    constants = weights_of(graph)
    return [] if node.op_type != "Add" or any(name in constants for name in node.input) else list(node.input)


def _open(graph: onnx.ModelProto, plan: QuantizationPlan) -> tuple[onnx.ModelProto, list[MatMul]]:
    result = copy_graph(graph)
    import_microsoft(result)
    return result, [product for product in find_matmuls(result) if product.name not in plan.keep]


def _nodes(product: MatMul, operator: str, inputs: list[str]) -> list[onnx.NodeProto]:
    made = [helper.make_node(operator, inputs, [product.output], domain=MICROSOFT, name=product.name)]
    return (
        [*made, helper.make_node("Gelu", [product.output], [product.then], domain=MICROSOFT)] if product.then else made
    )


def _add_integers(graph: onnx.ModelProto, product: MatMul, plan: QuantizationPlan) -> tuple[str, str, str]:
    """Add a product's weight as INT8; names of the bytes, the scales (out,) and the zero points (out,)."""
    weight = plan.weight_of(product)
    stem = f"{product.name}.weight"
    return (
        add_weight(graph, f"{stem}_s8", weight.values),
        add_weight(graph, f"{stem}_scale", weight.scale),
        add_weight(graph, f"{stem}_zero", np.zeros(len(weight.scale), dtype=np.int8)),
    )


def _close(graph: onnx.ModelProto, products: list[MatMul], new: list[onnx.NodeProto]) -> onnx.ModelProto:
    replaced = {name for product in products for name in product.replaces}
    replace_nodes(graph, [node for node in graph.graph.node if node.output[0] not in replaced] + new)
    remove_unused(graph)
    return graph
