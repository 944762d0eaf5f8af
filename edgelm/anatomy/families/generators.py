"""The stacks of models that write: a decoder, or an encoder with a decoder; one row a stack."""

from __future__ import annotations

from typing import Any

from edgelm.anatomy.families.family import Family, Slice


def _llama_like(
    *model_types: str,
    by_layer: tuple[str, ...] = ("layer_types",),
    four_norms: bool = False,
    hidden_of_heads: bool = False,
) -> Family:
    return Family(
        model_types=model_types,
        stack="decoder",
        layers="layers",
        query="self_attn.q_proj",
        key="self_attn.k_proj",
        value="self_attn.v_proj",
        attention_output="self_attn.o_proj",
        ffn_in="mlp.up_proj",
        ffn_gate="mlp.gate_proj",
        ffn_out="mlp.down_proj",
        output_norm=None,
        attention="self_attn",
        attention_residual="input_layernorm",
        ffn_residual="pre_feedforward_layernorm" if four_norms else "post_attention_layernorm",
        attention_after="post_attention_layernorm" if four_norms else None,
        ffn_after="post_feedforward_layernorm" if four_norms else None,
        head_size="head_dim",
        rotary=True,
        position_table=False,
        token_types=False,
        word_embeddings="embed_tokens",
        config_kv_heads="num_key_value_heads",
        config_by_layer=by_layer,
        tables=("embed_tokens",),
        last_norm="norm",
        norm_offset=1.0 if four_norms else 0.0,
        hidden_of_heads=hidden_of_heads,
    )


def _t5(stack: str, ffn: str, layers: str, *, gated: bool, **more: str) -> Family:
    return Family(
        model_types=("t5",),
        stack=stack,
        layers=f"{stack}.block",
        query="layer.0.SelfAttention.q",
        key="layer.0.SelfAttention.k",
        value="layer.0.SelfAttention.v",
        attention_output="layer.0.SelfAttention.o",
        ffn_in=f"{ffn}.DenseReluDense.{'wi_1' if gated else 'wi'}",
        ffn_gate=f"{ffn}.DenseReluDense.wi_0" if gated else None,
        ffn_out=f"{ffn}.DenseReluDense.wo",
        output_norm=None,
        attention="layer.0.SelfAttention",
        attention_residual="layer.0.layer_norm",
        ffn_residual=f"{ffn}.layer_norm",
        head_size="key_value_proj_dim",
        head_table=f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias",
        first_only=("layer.0.SelfAttention.relative_attention_bias",),
        position_table=False,
        token_types=False,
        word_embeddings="shared",
        config_layers=layers,
        config_heads="num_heads",
        config_ffn="d_ff",
        config_hidden="d_model",
        tables=("shared",),
        last_norm=f"{stack}.final_layer_norm",
        **more,  # type: ignore[arg-type]
    )


def _bart_like(model_type: str, stack: str, **more: Any) -> Family:
    return Family(
        model_types=(model_type,),
        stack=stack,
        layers=f"{stack}.layers",
        query="self_attn.q_proj",
        key="self_attn.k_proj",
        value="self_attn.v_proj",
        attention_output="self_attn.out_proj",
        ffn_in="fc1",
        ffn_out="fc2",
        output_norm="final_layer_norm",
        attention="self_attn",
        head_size="head_dim",
        token_types=False,
        word_embeddings="shared",
        config_layers=f"{stack}_layers",
        config_heads=f"{stack}_attention_heads",
        config_ffn=f"{stack}_ffn_dim",
        config_hidden="d_model",
        hidden_of_heads=True,
        **more,
    )


def _bart_stacks(model_type: str, *, tables: tuple[str, ...]) -> tuple[Family, Family]:
    return (
        _bart_like(model_type, "encoder", tables=tables),
        _bart_like(model_type, "decoder", tables=tables, cross="encoder_attn"),
    )


def _t5_stacks(*, gated: bool) -> tuple[Family, Family]:
    cross = {"cross": "layer.1.EncDecAttention", "cross_residual": "layer.1.layer_norm"}
    return (
        _t5("encoder", "layer.1", "num_layers", gated=gated),
        _t5("decoder", "layer.2", "num_decoder_layers", gated=gated, **cross),
    )


GENERATOR_STACKS: tuple[Family, ...] = (
    Family(
        model_types=("gpt2",),
        stack="decoder",
        layers="h",
        query=Slice("attn.c_attn", 0, 3),
        key=Slice("attn.c_attn", 1, 3),
        value=Slice("attn.c_attn", 2, 3),
        attention_output="attn.c_proj",
        ffn_in="mlp.c_fc",
        ffn_out="mlp.c_proj",
        output_norm=None,
        attention="attn",
        attention_residual="ln_1",
        ffn_residual="ln_2",
        head_size="head_dim",
        token_types=False,
        word_embeddings="wte",
        config_layers="n_layer",
        config_heads="n_head",
        config_ffn="n_inner",
        config_hidden="n_embd",
        tables=("wte", "wpe"),
        last_norm="ln_f",
        hidden_of_heads=True,
    ),
    _llama_like("llama", hidden_of_heads=True),
    _llama_like("mistral", "qwen2", "qwen3"),
    _llama_like("gemma3_text", four_norms=True, hidden_of_heads=True),
    *_t5_stacks(gated=False),
    *_bart_stacks("bart", tables=("shared", "encoder.embed_positions", "decoder.embed_positions")),
    *_bart_stacks("marian", tables=()),  # whose positions are sines of the hidden size, which no configuration can cut
)
_GATED_STACKS = {"t5": _t5_stacks(gated=True)}  # of types whose configuration says whether channels have gates


def generator_stacks(config: Any) -> tuple[Family, ...]:
    """The stacks of a model that writes; none where it has no anatomy.

    Args:
        config: of transformers.
    """
    if getattr(config, "is_gated_act", False) and config.model_type in _GATED_STACKS:
        return _GATED_STACKS[config.model_type]
    return tuple(stack for stack in GENERATOR_STACKS if config.model_type in stack.model_types)
