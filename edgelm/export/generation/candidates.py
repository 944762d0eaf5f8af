"""Exact logits where they decide: a head in few bits finds the likeliest tokens, whose rows are then read in full.

A head reads its whole table for every token, so that its bits weigh most on speed; rounding it weighs most on what is
written. Both are had at once: beside the table in 8 or 4 bits lies what rounding left, in 8 bits more, and only the
candidates' rows of that are read. One pass over a short list costs some microseconds.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgelm.export.generation.products import Products, Table
from edgelm.quantize.blocks import BlockWeight, pack

CANDIDATES = 64  # candidates: more than beams or samples ever look at, and few enough to cost nothing
_STEPS = 64  # of the rest in one step of the table: it holds two steps either way, what clipping leaves among them


def rest_of(weight: np.ndarray, made: BlockWeight) -> BlockWeight:
    """What rounding left of (in, out), in parts of 64 of a step: 8 bits with the same scales."""
    block = np.arange(len(weight)) // made.block
    steps = (weight - made.floats()) / made.scale.astype(np.float32)[block]
    values = np.clip(np.rint(steps * _STEPS), -128, 127) + 128
    return BlockWeight(values.astype(np.uint8), made.scale, 8, made.block)


class FullRows:
    """Rows of a table in blocks, with what rounding left."""

    def __init__(self, products: Products, table: Table, weight: np.ndarray, made: BlockWeight) -> None:
        """Store what rounding left.

        Args:
            weight: (rows, width), which the table holds.
            made: its integers.
        """
        self._products, self._table = products, table
        name = f"{table.name}.weight_rest"
        stored = products.graph.raw_constant(name, pack(rest_of(weight.T, made)))
        self._rest = replace(table, name=f"{table.name}.rest", values=stored, bits=8, zeros="", packed_zeros="")

    def look_up(self, ids: str) -> str:
        """(batch, sequence, width) floats."""
        graph, name = self._products.graph, self._rest.name
        part = graph.constant("rest.part", np.float32(1 / _STEPS))
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
