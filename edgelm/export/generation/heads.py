"""What the heads of an attention mix, between its projections and the last: in onnxruntime's own operators, with the
cache in one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from edgelm.errors import ModelError
from edgelm.export.generation.builder import GraphBuilder
from edgelm.export.generation.cache_scales import CacheScale
from edgelm.graph.rewrites import MICROSOFT

IDS, MASK, PLACES, ROWS, LOGITS = "input_ids", "attention_mask", "position_ids", "logit_positions", "logits"
_MASKED = float(np.finfo(np.float32).min)  # added to the score of a key that is padding
_HEAD_SIZES, _ROTARY_SIZES = 8, 16  # the kernel takes multiples of them
_CACHE_SCALES, _QUERY_LENGTHS = 12, 16  # their places among its inputs


@dataclass(frozen=True)
class HeadsShape:
    """The heads of one attention.

    Attributes:
        place: name of the module.
        heads, kv_heads: of queries, and of keys and values; a multiple and what it is of.
        size: channels of one.
        scale: of the products of queries and keys, before the softmax.
    """

    place: str
    heads: int
    kv_heads: int
    size: int
    scale: float


@dataclass(frozen=True)
class Rotary:
    """Names of the cosines and sines of all positions, (positions, half) each: half of the channels that are
    rotated."""

    cosines: str
    sines: str
    half: int


class Heads:
    """Adds what heads do to a graph: MultiHeadAttention and, with a cache, GroupQueryAttention.

    Rows stand on the left: `attention_mask` (batch, total) says how many tokens each has, and new keys and values are
    written behind those that are there.
    """

    def __init__(self, graph: GraphBuilder) -> None:
        self.graph = graph
        self._lengths: list[str] = []  # tokens of each row less one, and of the longest
        self._filled = self._longest = ""
        self._new = ""
        self._scales: Sequence[CacheScale] = ()

    def open_cache(self, *, ragged_steps: bool = False, scales: Sequence[CacheScale] = ()) -> None:
        """Add what all layers with a cache read: how many tokens each row has and, for `ragged_steps`, how many are
        new.

        Args:
            scales: of each layer, where keys and values are kept in bytes; empty: in the graph's floats.
        """
        graph, self._scales = self.graph, scales
        self._filled = graph.node("ReduceSum", [MASK, graph.constant("axis_1", [1])], "lengths", keepdims=0)
        last = graph.node("Sub", [self._filled, graph.constant("one", 1)], "lengths")
        self._longest = graph.node("Squeeze", [graph.node("Shape", [MASK], "total", start=1, end=2)], "total")
        self._lengths = [graph.cast(last, np.int32, "lengths"), graph.cast(self._longest, np.int32, "total")]
        if ragged_steps:
            most = graph.node("ReduceMax", [ROWS, graph.constant("axis_1", [1])], "new", keepdims=0)
            self._new = graph.cast(graph.node("Add", [most, graph.constant("one", 1)], "new"), np.int32, "new")

    def slots(self) -> tuple[str, str]:
        """Where the new tokens stand, (batch or 1, sequence), and all of them, (total,): for biases by distance."""
        graph, place = self.graph, "decoder.position_bias"
        count = graph.node("Squeeze", [graph.node("Shape", [IDS], place, start=1, end=2)], place)
        # A first call pads its rows: the least of them have fewer tokens than the call has places, and begin at 0.
        past = graph.node("Max", [graph.node("Sub", [self._filled, count], place), graph.constant("zero", 0)], place)
        column = graph.node("Unsqueeze", [past, graph.constant("axis_1", [1])], place)
        queries = graph.node("Add", [column, graph.range(count, place)], place)
        return queries, graph.range(self._longest, place)

    def check(self, shape: HeadsShape, *, rotary: bool) -> None:
        """Refuse heads that the operator does not take.

        Raises:
            ModelError: they are.
        """
        multiple = _ROTARY_SIZES if rotary else _HEAD_SIZES
        if shape.size % multiple:
            raise ModelError(
                f"{shape.place}: heads of {shape.size} channels, and onnxruntime's kernel takes multiples of "
                f"{multiple}.",
                hint="Choose a model with such heads, or export it for another target.",
            )

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
        """Attention of new tokens to those before them and to themselves, whose keys and values go into the cache.

        Args:
            inputs: query, key and value (batch, sequence, heads x size), or all three side by side.
            index: of the layer.
            rotary: turns queries and keys.
            window: how many tokens, its own counted, a token attends to; None: all before it.
            softcap: bound of the scores; 0: none.
            bias: (batch or 1, heads, sequence, total), added to the scores; empty: none.

        Returns:
            (batch, sequence, heads x size).
        """
        kind = np.dtype(np.int8) if self._scales else self.graph.float_type
        past, present = cache_tensors(self.graph, index, shape, kind, after="present")
        given = [*inputs, *[""] * (3 - len(inputs)), *past, *self._lengths]
        if rotary:
            given += [rotary.cosines, rotary.sines]
        if bias:
            given += [""] * (10 - len(given)) + [bias]
        kept: dict[str, Any] = {}
        if self._scales:
            given += [""] * (_CACHE_SCALES - len(given)) + self._units(index, shape.place)
            kept = {"k_quant_type": "PER_CHANNEL", "v_quant_type": "PER_CHANNEL", "kv_cache_bit_width": 8}
        if self._new:
            given += [""] * (_QUERY_LENGTHS - len(given)) + [self._new]
        mixed = f"{shape.place}/Mixed"
        self.graph.node_giving(
            [mixed, *present],
            "GroupQueryAttention",
            given,
            shape.place,
            domain=MICROSOFT,
            num_heads=shape.heads,
            kv_num_heads=shape.kv_heads,
            scale=shape.scale,
            softcap=softcap,
            do_rotary=int(rotary is not None),
            local_window_size=-1 if window is None else window,
            **kept,
        )
        return mixed

    def attend_all(self, shape: HeadsShape, packed: str, mask: str, bias: str) -> str:
        """Attention of all places to all.

        Args:
            packed: query, key and value side by side, (batch, sequence, 3 x heads x size).
            mask: (batch, sequence) int64, 0 where padding is.
            bias: (1, heads, sequence, sequence), added to the scores; empty: none.
        """
        parts = self.graph.split(packed, [shape.heads * shape.size] * 3, f"{shape.place}.heads")
        return self._multi_head(shape, [*parts, "", self._as_int32(mask), bias])

    def attend_memory(self, shape: HeadsShape, query: str, key: str, value: str, mask: str) -> str:
        """Attention to what an encoder gave.

        Args:
            query: (sources, sequence, heads x size).
            key, value: (sources, heads, encoder sequence, size).
            mask: (sources, encoder sequence) int64.
        """
        return self._multi_head(shape, [query, key, value, "", self._as_int32(mask)])

    def _units(self, index: int, place: str) -> list[str]:
        """Names of what the units of a layer's keys and values stand for, (1, heads, 1, head size)."""
        scale = self._scales[index]
        return [
            self.graph.raw_constant(f"{place}.{name}_unit", values[None, :, None])
            for name, values in (("key", scale.key), ("value", scale.value))
        ]

    def _as_int32(self, mask: str) -> str:
        """A mask as the operator reads it, made once."""
        return self.graph.once(f"{mask}.int32", lambda: self.graph.cast(mask, np.int32, mask))

    def _multi_head(self, shape: HeadsShape, inputs: list[str]) -> str:
        settings = {"num_heads": shape.heads, "scale": shape.scale, "mask_filter_value": _MASKED}
        return self.graph.node("MultiHeadAttention", inputs, shape.place, domain=MICROSOFT, **settings)


def cache_tensors(
    graph: GraphBuilder, index: int, shape: HeadsShape, kind: DTypeLike, *, after: str
) -> tuple[list[str], list[str]]:
    """Declare the inputs and outputs of a layer's cache.

    Args:
        after: name of the positions' axis of what is given.
    """
    sizes = ("batch", shape.kv_heads, "past", shape.size)
    given = ("batch", shape.kv_heads, after, shape.size)
    past, present = f"past_key_values.{index}", f"present.{index}"
    return (
        [
            graph.input(f"{past}.key", kind, sizes, "past-key", index),
            graph.input(f"{past}.value", kind, sizes, "past-value", index),
        ],
        [
            graph.output(f"{present}.key", kind, given, "present-key", index),
            graph.output(f"{present}.value", kind, given, "present-value", index),
        ],
    )
