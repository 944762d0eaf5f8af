"""Attention in standard operators: products, a mask and a softmax, with the cache as tensors that grow.

Rows stand on the right, padded on the left as transformers pads prompts: so new tokens of all rows follow each other
in the same places, and past keys and values are joined with the new ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgelm.errors import UsageError
from edgelm.export.generation.builder import GraphBuilder
from edgelm.export.generation.cache_scales import CacheScale
from edgelm.export.generation.heads import IDS, MASK, Heads, HeadsShape, Rotary, cache_tensors


class PlainHeads(Heads):
    """Adds what heads do to a graph, see `Heads`.

    `attention_mask` (batch, total) is 0 in front, where a row is padded, then 1; keys and values are given as (batch,
    heads, total, size), the past ones and the new ones behind them.
    """

    def __init__(self, graph: GraphBuilder) -> None:
        super().__init__(graph)
        self._queries = self._keys = self._places = ""

    def open_cache(self, *, ragged_steps: bool = False, scales: Sequence[CacheScale] = ()) -> None:
        """Add what all layers with a cache read: where the new tokens stand, in the cache and in their text.

        Raises:
            UsageError: keys and values are to be kept in bytes.
        """
        if scales:
            raise UsageError(
                "keys and values are not kept in bytes for TensorRT.", hint="Leave --cache-bits out, or use fp16."
            )
        graph, place = self.graph, "slots"
        count, total = (
            graph.node("Squeeze", [graph.node("Shape", [name], place, start=1, end=2)], place) for name in (IDS, MASK)
        )
        past = graph.node("Sub", [total, count], place)
        self._queries = graph.node("Add", [past, graph.range(count, place)], place)
        self._keys = graph.range(total, place)
        filled = graph.node("ReduceSum", [MASK, graph.constant("axis_1", [1])], place, keepdims=1)
        padding = graph.node("Sub", [total, filled], place)
        places = graph.node("Sub", [self._queries, padding], place)
        self._places = graph.node("Max", [places, graph.constant("zero", 0)], place)  # also of padding

    def slots(self) -> tuple[str, str]:
        """Where the new tokens stand, (1, sequence), and all of them, (total,): for biases by distance."""
        row = self.graph.node("Unsqueeze", [self._queries, self.graph.constant("axis_0", [0])], "slots")
        return row, self._keys

    def check(self, shape: HeadsShape, *, rotary: bool) -> None:
        """Any heads will do."""

    def attend_cached(
        self,
        shape: HeadsShape,
        inputs: Sequence[str],
        index: int,
        *,
        rotary: Rotary | None = None,
        window: int | None = None,
        softcap: float = 0.0,
        bias: str = "",
    ) -> str:
        """See `Heads.attend_cached`."""
        graph, place = self.graph, shape.place
        if len(inputs) == 1:
            sizes = [count * shape.size for count in (shape.heads, shape.kv_heads, shape.kv_heads)]
            inputs = graph.split(inputs[0], sizes, f"{place}.heads")
        counts = (shape.heads, shape.kv_heads, shape.kv_heads)
        query, key, value = (self._apart(name, count, shape) for name, count in zip(inputs, counts, strict=True))
        if rotary:
            query, key = (self._turned(name, rotary, shape) for name in (query, key))
        past, present = cache_tensors(graph, index, shape, graph.float_type, after="total")
        for before, new, after in zip(past, (key, value), present, strict=True):
            graph.node_giving([after], "Concat", [before, new], place, axis=2)
        allowed = graph.once(f"allowed.{window}", lambda: self._allowed(window))
        return self._mix(shape, query, present[0], present[1], allowed, bias=bias, softcap=softcap)

    def attend_all(self, shape: HeadsShape, packed: str, mask: str, bias: str) -> str:
        """See `Heads.attend_all`."""
        parts = self.graph.split(packed, [shape.heads * shape.size] * 3, f"{shape.place}.heads")
        query, key, value = (self._apart(part, shape.heads, shape) for part in parts)
        return self._mix(shape, query, key, value, self._there(mask), bias=bias)

    def attend_memory(self, shape: HeadsShape, query: str, key: str, value: str, mask: str) -> str:
        """See `Heads.attend_memory`."""
        return self._mix(shape, self._apart(query, shape.heads, shape), key, value, self._there(mask))

    def _apart(self, source: str, heads: int, shape: HeadsShape) -> str:
        """(batch, heads, sequence, size) of (batch, sequence, heads x size)."""
        apart = self.graph.reshape(source, [0, 0, heads, shape.size], shape.place)
        return self.graph.node("Transpose", [apart], shape.place, perm=[0, 2, 1, 3])

    def _turned(self, source: str, rotary: Rotary, shape: HeadsShape) -> str:
        """Rotary positions: the two halves of the channels turned as pairs."""
        graph, place = self.graph, shape.place
        cosines, sines = (self._at_places(table) for table in (rotary.cosines, rotary.sines))
        rest = shape.size - 2 * rotary.half
        first, second, *kept = graph.split(source, [rotary.half, rotary.half, *([rest] if rest else [])], place)
        turned = [
            graph.node("Sub", self._products_of(place, (first, cosines), (second, sines)), place),
            graph.node("Add", self._products_of(place, (second, cosines), (first, sines)), place),
        ]
        return graph.node("Concat", [*turned, *kept], place, axis=-1)

    def _products_of(self, place: str, *pairs: tuple[str, str]) -> list[str]:
        return [self.graph.node("Mul", pair, place) for pair in pairs]

    def _at_places(self, table: str) -> str:
        """(batch, 1, sequence, half): rows of a table of positions."""
        graph = self.graph

        def look_up() -> str:
            rows = graph.node("Gather", [table, self._places], table, axis=0)
            return graph.node("Unsqueeze", [rows, graph.constant("axis_1", [1])], table)

        return graph.once(f"{table}.rows", look_up)

    def _allowed(self, window: int | None) -> str:
        """(batch, 1, sequence, total) bool: whether a new token attends to a key."""
        graph, place = self.graph, "allowed"
        column = graph.node("Unsqueeze", [self._queries, graph.constant("last_axis", [-1])], place)
        before = graph.node("LessOrEqual", [self._keys, column], place)
        if window is not None:
            distance = graph.node("Sub", [column, self._keys], place)
            near = graph.node("Less", [distance, graph.constant(f"window.{window}", window)], place)
            before = graph.node("And", [before, near], place)
        return graph.node("And", [before, self._there(MASK)], place)

    def _there(self, mask: str) -> str:
        """(batch, 1, 1, keys) bool of a mask (batch, keys)."""
        graph = self.graph

        def make() -> str:
            flags = graph.cast(mask, np.bool_, mask)
            return graph.node("Unsqueeze", [flags, graph.constant("axes_1_2", [1, 2])], mask)

        return graph.once(f"{mask}.bool", make)

    def _mix(
        self,
        shape: HeadsShape,
        query: str,
        key: str,
        value: str,
        allowed: str,
        *,
        bias: str = "",
        softcap: float = 0.0,
    ) -> str:
        """(batch, sequence, heads x size): values, weighed by what queries and keys say.

        Heads of queries that share one of keys become an axis of their own, so that no key is copied.
        """
        graph, place = self.graph, shape.place
        group = shape.heads // shape.kv_heads
        if shape.scale != 1:
            scale = graph.constant(f"scale.{shape.scale:g}", np.float32(shape.scale))
            query = graph.node("Mul", [query, scale], place)  # before the product: less overflows FP16
        turned = graph.node("Transpose", [key], place, perm=[0, 1, 3, 2])
        if group > 1:
            axis = graph.constant("axis_2", [2])
            query = graph.reshape(query, [0, shape.kv_heads, group, -1, shape.size], place)
            turned, value = (graph.node("Unsqueeze", [name, axis], place) for name in (turned, value))
            allowed = graph.once(
                f"{allowed}.groups",
                lambda: graph.node("Unsqueeze", [allowed, graph.constant("axis_1", [1])], "allowed"),
            )
        scores = graph.node("MatMul", [query, turned], place)
        if softcap:
            limit = graph.constant(f"softcap.{softcap:g}", np.float32(softcap))
            bounded = graph.node("Tanh", [graph.node("Div", [scores, limit], place)], place)
            scores = graph.node("Mul", [bounded, limit], place)
        if bias:
            scores = graph.node("Add", [scores, bias], place)
        lowest = graph.constant("lowest", np.finfo(np.float16 if graph.half else np.float32).min)
        shares = graph.node("Softmax", [graph.node("Where", [allowed, scores, lowest], place)], place, axis=-1)
        mixed = graph.node("MatMul", [shares, value], place)
        if group > 1:
            mixed = graph.reshape(mixed, [0, shape.heads, -1, shape.size], place)
        mixed = graph.node("Transpose", [mixed], place, perm=[0, 2, 1, 3])
        return graph.reshape(mixed, [0, 0, shape.heads * shape.size], place)
