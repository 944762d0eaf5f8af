"""Matrix products and tables in standard operators: floats, or weights in integers that DequantizeLinear turns into
floats, as TensorRT reads them."""

from __future__ import annotations

from itertools import groupby
from typing import Any, ClassVar

import numpy as np

from edgelm.export.generation.plain.builder import PlainGraphBuilder
from edgelm.export.generation.products import Product, Products, Table, joined_bias, joined_blocks, to_nearest
from edgelm.precision import Precision
from edgelm.quantize.blocks import BlockWeight, round_blocks
from edgelm.quantize.grid import quantize_columns

# Of INT4, and its scales are positive: docs.nvidia.com/deeplearning/tensorrt, "Quantization Schemes".
PLAIN_BLOCK = 64


class PlainProducts(Products):
    """Adds products and tables to a graph, see `Products`.

    Weights of 8 bits have a scale a column, those of 4 bits a positive one for each block of 64 input channels; a
    matrix that is not made of whole such blocks has 8. Tables and the head are floats: a look-up in a table of
    integers would turn all of it into floats first.
    """

    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "int8-weights", "int4")
    where: ClassVar[str] = " for TensorRT"

    def project(self, source: str, table: Table, place: str, *, bias: np.ndarray | None = None) -> str:
        """The product with a table's transpose: logits of a tied head."""
        turned = self.graph.node("Transpose", [table.values], place, perm=[1, 0])
        return self._add_bias(self.graph.node("MatMul", [source, turned], place), bias, place)

    def _head_of(self, precision: Precision) -> str:
        if precision.integers:
            return "fp16" if self.graph.half else "fp32"
        return precision.name

    def _blocks(self, source: str, products: tuple[Product, ...], place: str, precision: Precision) -> list[str]:
        made = [self._integers(product, precision.bits) for product in products]
        parts, at = [], 0
        for _, group in groupby(made, lambda weight: weight is None):  # neighbours of one kind are one product
            count = len(list(group))
            some, weights = products[at : at + count], made[at : at + count]
            name = place if count == len(products) else "+".join(product.name for product in some)
            parts.append(self._dequantized(source, some, weights, name))
            at += count
        widths_differ = len(parts) not in (1, len(products))
        return [self.graph.node("Concat", parts, place, axis=-1)] if widths_differ else parts

    def _integers(self, product: Product, bits: int) -> BlockWeight | None:
        """A weight in 4 bits; None: it has 8."""
        if bits == 8 or len(product.weight) % PLAIN_BLOCK:
            return None
        if self._quantize is to_nearest:
            return round_blocks(product.weight, bits, block=PLAIN_BLOCK, positive=True)
        made = self._quantize(product.name, product.weight, bits)
        if made.bits == 8:
            return None
        fits = made.block == PLAIN_BLOCK and made.zero is None and bool((made.scale > 0).all())
        return made if fits else round_blocks(made.floats(), bits, block=PLAIN_BLOCK, positive=True)

    def _dequantized(
        self, source: str, products: tuple[Product, ...], made: list[BlockWeight | None], place: str
    ) -> str:
        graph, stem = self.graph, f"{place}.weight.T"
        assert isinstance(graph, PlainGraphBuilder)
        blocks = [weight for weight in made if weight is not None]
        settings: dict[str, Any]
        if blocks:
            joined = joined_blocks(blocks)
            values = graph.int4_constant(f"{stem}_s4", joined.values.astype(np.int8) - 8)
            scale = graph.constant(f"{stem}_scale", joined.scale.astype(np.float32))
            settings = {"axis": 0, "block_size": PLAIN_BLOCK}
        else:
            columns = quantize_columns(np.concatenate([product.weight for product in products], axis=1))
            values = graph.raw_constant(f"{stem}_s8", columns.values)
            scale = graph.constant(f"{stem}_scale", np.maximum(columns.scale, _least_scale(graph)))
            settings = {"axis": 1}
        weight = graph.node("DequantizeLinear", [values, scale], stem, domain="", **settings)
        return self._add_bias(graph.node("MatMul", [source, weight], place), joined_bias(products), place)


def _least_scale(graph: PlainGraphBuilder) -> np.float32:
    """The smallest normal number: TensorRT refuses a scale of 0, which a column of zeros would have in FP16."""
    return np.float32(np.finfo(np.float16 if graph.half else np.float32).tiny)
