"""Where a decoder's modules are, one row a family: what its graph is built from."""

from __future__ import annotations

from dataclasses import dataclass

from edgelm.errors import UnsupportedFamily


@dataclass(frozen=True)
class DecoderFamily:
    """Names of modules, each below the one before.

    Attributes:
        model_types: as config.json has them.
        body: the decoder, below the model with its head.
        words, places: embedding tables of tokens and, where positions are learned, of positions.
        layers: the list of layers.
        projections: of query, key and value, in this order, or one of all three.
        query_norm, key_norm: norms of single heads; empty where there are none.
        attention_output: the projection of what attention gives.
        gate, up, down: of the feed-forward network; gate is empty where it has one input.
        attention_norm, feed_forward_norm: before the two sublayers.
        after_attention, after_feed_forward: norms of what a sublayer gives; empty where there are none.
        last_norm: after all layers.
        norm_offset: what is added to the weight of a root mean square norm.
    """

    model_types: tuple[str, ...]
    body: str = "model"
    words: str = "embed_tokens"
    places: str = ""
    layers: str = "layers"
    projections: tuple[str, ...] = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    query_norm: str = ""
    key_norm: str = ""
    attention_output: str = "self_attn.o_proj"
    gate: str = "mlp.gate_proj"
    up: str = "mlp.up_proj"
    down: str = "mlp.down_proj"
    attention_norm: str = "input_layernorm"
    feed_forward_norm: str = "post_attention_layernorm"
    after_attention: str = ""
    after_feed_forward: str = ""
    last_norm: str = "norm"
    norm_offset: float = 0.0

    @property
    def attention(self) -> str:
        """The attention module of a layer."""
        return self.attention_output.rpartition(".")[0]

    def projections_of(self, layer: str) -> tuple[str, ...]:
        """The projections of query, key and value in a layer."""
        return tuple(f"{layer}.{name}" for name in self.projections)


DECODERS = (
    DecoderFamily(("llama", "mistral", "qwen2")),
    DecoderFamily(("qwen3",), query_norm="self_attn.q_norm", key_norm="self_attn.k_norm"),
    DecoderFamily(
        ("gemma3_text",),
        query_norm="self_attn.q_norm",
        key_norm="self_attn.k_norm",
        feed_forward_norm="pre_feedforward_layernorm",
        after_attention="post_attention_layernorm",
        after_feed_forward="post_feedforward_layernorm",
        norm_offset=1.0,
    ),
    DecoderFamily(
        ("gpt2",),
        body="transformer",
        words="wte",
        places="wpe",
        layers="h",
        projections=("attn.c_attn",),
        attention_output="attn.c_proj",
        gate="",
        up="mlp.c_fc",
        down="mlp.c_proj",
        attention_norm="ln_1",
        feed_forward_norm="ln_2",
        last_norm="ln_f",
    ),
)


def decoder_family(model_type: str) -> DecoderFamily:
    """The row of a model type.

    Raises:
        UnsupportedFamily: there is none.
    """
    for row in DECODERS:
        if model_type in row.model_types:
            return row
    known = sorted(name for row in DECODERS for name in row.model_types)
    raise UnsupportedFamily(
        f"the graph of a decoder of type {model_type!r} is not known.", hint=f"Known decoders: {', '.join(known)}."
    )
