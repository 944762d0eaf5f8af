"""Encoder-decoders of transformers, taken apart: a function for each kind of architecture."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import arange, nn
from transformers import PreTrainedModel

from edgelm.anatomy.head_table import COLUMNS, has_columns
from edgelm.errors import UnsupportedFamily
from edgelm.export.generation.builder import Norm
from edgelm.export.generation.modules import constant_of, norm_of, product_of, to_array
from edgelm.export.generation.products import Product
from edgelm.export.generation.stacks import (
    AttentionParts,
    EncoderDecoderParts,
    FeedForwardParts,
    LayerParts,
    RemovedParts,
    StackParts,
)


def parts_of(model: PreTrainedModel) -> EncoderDecoderParts:
    """Take a model apart.

    Raises:
        UnsupportedFamily: no function here knows the model's type.
    """
    kind = str(model.config.model_type)
    if kind not in ENCODER_DECODERS:
        raise UnsupportedFamily(
            f"the graphs of an encoder-decoder of type {kind!r} are not known.",
            hint=f"Known encoder-decoders: {', '.join(sorted(ENCODER_DECODERS))}.",
        )
    return ENCODER_DECODERS[kind](model, _Names(model))


class _Names:
    """Modules by their names; a weight that several share has the name of the first, so that it is stored once."""

    def __init__(self, model: nn.Module) -> None:
        self._modules = {id(module): name for name, module in model.named_modules()}
        self._weights = {id(weight): name.rpartition(".")[0] for name, weight in model.named_parameters()}

    def name(self, module: nn.Module) -> str:
        return self._modules[id(module)]

    def table(self, module: Any) -> tuple[str, np.ndarray]:
        return self._weights[id(module.weight)], to_array(module.weight)

    def product(self, module: Any) -> Product:
        return product_of(self._weights[id(module.weight)], module)

    def norm(self, module: nn.Module) -> Norm:
        return norm_of(self.name(module), module)

    def norm_left(self, module: nn.Module) -> Norm | None:
        """The norm of a sublayer; None where it went with it."""
        return None if isinstance(module, nn.Identity) else self.norm(module)

    def removed(self, module: nn.Module, output: nn.Module) -> RemovedParts | None:
        """What is left of a sublayer, by its output projection; None: all of it."""
        constant = constant_of(output)
        return None if constant is None else RemovedParts(self.name(module), constant)


def _t5(model: Any, names: _Names) -> EncoderDecoderParts:
    """T5 (Raffel et al., 2020) and its version 1.1: norms before sublayers, no biases, positions by distance."""
    config = model.config

    def attention(module: Any) -> AttentionParts | RemovedParts:
        if removed := names.removed(module, module.o):
            return removed
        query, key, value, output = map(names.product, (module.q, module.k, module.v, module.o))
        columns = tuple(module.get_buffer(COLUMNS).tolist()) if has_columns(module) else ()
        return AttentionParts(names.name(module), query, key, value, output, config.d_kv, scale=1.0, columns=columns)

    def feed_forward(dense: Any) -> FeedForwardParts | RemovedParts:
        if removed := names.removed(dense, dense.wo):
            return removed
        inputs = (dense.wi_0, dense.wi_1) if config.is_gated_act else (dense.wi,)
        return FeedForwardParts(
            names.name(dense), tuple(map(names.product, inputs)), names.product(dense.wo), config.dense_act_fn
        )

    def layer(module: Any) -> LayerParts:
        sublayers = list(module.layer)
        return LayerParts(
            attention(sublayers[0].SelfAttention),
            attention(sublayers[1].EncDecAttention) if len(sublayers) > 2 else None,
            feed_forward(sublayers[-1].DenseReluDense),
            tuple(names.norm_left(sublayer.layer_norm) for sublayer in sublayers),
        )

    def stack(module: Any, last_norm: Norm) -> StackParts:
        return StackParts(
            table=names.table(module.embed_tokens),
            scale=1.0,
            places=None,
            embedding_norm=None,
            layers=tuple(map(layer, module.block)),
            pre_norm=True,
            last_norm=last_norm,
            distances=_distances(module.block[0].layer[0].SelfAttention),
        )

    last = names.norm(model.decoder.final_layer_norm)
    if config.scale_decoder_outputs:  # what a tied head reads is scaled: the norm before it does that at no cost
        last = Norm(last.name, last.weight * np.float32(config.d_model**-0.5), last.epsilon)
    encoder = stack(model.encoder, names.norm(model.encoder.final_layer_norm))
    return EncoderDecoderParts(encoder, stack(model.decoder, last), names.product(model.lm_head))


def _distances(attention: Any) -> np.ndarray:
    """The bias of every distance up to the farthest that T5's buckets tell apart: (heads, 2 * reach + 1)."""
    reach = attention.relative_attention_max_distance
    buckets = attention._relative_position_bucket(  # of where the key stands, seen from the query
        -arange(-reach, reach + 1),
        bidirectional=not attention.is_decoder,
        num_buckets=attention.relative_attention_num_buckets,
        max_distance=reach,
    )
    return np.ascontiguousarray(to_array(attention.relative_attention_bias.weight)[buckets.numpy()].T)


def _bart(model: Any, names: _Names) -> EncoderDecoderParts:
    """BART (Lewis et al., 2020) and Marian: norms after sublayers, tables of positions, a bias of the logits."""
    config = model.config

    def attention(module: Any) -> AttentionParts | RemovedParts:
        if removed := names.removed(module, module.out_proj):
            return removed
        parts = (module.q_proj, module.k_proj, module.v_proj, module.out_proj)
        query, key, value, output = map(names.product, parts)
        scale = float(module.head_dim) ** -0.5
        return AttentionParts(names.name(module), query, key, value, output, module.head_dim, scale)

    def feed_forward(layer: Any) -> FeedForwardParts | RemovedParts:
        if removed := names.removed(layer, layer.fc2):
            return removed
        inputs = (names.product(layer.fc1),)
        return FeedForwardParts(
            f"{names.name(layer)}.mlp", inputs, names.product(layer.fc2), config.activation_function
        )

    def layer(module: Any) -> LayerParts:
        crosses = hasattr(module, "encoder_attn")
        norms = [module.self_attn_layer_norm, *([module.encoder_attn_layer_norm] if crosses else [])]
        return LayerParts(
            attention(module.self_attn),
            attention(module.encoder_attn) if crosses else None,
            feed_forward(module),
            tuple(map(names.norm, (*norms, module.final_layer_norm))),
        )

    def stack(module: Any) -> StackParts:
        name, places = names.table(module.embed_positions)
        norm = getattr(module, "layernorm_embedding", None)
        return StackParts(
            table=names.table(module.embed_tokens),
            scale=math.sqrt(config.d_model) if config.scale_embedding else 1.0,
            places=(name, places[getattr(module.embed_positions, "offset", 0) :]),  # BART never reads its first two
            embedding_norm=None if norm is None else names.norm(norm),
            layers=tuple(map(layer, module.layers)),
            pre_norm=False,
            last_norm=None,
            distances=None,
        )

    head, bias = names.product(model.lm_head), to_array(model.final_logits_bias)[0]
    head = Product(head.name, head.weight, bias if bias.any() else None)
    return EncoderDecoderParts(stack(model.model.encoder), stack(model.model.decoder), head)


ENCODER_DECODERS: dict[str, Callable[[Any, _Names], EncoderDecoderParts]] = {"t5": _t5, "bart": _bart, "marian": _bart}
