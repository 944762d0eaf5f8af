"""Matrix products and tables of a graph in its precision: floats, bytes with one scale a column, or blocks of few
bits."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from edgelm.errors import UsageError
from edgelm.export.generation.builder import GraphBuilder
from edgelm.graph.rewrites import MICROSOFT
from edgelm.precision import Precision, precision_of
from edgelm.quantize.blocks import BLOCK, BlockWeight, pack, pack_zeros, round_blocks
from edgelm.quantize.grid import quantize_columns

Quantize = Callable[[str, np.ndarray, int], BlockWeight]  # a module's name, its weight (in, out) and bits
_HEAD = "int8-weights"
_BYTES_LEVEL, _FLOATS_LEVEL = 4, 1  # accuracy_level of MatMulNBits


def to_nearest(name: str, weight: np.ndarray, bits: int) -> BlockWeight:
    """The default `Quantize`: rounds to the nearest."""
    return round_blocks(weight, bits)


@dataclass(frozen=True)
class Product:
    """A linear module of PyTorch.

    Attributes:
        name: of the module.
        weight: (in, out) float32.
        bias: (out,) float32, or None.
    """

    name: str
    weight: np.ndarray
    bias: np.ndarray | None = None


@dataclass(frozen=True)
class Table:
    """An embedding table that is in a graph, for lookups, and for a head's product where the two are tied.

    Attributes:
        name: of the module.
        rows, width: its shape.
        values: name of the constant: (rows, width) floats, or packed blocks (rows, blocks, bytes).
        scale: name of the scales (rows, blocks, 1), of a product's own matrix (rows, blocks); empty for floats.
        bits: of an integer; 0 for floats.
        block: how many values of a row share a scale.
        zeros: name of the zero points (rows, blocks, 1); empty: the middle of the integers.
        packed_zeros: the same as MatMulNBits reads them.
        made: the integers; None for floats.
    """

    name: str
    rows: int
    width: int
    values: str
    scale: str = ""
    bits: int = 0
    block: int = BLOCK
    zeros: str = ""
    packed_zeros: str = ""
    made: BlockWeight | None = None


class Products:
    """Adds products and tables to a graph.

    Attributes:
        graph: where they go.
        precision: of the products.
        head: of tables, and of the product that gives the logits.
        precisions: names of those that these operators have.
        where: what says so in an error, behind "not exported in ...".
    """

    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "int8-dynamic", "int8-weights", "int4")
    where: ClassVar[str] = ""

    def __init__(
        self,
        graph: GraphBuilder,
        precision: str,
        *,
        head: str | None = None,
        quantize: Quantize = to_nearest,
        pair: int | None = None,
        byte_activations: bool = True,
    ) -> None:
        """Take a graph and the precision of its weights.

        Args:
            precision: one of `precisions`.
            head: precision of tables and head; None: 8 bits in blocks where weights are integers, since these weigh
                most on the answers, else the same.
            quantize: makes the blocks of a weight; it may give other bits than it was asked for, and blocks of any
                size that MatMulNBits knows. Larger ones are faster: of 128 a fifth, on a CPU with AVX-512; but the last
                digits of a row in 4 bits then depend on how many rows there are, which those of 32 do not.
            pair: the largest sum of two neighbouring integers in int8-dynamic (`edgelm.quantize.grid.pair_sums`).
            byte_activations: products of blocks take the activations of a block as bytes, which CPUs multiply fastest;
                False: as FP32.

        Raises:
            UsageError: the graphs of generators have no such precision.
        """
        self.graph = graph
        self.precision = self._known(precision)
        self.head = self._known(head or self._head_of(self.precision))
        self._quantize = quantize
        self._pair = pair
        self._bytes = byte_activations

    def with_head(self, head: str) -> Products:
        """The same with another precision of tables and head."""
        result = copy.copy(self)
        result.head = self._known(head)
        return result

    def linear(self, source: str, *products: Product, place: str = "", precision: Precision | None = None) -> str:
        """One or more linear modules of the same input, their outputs side by side.

        Args:
            place: name of the whole; empty: that of the one module.
            precision: None: that of the products; `head` for a head that no table is tied to.
        """
        place = place or products[0].name
        parts = self.parts(source, *products, place=place, precision=precision)
        return parts[0] if len(parts) == 1 else self.graph.node("Concat", parts, place, axis=-1)

    def parts(self, source: str, *products: Product, place: str = "", precision: Precision | None = None) -> list[str]:
        """The same as one value; as one of each module, where their blocks are made in different ways."""
        place, precision = place or products[0].name, precision or self.precision
        if precision.conversion != "blocks":
            weight = np.concatenate([product.weight for product in products], axis=1)
            bias = joined_bias(products)
            if precision.conversion == "dynamic":
                return [self._dynamic(source, weight, bias, place)]
            return [self._floats(source, weight, bias, place)]
        return self._blocks(source, products, place, precision)

    def _blocks(self, source: str, products: tuple[Product, ...], place: str, precision: Precision) -> list[str]:
        """`parts` with weights in blocks."""
        made = [self._quantize(product.name, product.weight, precision.bits) for product in products]
        if len({(weight.bits, weight.block, weight.zero is None) for weight in made}) == 1:
            table = self._store(place, joined_blocks(made))
            return [self._block_product(source, table, joined_bias(products), place)]
        return [
            self._block_product(source, self._store(product.name, weight), product.bias, product.name)
            for product, weight in zip(products, made, strict=True)
        ]

    def table(self, name: str, weight: np.ndarray) -> Table:
        """Store a table (rows, width) in the head's precision."""
        rows, width = weight.shape
        if self.head.conversion != "blocks":
            return Table(name, rows, width, self.graph.constant(f"{name}.weight", weight))
        return self._store(name, self._quantize(name, weight.T, self.head.bits), lookups=True)

    def look_up(self, table: Table, ids: str) -> str:
        """Rows of a table: (batch, sequence, width) floats."""
        graph = self.graph
        if not table.bits:
            return graph.node("Gather", [table.values, ids], table.name, axis=0)
        # One block a row of the last axis: so the operator reads what MatMulNBits reads, without a second copy.
        settings = {"bits": table.bits, "block_size": table.block, "gather_axis": 0, "quantize_axis": 2}
        inputs = [table.values, ids, table.scale, *([table.zeros] if table.zeros else [])]
        blocks = graph.node("GatherBlockQuantized", inputs, table.name, domain=MICROSOFT, **settings)
        found = graph.reshape(blocks, [0, 0, -1], table.name)
        if table.width % table.block == 0:
            return found
        ends = [graph.constant(f"{table.name}.{key}", [value]) for key, value in (("first", 0), ("width", table.width))]
        return graph.node("Slice", [found, *ends, graph.constant("last_axis", [-1])], table.name)

    def project(self, source: str, table: Table, place: str, *, bias: np.ndarray | None = None) -> str:
        """The product with a table's transpose: logits of a tied head."""
        if table.bits:
            flat = self.graph.reshape(table.scale, [table.rows, -1], f"{place}.scale")
            return self._block_product(source, replace(table, scale=flat), bias, place)
        result = self.graph.node("FusedMatMul", [source, table.values], place, domain=MICROSOFT, transB=1)
        return self._add_bias(result, bias, place)

    def _known(self, name: str) -> Precision:
        precision = precision_of(name)
        if name not in self.precisions:
            *most, last = self.precisions
            raise UsageError(
                f"generators are not exported in {name}{self.where}.", hint=f"Use {', '.join(most)} or {last}."
            )
        return precision

    def _head_of(self, precision: Precision) -> str:
        """The precision of tables and head, where none is asked for."""
        return _HEAD if precision.integers else precision.name

    def _floats(self, source: str, weight: np.ndarray, bias: np.ndarray | None, place: str) -> str:
        result = self.graph.node("MatMul", [source, self.graph.constant(f"{place}.weight.T", weight)], place)
        return self._add_bias(result, bias, place)

    def _add_bias(self, source: str, bias: np.ndarray | None, place: str) -> str:
        if bias is None:
            return source
        return self.graph.node("Add", [source, self.graph.constant(f"{place}.bias", bias)], place)

    def _dynamic(self, source: str, weight: np.ndarray, bias: np.ndarray | None, place: str) -> str:
        made = quantize_columns(weight, pair=self._pair)
        inputs = [
            source,
            self.graph.raw_constant(f"{place}.weight.T_s8", made.values),
            self.graph.raw_constant(f"{place}.weight.T_scale", made.scale),
            self.graph.raw_constant(f"{place}.weight.T_zero", np.zeros(len(made.scale), dtype=np.int8)),
        ]
        if bias is not None:
            inputs.append(self.graph.constant(f"{place}.bias", bias))
        return self.graph.node("DynamicQuantizeMatMul", inputs, place, domain=MICROSOFT)

    def _store(self, name: str, made: BlockWeight, *, lookups: bool = False) -> Table:
        """Store a matrix in blocks, an output a row; for lookups, scales have the three axes of what they scale."""
        graph, stem = self.graph, f"{name}.weight"
        values = graph.raw_constant(f"{stem}_u{made.bits}", pack(made))
        scale = self._scale(stem, made.scale.T[:, :, None] if lookups else np.ascontiguousarray(made.scale.T))
        width, rows = made.values.shape
        table = Table(name, rows, width, values, scale, made.bits, made.block, made=made)
        packed = pack_zeros(made)
        if made.zero is None or packed is None:
            return table
        zeros = graph.raw_constant(f"{stem}_zeros", made.zero.T[:, :, None])
        return replace(table, zeros=zeros, packed_zeros=graph.raw_constant(f"{stem}_packed_zeros", packed))

    def _block_product(self, source: str, table: Table, bias: np.ndarray | None, place: str) -> str:
        inputs = [source, table.values, table.scale]
        if table.packed_zeros or bias is not None:
            inputs.append(table.packed_zeros)
        if bias is not None:
            inputs += ["", self.graph.constant(f"{place}.bias", bias)]
        sizes = {"K": table.width, "N": table.rows, "bits": table.bits, "block_size": table.block}
        sizes["accuracy_level"] = _BYTES_LEVEL if self._bytes else _FLOATS_LEVEL
        return self.graph.node("MatMulNBits", inputs, place, domain=MICROSOFT, **sizes)

    def _scale(self, name: str, values: np.ndarray) -> str:
        """Scales, stored as FP16: half the size in the file; onnxruntime folds the cast when it loads the graph."""
        stored = self.graph.raw_constant(f"{name}_scale_f16", values)
        return stored if self.graph.float_type == np.float16 else self.graph.cast(stored, np.float32, f"{name}_scale")


def joined_bias(products: Sequence[Product]) -> np.ndarray | None:
    """Biases side by side; zeros where one has none, None where all have none."""
    if all(product.bias is None for product in products):
        return None
    return np.concatenate(
        [
            np.zeros(product.weight.shape[1], np.float32) if product.bias is None else product.bias
            for product in products
        ]
    )


def joined_blocks(parts: Sequence[BlockWeight]) -> BlockWeight:
    """Matrices of the same input side by side."""
    first = parts[0]
    values, scale = (np.concatenate([getattr(part, key) for part in parts], axis=1) for key in ("values", "scale"))
    zeros = [part.zero for part in parts if part.zero is not None]
    return BlockWeight(values, scale, first.bits, first.block, np.concatenate(zeros, axis=1) if zeros else None)
