"""Attention of a decoder's layers: from the normed sum to what its heads mix, before their projection."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedModel

from edgelm.export.generation.builder import GraphBuilder
from edgelm.export.generation.families import DecoderFamily
from edgelm.export.generation.heads import Heads, HeadsShape, Rotary
from edgelm.export.generation.modules import norm_of, product_of
from edgelm.export.generation.products import Products
from edgelm.export.generation.rotary import rotary_tables


class Attention:
    """Adds the attention of one layer after another to a graph.

    Args:
        heads: with its cache opened.
        positions: how many the graph reaches.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        family: DecoderFamily,
        graph: GraphBuilder,
        products: Products,
        heads: Heads,
        *,
        positions: int,
    ) -> None:
        self._model, self._family, self._graph, self._products = model, family, graph, products
        self._config: Any = model.config
        self._heads, self._positions = heads, positions
        self._tables: dict[str, Rotary] = {}  # by the types of layers

    def attend(self, index: int, name: str, source: str) -> str:
        """(batch, sequence, heads x head size): what the heads of a layer mix, before their projection.

        Args:
            name: of the layer.
            source: (batch, sequence, hidden), normed.
        """
        family = self._family
        place = f"{name}.{family.attention}"
        module: Any = self._model.get_submodule(place)
        size = int(module.head_dim)
        rotary = not family.places
        parts = [product_of(part, self._model.get_submodule(part)) for part in family.projections_of(name)]
        widths = [part.weight.shape[1] // size for part in parts]
        heads, kv_heads = (widths[0], widths[1]) if len(widths) > 1 else (widths[0] // 3, widths[0] // 3)
        shape = HeadsShape(place, heads, kv_heads, size, _scale(module, self._config, index, size))
        self._heads.check(shape, rotary=rotary)
        if family.query_norm:
            query, key, value = (self._products.linear(source, part) for part in parts)
            inputs = [
                self._norm_heads(query, f"{name}.{family.query_norm}", heads, size),
                self._norm_heads(key, f"{name}.{family.key_norm}", kv_heads, size),
                value,
            ]
        else:
            inputs = self._products.parts(source, *parts, place=f"{place}.query_key_value")
        window = _window(module, self._config)
        return self._heads.attend_cached(
            shape,
            inputs,
            index,
            rotary=self._rotary(index) if rotary else None,
            window=None if window is None or window >= self._positions else window,
            softcap=float(getattr(self._config, "attn_logit_softcapping", None) or 0.0),
        )

    def _norm_heads(self, source: str, name: str, heads: int, size: int) -> str:
        graph = self._graph
        norm = norm_of(name, self._model.get_submodule(name), self._family.norm_offset)
        return graph.reshape(graph.norm(graph.reshape(source, [0, 0, heads, size], name), norm), [0, 0, -1], name)

    def _rotary(self, index: int) -> Rotary:
        """The cosines and sines of a layer."""
        kinds = getattr(self._config, "layer_types", None)
        kind = kinds[index] if kinds and kinds[index] in self._config.rope_parameters else ""
        if kind not in self._tables:
            module = self._model.get_submodule(f"{self._family.body}.rotary_emb")
            name = f"{self._family.body}.rotary_emb" + (f".{kind}" if kind else "")
            cosines, sines = rotary_tables(module, self._config, kind, self._positions)
            self._tables[kind] = Rotary(
                self._graph.constant(f"{name}.cos", cosines),
                self._graph.constant(f"{name}.sin", sines),
                cosines.shape[1],
            )
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
