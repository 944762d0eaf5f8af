"""Attention of a decoder's layers in onnxruntime's GroupQueryAttention: rotary positions, causal and sliding masks, and
the cache, in one operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn
from transformers import PreTrainedModel

from edgelm.errors import ModelError
from edgelm.export.generation.builder import GraphBuilder
from edgelm.export.generation.cache_scales import CacheScale
from edgelm.export.generation.families import DecoderFamily
from edgelm.export.generation.modules import norm_of, product_of
from edgelm.export.generation.products import Products
from edgelm.export.generation.rotary import rotary_tables
from edgelm.graph.rewrites import MICROSOFT

IDS, MASK, PLACES, ROWS, LOGITS = "input_ids", "attention_mask", "position_ids", "logit_positions", "logits"
_HEAD_SIZES, _ROTARY_SIZES = 8, 16  # the kernel takes multiples of them
_CACHE_SCALES, _QUERY_LENGTHS = 12, 16  # their places among its inputs


class Attention:
    """Adds the attention of one layer after another to a graph."""

    def __init__(
        self,
        model: PreTrainedModel,
        family: DecoderFamily,
        graph: GraphBuilder,
        products: Products,
        *,
        positions: int,
        ragged_steps: bool,
        cache: Sequence[CacheScale] = (),
    ) -> None:
        """Add what all layers read: how many tokens each row has and, for `ragged_steps`, how many are new.

        Args:
            cache: of each layer, where keys and values are kept in bytes; empty: in the graph's floats.
        """
        self._model, self._family, self._graph, self._products = model, family, graph, products
        self._config: Any = model.config
        self._positions, self._scales = positions, cache
        self._tables: dict[str, list[str]] = {}  # cosines and sines, by the types of layers
        filled = graph.node("ReduceSum", [MASK, graph.constant("axis_1", [1])], "lengths", keepdims=0)
        before = graph.node("Sub", [filled, graph.constant("one", 1)], "lengths")
        self._lengths = graph.cast(before, np.int32, "lengths")
        self._total = graph.cast(graph.node("Shape", [MASK], "total", start=1, end=2), np.int32, "total")
        self._new = ""
        if ragged_steps:
            last = graph.node("ReduceMax", [ROWS, graph.constant("axis_1", [1])], "new", keepdims=0)
            self._new = graph.cast(graph.node("Add", [last, graph.constant("one", 1)], "new"), np.int32, "new")

    def attend(self, index: int, name: str, source: str) -> str:
        """(batch, sequence, heads x head size): what the heads of a layer mix, before their projection.

        Args:
            name: of the layer.
            source: (batch, sequence, hidden), normed.
        """
        graph, family = self._graph, self._family
        place = f"{name}.{family.attention}"
        module: Any = self._model.get_submodule(place)
        size = int(module.head_dim)
        rotary = not family.places
        _check_size(place, size, rotary)
        parts = [product_of(part, self._model.get_submodule(part)) for part in family.projections_of(name)]
        widths = [part.weight.shape[1] // size for part in parts]
        heads, kv_heads = (widths[0], widths[1]) if len(widths) > 1 else (widths[0] // 3, widths[0] // 3)
        if family.query_norm:
            query, key, value = (self._products.linear(source, part) for part in parts)
            inputs = [
                self._norm_heads(query, f"{name}.{family.query_norm}", heads, size),
                self._norm_heads(key, f"{name}.{family.key_norm}", kv_heads, size),
                value,
            ]
        else:
            inputs = self._products.parts(source, *parts, place=f"{place}.query_key_value")
            inputs += [""] * (3 - len(inputs))
        past, present = self._cache(index, kv_heads, size)
        inputs += [*past, self._lengths, self._total, *(self._rotary(index) if rotary else [])]
        kept: dict[str, Any] = {}
        if self._scales:
            inputs += [""] * (_CACHE_SCALES - len(inputs)) + self._units(index, place)
            kept = {"k_quant_type": "PER_CHANNEL", "v_quant_type": "PER_CHANNEL", "kv_cache_bit_width": 8}
        if self._new:
            inputs += [""] * (_QUERY_LENGTHS - len(inputs)) + [self._new]
        window = _window(module, self._config)
        mixed = f"{place}/Mixed"
        graph.node_giving(
            [mixed, *present],
            "GroupQueryAttention",
            inputs,
            place,
            domain=MICROSOFT,
            num_heads=heads,
            kv_num_heads=kv_heads,
            scale=_scale(module, self._config, index, size),
            softcap=float(getattr(self._config, "attn_logit_softcapping", None) or 0.0),
            do_rotary=int(rotary),
            local_window_size=-1 if window is None or window >= self._positions else window,
            **kept,
        )
        return mixed

    def _units(self, index: int, place: str) -> list[str]:
        """Names of what the units of a layer's keys and values stand for, (1, heads, 1, head size)."""
        scale = self._scales[index]
        return [
            self._graph.raw_constant(f"{place}.{name}_unit", values[None, :, None])
            for name, values in (("key", scale.key), ("value", scale.value))
        ]

    def _cache(self, index: int, heads: int, size: int) -> tuple[list[str], list[str]]:
        """Names of a layer's keys and values: of the tokens before, and with the new ones."""
        graph, kind = self._graph, np.dtype(np.int8) if self._scales else self._graph.float_type
        before, after = ("batch", heads, "past", size), ("batch", heads, "present", size)
        past = f"past_key_values.{index}"
        return (
            [
                graph.input(f"{past}.key", kind, before, "past-key", index),
                graph.input(f"{past}.value", kind, before, "past-value", index),
            ],
            [
                graph.output(f"present.{index}.key", kind, after, "present-key", index),
                graph.output(f"present.{index}.value", kind, after, "present-value", index),
            ],
        )

    def _norm_heads(self, source: str, name: str, heads: int, size: int) -> str:
        graph = self._graph
        norm = norm_of(name, self._model.get_submodule(name), self._family.norm_offset)
        return graph.reshape(graph.norm(graph.reshape(source, [0, 0, heads, size], name), norm), [0, 0, -1], name)

    def _rotary(self, index: int) -> list[str]:
        """Names of the cosines and sines of a layer."""
        kinds = getattr(self._config, "layer_types", None)
        kind = kinds[index] if kinds and kinds[index] in self._config.rope_parameters else ""
        if kind not in self._tables:
            module = self._model.get_submodule(f"{self._family.body}.rotary_emb")
            name = f"{self._family.body}.rotary_emb" + (f".{kind}" if kind else "")
            cosines, sines = rotary_tables(module, self._config, kind, self._positions)
            self._tables[kind] = [
                self._graph.constant(f"{name}.cos", cosines),
                self._graph.constant(f"{name}.sin", sines),
            ]
        return self._tables[kind]


def _scale(module: nn.Module, config: Any, index: int, size: int) -> float:
    """What the products of queries and keys are multiplied by."""
    known = getattr(module, "scaling", None)
    if isinstance(known, float) and not hasattr(module, "scale_attn_weights"):
        return known
    scale = float(size) ** -0.5 if getattr(config, "scale_attn_weights", True) else 1.0
    return scale / (index + 1) if getattr(config, "scale_attn_by_inverse_layer_idx", False) else scale


def _window(module: Any, config: Any) -> int | None:
    """How many tokens, its own counted, a token of the layer attends to; None: all before it."""
    holder = module if hasattr(module, "sliding_window") else config
    window: int | None = getattr(holder, "sliding_window", None)
    return window


def _check_size(place: str, size: int, rotary: bool) -> None:
    multiple = _ROTARY_SIZES if rotary else _HEAD_SIZES
    if size % multiple:
        raise ModelError(
            f"{place}: heads of {size} channels, and onnxruntime's kernel takes multiples of {multiple}.",
            hint="Choose a model with such heads, or export it for another target.",
        )
