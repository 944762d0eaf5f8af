"""Sizes in config.json that no model has: whoever builds what they ask for fills the memory, or never ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgelm.errors import ModelError

_LAYERS = (
    "num_hidden_layers",
    "n_layer",
    "n_layers",
    "num_layers",
    "num_decoder_layers",
    "encoder_layers",
    "decoder_layers",
    "num_hidden_groups",
    "inner_group_num",
)
_WIDTHS = (
    "hidden_size",
    "d_model",
    "dim",
    "n_embd",
    "embedding_size",
    "intermediate_size",
    "hidden_dim",
    "n_inner",
    "d_ff",
    "d_kv",
    "head_dim",
    "encoder_ffn_dim",
    "decoder_ffn_dim",
)
_HEADS = (
    "num_attention_heads",
    "num_key_value_heads",
    "n_head",
    "n_heads",
    "num_heads",
    "encoder_attention_heads",
    "decoder_attention_heads",
)
_POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx", "type_vocab_size")
_MOST = {
    **dict.fromkeys(_LAYERS, 4096),
    **dict.fromkeys(_WIDTHS, 1 << 20),
    **dict.fromkeys(_HEADS, 1 << 14),
    **dict.fromkeys(_POSITIONS, 1 << 26),
    "vocab_size": 1 << 26,
    "num_labels": 1 << 20,
}


def check_sizes(config: Mapping[str, Any]) -> None:
    """Refuse sizes beyond those of any model, in config.json and in the parts of it.

    Raises:
        ModelError: by the setting's name.
    """
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        for name, most in _MOST.items():
            value = part.get(name)
            if isinstance(value, int) and abs(value) > most:
                shown = f"{value:,}" if abs(value) < 1 << 64 else "a number beyond 64 bits"
                raise ModelError(
                    f"config.json: {name} is {shown}; no model has more than {most:,}.",
                    hint="Check that config.json and the weights belong together.",
                )
