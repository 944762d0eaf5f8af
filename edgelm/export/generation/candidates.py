"""Exact logits where they decide: a head in few bits finds the likeliest tokens, whose rows are then read in full.

A head reads its whole table for every token, so that its bits weigh most on speed; rounding it weighs most on what is
written. Both are had at once: beside the table in 8 or 4 bits lies what rounding left, in 8 bits more, and only the
candidates' rows of that are read. One pass over a short list costs some microseconds.
"""

from __future__ import annotations

import numpy as np

from edgelm.export.generation.products import Products, Table
from edgelm.quantize.blocks import BlockWeight, pack, round_blocks

CANDIDATES = 64  # more than beams or samples ever look at, and few enough to cost nothing


class FullRows:
    """Rows of a table in blocks, with what rounding left."""

    def __init__(self, products: Products, table: Table, weight: np.ndarray, made: BlockWeight) -> None:
        """Store what rounding left.

        Args:
            weight: (rows, width), which the table holds.
            made: its integers.
        """
        self._products, self._table = products, table
        self._parts = 2**made.bits  # so the rest is as large as the weights: FP16 has few bits for very small scales
        rest = round_blocks((weight.T - made.floats()) * self._parts, 8, block=made.block)
        graph, name = products.graph, f"{table.name}.weight_rest"
        values = graph.raw_constant(name, pack(rest))
        scale = graph.raw_constant(f"{name}_scale_f16", np.ascontiguousarray(rest.scale.T[:, :, None]))
        if graph.float_type == np.float32:
            scale = graph.cast(scale, np.float32, f"{name}_scale")
        self._rest = Table(f"{table.name}.rest", table.rows, table.width, values, scale, bits=8, block=rest.block)

    def look_up(self, ids: str) -> str:
        """(batch, sequence, width) floats."""
        graph, name = self._products.graph, self._rest.name
        part = graph.constant(f"{name}.part", np.float32(1 / self._parts))
        rest = graph.node("Mul", [self._products.look_up(self._rest, ids), part], name)
        return graph.node("Add", [self._products.look_up(self._table, ids), rest], name)

    def correct(self, states: str, logits: str, count: int) -> str:
        """Logits (batch, rows, vocabulary) of states (batch, rows, width), those of the likeliest tokens in full."""
        graph, place = self._products.graph, f"{self._table.name}.candidates"
        _, found = graph.nodes("TopK", [logits, graph.constant(f"{place}.count", [count])], place, 2, sorted=0)
        rows = self.look_up(graph.reshape(found, [0, -1], place))
        rows = graph.reshape(rows, [0, -1, count, self._table.width], place)
        axis = graph.constant("last_axis", [-1])
        exact = graph.node("MatMul", [rows, graph.node("Unsqueeze", [states, axis], place)], place)
        return graph.node(
            "ScatterElements", [logits, found, graph.node("Squeeze", [exact, axis], place)], place, axis=-1
        )
