"""Weights in 4 or 8 bits by blocks, activations in float: less memory and bandwidth, no calibration of ranges (MatMulNBits)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from edgelm.graph.files import copy_graph
from edgelm.graph.nodes import MICROSOFT, add_weight, prune_dead, replace_nodes
from edgelm.quantize.products import Product, find_products
from edgelm.quantize.rounding import gptq, hessian
from edgelm.quantize.statistics import Statistics

BLOCK = 32


@dataclass(frozen=True)
class BlockWeight:
    """A matrix in unsigned integers with a scale and a zero point for each block of 32 input channels of an output.

    Attributes:
        values: (in, out) uint8, below 2**bits.
        scale: (blocks, out) float32.
        zero: (blocks, out) uint8.
    """

    values: np.ndarray
    scale: np.ndarray
    zero: np.ndarray

    def floats(self) -> np.ndarray:
        """(in, out) float32: what the integers stand for."""
        block = np.arange(len(self.values)) // BLOCK
        return (self.values.astype(np.float32) - self.zero[block]) * self.scale[block]


def block_grid(weight: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Scales and zero points, (out,) each, that cover one block of weights (rows, out); zero is represented exactly."""
    low, high = np.minimum(weight.min(axis=0), 0), np.maximum(weight.max(axis=0), 0)
    scale = np.maximum((high - low) / (2**bits - 1), 1e-12).astype(np.float32)
    return scale, np.clip(np.rint(-low / scale), 0, 2**bits - 1).astype(np.uint8)


def round_blocks(weight: np.ndarray, bits: int, matrix: np.ndarray | None = None) -> BlockWeight:
    """Quantize (in, out) by blocks: to the nearest, or with GPTQ where H (in, in) is given."""
    count = -(-len(weight) // BLOCK)
    scale = np.zeros((count, weight.shape[1]), dtype=np.float32)
    zero = np.zeros((count, weight.shape[1]), dtype=np.uint8)

    def round_row(work: np.ndarray, row: int) -> tuple[np.ndarray, np.ndarray]:
        block = row // BLOCK
        if row % BLOCK == 0:  # the grid is set when its block begins: earlier errors have moved the weights
            scale[block], zero[block] = block_grid(work[row : row + BLOCK], bits)
        values = np.clip(np.rint(work[row] / scale[block]) + zero[block], 0, 2**bits - 1)
        return values.astype(np.int32), (values - zero[block]) * scale[block]

    values = np.stack([round_row(weight, row)[0] for row in range(len(weight))]) if matrix is None else gptq(weight, matrix, round_row)
    return BlockWeight(values.astype(np.uint8), scale, zero)


def quantize_weights(graph: onnx.ModelProto, *, bits: int, statistics: Mapping[str, Statistics] | None = None) -> onnx.ModelProto:
    """The products' weights in blocks of 32, 4 or 8 bits; with statistics (and their gram) by GPTQ, else rounded to the nearest."""
    result = copy_graph(graph)
    if not any(entry.domain == MICROSOFT for entry in result.opset_import):
        result.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    products = find_products(result)
    new: list[onnx.NodeProto] = []
    for product in products:
        known = (statistics or {}).get(product.source)
        weight = round_blocks(product.weight, bits, None if known is None else hessian(known.gram, known.tokens))
        new += _nodes(result, product, weight, bits)
    replaced = {name for product in products for name in product.replaces}
    replace_nodes(result, [node for node in result.graph.node if node.output[0] not in replaced] + new)
    prune_dead(result)
    return result


def _nodes(graph: onnx.ModelProto, product: Product, weight: BlockWeight, bits: int) -> list[onnx.NodeProto]:
    width, height = product.weight.shape
    stem = f"{product.name}.weight"
    packed = add_weight(graph, f"{stem}_u{bits}", _pack(weight.values, bits))
    scale = add_weight(graph, f"{stem}_scale", weight.scale.T.ravel())
    zero = add_weight(graph, f"{stem}_zero", _pack_zeros(weight.zero, bits))
    inputs = [product.source, packed, scale, zero]
    if product.bias:
        inputs += ["", product.bias]
    # accuracy_level 4: the kernel may take the activations of a block as INT8; three times faster on CPUs with VNNI
    sizes = {"K": width, "N": height, "bits": bits, "block_size": BLOCK, "accuracy_level": 4}
    nodes = [helper.make_node("MatMulNBits", inputs, [product.output], domain=MICROSOFT, name=product.name, **sizes)]
    return [*nodes, helper.make_node("Gelu", [product.output], [product.then], domain=MICROSOFT)] if product.then else nodes


def _pack(values: np.ndarray, bits: int) -> np.ndarray:
    """(out, blocks, bytes of a block) uint8: two 4-bit values a byte, the first in the low half; the last block filled up with zeros."""
    count = -(-len(values) // BLOCK)
    filled = np.zeros((count * BLOCK, values.shape[1]), dtype=np.uint8)
    filled[: len(values)] = values
    blocks = filled.T.reshape(values.shape[1], count, BLOCK)
    return blocks if bits == 8 else blocks[:, :, 0::2] | (blocks[:, :, 1::2] << 4)


def _pack_zeros(zero: np.ndarray, bits: int) -> np.ndarray:
    """One zero point a block, output by output; in 4 bits two a byte."""
    if bits == 8:
        return zero.T.ravel()
    rows = zero.T
    if rows.shape[1] % 2:
        rows = np.pad(rows, ((0, 0), (0, 1)))
    return (rows[:, 0::2] | (rows[:, 1::2] << 4)).ravel()
