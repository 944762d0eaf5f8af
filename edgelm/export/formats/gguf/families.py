"""Architectures of GGUF that transformers' decoders are written as: what they are called there, and what they can say.

The names are those of llama.cpp's `LLM_TENSOR_NAMES`; what each architecture computes is in its `src/models/`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edgelm.errors import UnsupportedFamily

_ATTENTION = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
}
_GATED = {"mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
_NORMS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
_HEAD_NORMS = {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
_OUTER = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_GPT2 = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
_QKV = frozenset({"attn_q", "attn_k", "attn_v"})
_TANH_GELU = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")


@dataclass(frozen=True)
class Family:
    """One architecture of GGUF.

    Attributes:
        architecture: its name there, which its keys begin with.
        names: GGUF's name of each module of a layer, by its path in the layer.
        outer: the same for modules outside the layers, by their whole path.
        layers: what the path of a layer begins with, before its number.
        activations: transformers' names of what llama.cpp computes between the matrices of the feed-forward part.
        ropes: kinds of scaling of rotary positions that it has; none: positions are learned.
        biases: GGUF's names of modules that may have a bias.
        paired: rows of query and key heads change their order: dimensions that are turned together, i and i + half
            in transformers, lie side by side.
        transposed: matrices lie as (inputs, outputs) in transformers.
        norm_shift: what its norms add to their weights.
    """

    architecture: str
    names: dict[str, str]
    outer: dict[str, str] = field(default_factory=lambda: _OUTER)
    layers: str = "model.layers."
    activations: tuple[str, ...] = ("silu", "swish")
    ropes: tuple[str, ...] = ("default", "linear", "yarn")
    biases: frozenset[str] = frozenset()
    paired: bool = False
    transposed: bool = False
    norm_shift: float = 0.0


_LLAMA = Family(
    "llama",
    _NORMS | _ATTENTION | _GATED,
    ropes=("default", "linear", "yarn", "llama3"),
    biases=_QKV | {"attn_output", "ffn_gate", "ffn_up", "ffn_down"},
    paired=True,
)
FAMILIES = {
    "gpt2": Family(
        "gpt2",
        _GPT2,
        outer={
            "transformer.wte": "token_embd",
            "transformer.wpe": "position_embd",
            "transformer.ln_f": "output_norm",
            "lm_head": "output",
        },
        layers="transformer.h.",
        activations=_TANH_GELU,
        ropes=(),
        biases=frozenset(_GPT2.values()) | {"output_norm"},
        transposed=True,
    ),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": Family("qwen2", _NORMS | _ATTENTION | _GATED, biases=_QKV),
    "qwen3": Family("qwen3", _NORMS | _ATTENTION | _HEAD_NORMS | _GATED),
    "gemma3_text": Family(
        "gemma3",
        _ATTENTION
        | _HEAD_NORMS
        | _GATED
        | {
            "input_layernorm": "attn_norm",
            "post_attention_layernorm": "post_attention_norm",
            "pre_feedforward_layernorm": "ffn_norm",
            "post_feedforward_layernorm": "post_ffw_norm",
        },
        activations=_TANH_GELU,
        ropes=("default", "linear"),
        norm_shift=1.0,
    ),
}


def family_of(model_type: str, where: str) -> Family:
    """The architecture of a model type of transformers.

    Raises:
        UnsupportedFamily: none here; the message has those there are.
    """
    if model_type not in FAMILIES:
        raise UnsupportedFamily(
            f"{where}: no GGUF is written of the architecture {model_type!r}.",
            hint=f"Those of {', '.join(sorted(FAMILIES))} are.",
        )
    return FAMILIES[model_type]
