"""The layers of an encoder's graph: products, activations and norms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx

from edgelm.graph.native.fast_gelu import find_fast_gelu
from edgelm.graph.native.state import State
from edgelm.graph.native.values import Bytes, FloatColumns, Half, Product, Rows, Scaled, Value
from edgelm.graph.native.view import Unsupported, attributes, need
from edgelm.graph.native.writer import Quantizer, bits

ACTIVATIONS = {"Gelu": "gelu", "FastGelu": "fast-gelu", "Relu": "relu", "Tanh": "tanh"}


def integer_product(state: State, node: onnx.NodeProto) -> Value:
    """MatMulIntegerToFloat: bytes times INT8 weights, as floats."""
    names = [*node.input, "", "", ""][:7]
    source, weights, scale, weight_scale, zero, weight_zero, bias = names
    head, width, rows = integer_head(state, source, weights, weight_scale, weight_zero)
    same_grid(state, rows, scale, zero)
    return _product(state, node.output[0], Product(head, width, rows.per_token, bias or None))


def integer_head(
    state: State, source: str, weights: str, weight_scale: str, weight_zero: str
) -> tuple[tuple[object, ...], int, Bytes]:
    """The words that begin a product of integers, how wide its results are, and the bytes that it reads."""
    rows = state.value(source)
    matrix = state.view.constant(weights)
    if not isinstance(rows, Bytes) or matrix.ndim != 2 or matrix.dtype != np.int8:
        raise Unsupported(f"{weights}: a product of something else")
    need(matrix.shape[0] == rows.width, f"{weights} has other inputs")
    need(not weight_zero or not state.view.constant(weight_zero).any(), f"{weights} has zero points")
    scales = state.view.constant(weight_scale)
    columns = scales.size > 1
    need(scales.size in (1, matrix.shape[1]), f"{weight_scale} has another size")
    writer = state.writer
    head = ("linear", *matrix.shape, rows.buffer, writer.place(weights, np.int8), int(columns))
    grid = rows.quantizer
    return (*head, writer.place(weight_scale), bits(grid.scale), grid.zero), matrix.shape[1], rows


def same_grid(state: State, rows: Bytes, scale: str, zero: str) -> None:
    """Give up where bytes were made by another grid than a product says."""
    scales, zeros = state.view.constant(scale), state.view.constant(zero)
    same = scales.reshape(-1).tolist() == [rows.quantizer.scale] and zeros.reshape(-1).tolist() == [rows.quantizer.zero]
    need(same, f"{scale} is not what the bytes were made by")


def float_product(state: State, node: onnx.NodeProto) -> Value:
    """MatMul or Gemm: floats times constant weights."""
    weights, name = state.view.constant(node.input[1]), node.input[1]
    found = attributes(node)
    if found.get("transB"):
        weights, name = weights.T, ""
    plain = not found.get("transA") and found.get("alpha", 1.0) == 1.0 and found.get("beta", 1.0) == 1.0
    need(plain and weights.ndim == 2 and weights.dtype == np.float32, f"{node.name}: a product of another kind")
    rows = state.rows(node.input[0])
    product = product_of_floats(rows, weights, name, node.input[2] if len(node.input) > 2 else None)
    return _product(state, node.output[0], product)


def product_of_floats(rows: Rows, weights: np.ndarray, name: str, bias: str | np.ndarray | None) -> Product:
    """Rows times a matrix of floats; `name`: of the constant that it is as it lies there, or empty."""
    need(weights.shape[0] == rows.width, "a product with other inputs")
    head = ("dense", *weights.shape, rows.buffer)
    return Product(head, weights.shape[1], rows.per_token, bias, columns=FloatColumns(rows, weights, name or None))


def _product(state: State, name: str, product: Product) -> Value:
    """A product as its output is read: it waits for what follows, if that is one node; or becomes rows."""
    if found := find_fast_gelu(state.view, name):
        state.done |= found.inside
        state.values[found.output] = _product(state, found.output, replace(product, activation="fast-gelu"))
        return product
    wanted = state.bytes_wanted(name)
    if wanted is not None:
        bytes_name, quantizer = wanted
        if not state.needs_floats(name, bytes_name):
            made = state.new_bytes(product.width, quantizer, per_token=product.per_token)
            state.finish(product, f"bytes {state.writer.quantized(quantizer, made.buffer)}")
            state.values[bytes_name] = made
            state.done.add(bytes_name)
            return product
    elif state.view.only_reader(name, "Add", "BiasGelu", "Split", *ACTIVATIONS) is not None:
        return product
    return state.emit(product)


def activation(state: State, node: onnx.NodeProto) -> Value:
    """An activation, of a product or of rows."""
    kind, name = ACTIVATIONS[node.op_type], node.input[0]
    found = attributes(node)
    need(found.get("approximate", b"none") == b"none" and len(node.input) == 1, f"{node.name}: another activation")
    value = state.value(name)
    if isinstance(value, Half):
        need(value.activation == "none", f"{node.name}: a second activation")
        return replace(value, activation=kind)
    if isinstance(value, Product) and value.activation == "none" and value.added is None:
        return _product(state, node.output[0], replace(value, activation=kind))
    rows = state.rows(name)
    made = state.new_rows(rows.width, per_token=rows.per_token)
    state.writer.step("activate", rows.width, rows.buffer, kind, made.buffer)
    return made


def gate(state: State, node: onnx.NodeProto) -> Value:
    """The activated first half of rows times the second (Shazeer, arXiv:2002.05202)."""
    halves = [state.value(name) for name in node.input]
    halves.sort(key=lambda half: isinstance(half, Half) and half.second)
    first, second = halves
    if not isinstance(first, Half) or not isinstance(second, Half) or first.rows != second.rows:
        raise Unsupported(f"{node.name}: a product of something else")
    need(not first.second and second.second and second.activation == "none", f"{node.name}: another gate")
    rows = first.rows
    made, results = wanted_results(state, node.output[0], rows.width // 2, per_token=rows.per_token)
    state.writer.step("gate", made.width, rows.buffer, first.activation, results)
    return made


def biased_gelu(state: State, node: onnx.NodeProto) -> Value:
    """BiasGelu: a product's bias and its activation."""
    source, bias = node.input
    value = state.value(source)
    if not isinstance(value, Product):
        raise Unsupported(f"{node.name}: an activation of something else")
    alone = value.bias is None and value.activation == "none" and value.added is None
    need(alone and state.view.constant(bias).size == value.width, f"{node.name}: a second bias")
    return _product(state, node.output[0], replace(value, bias=bias, activation="gelu"))


def add(state: State, node: onnx.NodeProto) -> Value:
    """A product and its bias, or a residual; two residuals; or rows and a constant one."""
    left, right = node.input
    for one, other in ((left, right), (right, left)):
        value = state.values.get(one)
        if not isinstance(value, Product) or value.added is not None:
            continue
        if state.view.is_constant(other):
            alone = value.bias is None and value.activation == "none"
            need(alone and state.view.constant(other).size == value.width, f"{node.name}: a second bias")
            return _product(state, node.output[0], replace(value, bias=other))
        rows = state.rows(other)
        need(rows.width == value.width and rows.per_token == value.per_token, f"{node.name}: rows of another shape")
        return _product(state, node.output[0], replace(value, added=rows))
    rows = state.repeat(left, state.rows(right)) if state.view.is_constant(left) else state.rows(left)
    more = state.repeat(right, rows) if state.view.is_constant(right) else state.rows(right)
    need((rows.width, rows.per_token) == (more.width, more.per_token), f"{node.name}: rows of another shape")
    made = state.new_rows(rows.width, per_token=rows.per_token)
    state.writer.step("add", rows.width, rows.buffer, more.buffer, made.buffer)
    return made


def norm(state: State, node: onnx.NodeProto) -> Value:
    """LayerNormalization (Ba et al., arXiv:1607.06450), with the bytes of its result where a product reads them."""
    found = attributes(node)
    rows = state.rows(node.input[0])
    need(found.get("axis", -1) == -1 and len(node.output) == 1, f"{node.name}: another norm")
    bias = node.input[2] if len(node.input) > 2 else None
    sizes = [state.view.constant(name).size for name in (node.input[1], bias) if name]
    need(set(sizes) == {rows.width}, f"{node.name}: a gain of another shape")
    words: list[object] = [rows.buffer, state.writer.place(node.input[1]), state.writer.place(bias)]
    words.append(bits(found.get("epsilon", 1e-5)))
    made, results = wanted_results(state, node.output[0], rows.width, per_token=rows.per_token)
    state.writer.step("norm", rows.width, *words, results)
    return made


def wanted_results(state: State, name: str, width: int, *, per_token: int) -> tuple[Rows, str]:
    """Rows that are floats, bytes or both, as the readers of a tensor want them, and the words for it."""
    wanted = state.bytes_wanted(name)
    made = state.new_rows(width, per_token=per_token)
    floats = wanted is None or state.needs_floats(name, wanted[0])
    return made, f"{f'from 1 {made.buffer}' if floats else 'from 0'} {bytes_words(state, wanted, made)}"


def bytes_words(state: State, wanted: tuple[str, Quantizer] | None, rows: Rows) -> str:
    """The words for bytes beside floats, and the value of the tensor that they are."""
    if wanted is None:
        return "bytes 0"
    name, quantizer = wanted
    made = state.new_bytes(rows.width, quantizer, per_token=rows.per_token)
    state.values[name] = made
    state.done.add(name)
    return f"bytes 1 {state.writer.quantized(made.quantizer, made.buffer)}"


def quantize(state: State, node: onnx.NodeProto) -> Value:
    """Rows to bytes, where no other step does it on its way."""
    value, quantizer = state.value(node.input[0]), state.quantizer_of(node)
    if isinstance(value, Scaled):
        rows, quantizer = value.rows, replace(quantizer, factors=value.factors)
    else:
        rows = state.rows(node.input[0])
    made = state.new_bytes(rows.width, quantizer, per_token=rows.per_token)
    state.writer.step("quantize", rows.width, rows.buffer, state.writer.quantized(made.quantizer, made.buffer))
    return made


def scale(state: State, node: onnx.NodeProto) -> Value:
    """Rows times a constant one, which a quantizer does on its way."""
    rows, factors = state.rows(node.input[0]), node.input[1]
    need(state.view.constant(factors).shape == (rows.width,), f"{node.name}: a product with another constant")
    return Scaled(rows, factors)
