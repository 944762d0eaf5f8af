"""INT8: the large matrix products in integers, everything else in float; embeddings as bytes.

Weights are symmetric INT8, one scale a column; activations UINT8 with a static range (`int8`) or a range taken at run time
(`int8-dynamic`). For runtimes other than onnxruntime's CPU kernels the same is said with standard Q/DQ nodes, signed and symmetric.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgelm.export.rewrite import MICROSOFT, add_weight, prune_dead, replace_nodes, weights_of

_SMALLEST = 16_384  # weights: a smaller matrix, such as a classifier's, gains nothing and is kept exact


@dataclass(frozen=True)
class Product:
    """A matrix product with a constant matrix: a MatMul or Gemm, and the bias that its only reader adds.

    Attributes:
        name: of the node.
        source: name of the activation, (..., in).
        weight: (in, out), float32.
        bias: name of a constant (out,), or "".
        output: name of the result, bias included.
        then: name of the value that a GELU makes of the result, or "".
        replaces: outputs of the nodes that the product stands for.
    """

    name: str
    source: str
    weight: np.ndarray
    bias: str
    output: str
    then: str
    replaces: tuple[str, ...]


def find_products(graph: onnx.ModelProto) -> list[Product]:
    """The matrix products that are worth integers."""
    weights = weights_of(graph)
    readers: dict[str, list[onnx.NodeProto]] = {value.name: [] for value in graph.graph.output}
    for node in graph.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found = []
    for node in graph.graph.node:
        if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in weights:
            continue
        weight = numpy_helper.to_array(weights[node.input[1]])
        if weight.ndim != 2 or weight.size < _SMALLEST:
            continue
        if node.op_type == "Gemm" and any(attribute.name == "transB" and attribute.i for attribute in node.attribute):
            weight = weight.T
        output, bias, then = node.output[0], node.input[2] if len(node.input) > 2 else "", ""
        replaces = [output]
        reader = readers.get(output, [])
        if not bias and len(reader) == 1 and reader[0].op_type in ("Add", "BiasGelu"):
            (other,) = [name for name in reader[0].input if name != output] or [""]
            if other in weights and list(weights[other].dims) == [weight.shape[1]]:
                bias = other
                replaces.append(reader[0].output[0])
                if reader[0].op_type == "Add":
                    output = reader[0].output[0]
                else:
                    output, then = f"{output}_biased", reader[0].output[0]
        found.append(Product(node.name, node.input[0], weight, bias, output, then, tuple(replaces)))
    return found


def quantize_columns(weight: np.ndarray, *, largest: int = 127) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric INT8 with one scale a column.

    Args:
        weight: (in, out), float32.
        largest: 127, or 63 for CPUs whose 16-bit sums of UINT8 times INT8 would saturate.

    Returns:
        (in, out) int8, (out,) float32 scales > 0; |weight - int8 * scale| <= scale / 2.
    """
    scale = np.maximum(np.abs(weight).max(axis=0) / largest, 1e-12).astype(np.float32)
    return np.clip(np.rint(weight / scale), -largest, largest).astype(np.int8), scale


def unsigned_grid(low: float, high: float) -> tuple[np.float32, np.uint8]:
    """Scale and zero point of UINT8 over [low, high], which holds zero; zero is represented exactly."""
    scale = np.float32(max((high - low) / 255, 1e-12))
    return scale, np.uint8(np.clip(np.rint(-low / scale), 0, 255))


def quantize_static(graph: onnx.ModelProto, ranges: dict[str, tuple[float, float]], *, largest: int = 127) -> onnx.ModelProto:
    """INT8 for onnxruntime's CPU kernels: one QuantizeLinear for each activation, shared by its readers, and products that
    take bytes and give floats, scale and bias included (MatMulIntegerToFloat)."""
    result, products = _copy(graph)
    new: list[onnx.NodeProto] = []
    quantized: dict[str, tuple[str, str, str]] = {}
    for product in products:
        source = product.source
        if source not in quantized:
            scale, zero = unsigned_grid(*ranges[source])
            names = (f"{source}_u8", add_weight(result, f"{source}_scale", scale), add_weight(result, f"{source}_zero", zero))
            new.append(helper.make_node("QuantizeLinear", [source, *names[1:]], [names[0]]))
            quantized[source] = names
        bytes_name, scale_name, zero_name = quantized[source]
        weight, weight_scale, _ = _add_quantized(result, product, largest=largest)
        inputs = [bytes_name, weight, scale_name, weight_scale, zero_name, "", product.bias]
        new += _nodes(product, "MatMulIntegerToFloat", inputs if product.bias else inputs[:5])
    return _finish(result, products, new)


def quantize_dynamic(graph: onnx.ModelProto, *, largest: int = 127) -> onnx.ModelProto:
    """INT8 with activation ranges taken from each input at run time (DynamicQuantizeMatMul); needs no calibration."""
    result, products = _copy(graph)
    new: list[onnx.NodeProto] = []
    for product in products:
        weight, weight_scale, weight_zero = _add_quantized(result, product, largest=largest)
        inputs = [product.source, weight, weight_scale, weight_zero, product.bias]
        new += _nodes(product, "DynamicQuantizeMatMul", inputs if product.bias else inputs[:4])
    return _finish(result, products, new)


def quantize_qdq(graph: onnx.ModelProto, ranges: dict[str, tuple[float, float]]) -> onnx.ModelProto:
    """INT8 in standard operators, as TensorRT reads it: signed and symmetric, Q/DQ before both inputs of each product."""
    result, products = _copy(graph)
    new: list[onnx.NodeProto] = []
    done: set[str] = set()
    for product in products:
        source, name = product.source, product.output
        if source not in done:
            done.add(source)
            scale = add_weight(result, f"{source}_scale", np.float32(max(abs(ranges[source][0]), abs(ranges[source][1]), 1e-12) / 127))
            zero = add_weight(result, f"{source}_zero", np.int8(0))
            new.append(helper.make_node("QuantizeLinear", [source, scale, zero], [f"{source}_s8"]))
            new.append(helper.make_node("DequantizeLinear", [f"{source}_s8", scale, zero], [f"{source}_dq"]))
        weight, weight_scale, weight_zero = _add_quantized(result, product, largest=127)
        new.append(helper.make_node("DequantizeLinear", [weight, weight_scale, weight_zero], [f"{weight}_dq"], axis=1))
        product_name = f"{name}_product" if product.bias else name
        new.append(helper.make_node("MatMul", [f"{source}_dq", f"{weight}_dq"], [product_name], name=product.name))
        if product.bias:
            new.append(helper.make_node("Add", [product_name, product.bias], [name]))
        if product.then:
            new.append(helper.make_node("Gelu", [name], [product.then]))
    return _finish(result, products, new)


def quantize_embeddings(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Keep embedding tables as INT8 with one scale a row: looked up as bytes, turned to floats for the few rows that a text needs."""
    result = onnx.ModelProto()
    result.CopyFrom(graph)
    weights = weights_of(result)
    nodes = []
    for node in result.graph.node:
        table = weights.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or len(table.dims) != 2 or np.prod(table.dims) < _SMALLEST or table.data_type != onnx.TensorProto.FLOAT:
            nodes.append(node)
            continue
        columns, scale = quantize_columns(numpy_helper.to_array(table).T)
        name, output = table.name, node.output[0]
        add_weight(result, f"{name}_s8", columns.T)
        add_weight(result, f"{name}_scale", scale[:, None])
        nodes += [
            helper.make_node("Gather", [f"{name}_s8", node.input[1]], [f"{output}_s8"], axis=0),
            helper.make_node("Gather", [f"{name}_scale", node.input[1]], [f"{output}_scale"], axis=0),
            helper.make_node("Cast", [f"{output}_s8"], [f"{output}_float"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Mul", [f"{output}_float", f"{output}_scale"], [output]),
        ]
    replace_nodes(result, nodes)
    prune_dead(result)
    return result


def _copy(graph: onnx.ModelProto) -> tuple[onnx.ModelProto, list[Product]]:
    result = onnx.ModelProto()
    result.CopyFrom(graph)
    if not any(entry.domain == MICROSOFT for entry in result.opset_import):
        result.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    return result, find_products(result)


def _nodes(product: Product, operator: str, inputs: list[str]) -> list[onnx.NodeProto]:
    made = [helper.make_node(operator, inputs, [product.output], domain=MICROSOFT, name=product.name)]
    return [*made, helper.make_node("Gelu", [product.output], [product.then], domain=MICROSOFT)] if product.then else made


def _add_quantized(graph: onnx.ModelProto, product: Product, *, largest: int) -> tuple[str, str, str]:
    """Add a product's weight as INT8; names of the bytes, the scales (out,) and the zero points (out,)."""
    values, scale = quantize_columns(product.weight, largest=largest)
    stem = f"{product.replaces[0]}_weight"
    return (
        add_weight(graph, f"{stem}_s8", values),
        add_weight(graph, f"{stem}_scale", scale),
        add_weight(graph, f"{stem}_zero", np.zeros(len(scale), dtype=np.int8)),
    )


def _finish(graph: onnx.ModelProto, products: list[Product], new: list[onnx.NodeProto]) -> onnx.ModelProto:
    replaced = {name for product in products for name in product.replaces}
    replace_nodes(graph, [node for node in graph.graph.node if node.output[0] not in replaced] + new)
    prune_dead(graph)
    return graph
