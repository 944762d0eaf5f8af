"""A decoder's settings as keys of a GGUF file; what llama.cpp would compute otherwise is refused."""

from __future__ import annotations

from typing import Any

from edgelm.errors import ModelError
from edgelm.export.formats.gguf.families import Family
from edgelm.export.formats.gguf.rope import Entries, rope_entries


def settings_entries(config: Any, family: Family, *, rows: int, where: str) -> Entries:
    """Keys of the architecture, with its name before each.

    Args:
        config: the configuration of transformers.
        rows: rows of the embedding table.
        where: what to call the model in messages.

    Raises:
        ModelError: a setting that the architecture of llama.cpp does not have.
    """
    entries = _gpt2(config, where) if family.architecture == "gpt2" else _llama_like(config, family, where)
    activation = getattr(config, "activation_function", None) or getattr(
        config, "hidden_activation", getattr(config, "hidden_act", None)
    )
    _require(activation in family.activations, where, f"the activation {activation!r}")
    return {f"{family.architecture}.{name}": value for name, value in ({"vocab_size": rows} | entries).items()}


def _require(held: bool, where: str, what: str) -> None:
    if not held:
        raise ModelError(f"{where}: llama.cpp does not compute {what} in this architecture.")


def _gpt2(config: Any, where: str) -> Entries:
    _require(config.scale_attn_weights, where, "attention without a scale")
    _require(not config.scale_attn_by_inverse_layer_idx, where, "attention scaled by layer")
    _require(not config.add_cross_attention, where, "cross attention")
    return {
        "context_length": config.n_positions,
        "embedding_length": config.n_embd,
        "block_count": config.n_layer,
        "feed_forward_length": config.n_inner or 4 * config.n_embd,
        "attention.head_count": config.n_head,
        "attention.head_count_kv": config.n_head,
        "attention.layer_norm_epsilon": float(config.layer_norm_epsilon),
    }


def _llama_like(config: Any, family: Family, where: str) -> Entries:
    heads = config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
    if family.architecture == "qwen2":
        _require(head_size * heads == config.hidden_size, where, "heads that are wider than their share")
    entries: Entries = {
        "context_length": _context(config, family),
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": head_size,
        "attention.value_length": head_size,
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "rope.dimension_count": head_size,
    }
    if family.architecture == "gemma3":
        return entries | _gemma3(config, head_size, family, where)
    return entries | rope_entries(config.rope_parameters, kinds=family.ropes, where=where)


def _context(config: Any, family: Family) -> int:
    """Positions up to which llama.cpp computes what transformers does: where some layers look back through a window
    and llama.cpp's architecture has none, those that the window holds."""
    positions, window = int(config.max_position_embeddings), getattr(config, "sliding_window", None)
    return positions if family.architecture == "gemma3" or not window else min(positions, int(window))


def _gemma3(config: Any, head_size: int, family: Family, where: str) -> Entries:
    _require(config.query_pre_attn_scalar == head_size, where, "queries scaled by another size than their heads'")
    _require(config.attn_logit_softcapping is None, where, "a cap of the attention's logits")
    _require(not getattr(config, "use_bidirectional_attention", False), where, "attention to later tokens")
    ropes = config.rope_parameters
    sliding = rope_entries(ropes["sliding_attention"], kinds=("default",), where=where)
    entries = rope_entries(ropes["full_attention"], kinds=family.ropes, where=where)
    entries["rope.freq_base_swa"] = sliding["rope.freq_base"]
    windowed = [kind == "sliding_attention" for kind in config.layer_types]
    if any(windowed):  # llama.cpp aborts on a window that no layer has
        entries["attention.sliding_window"] = int(config.sliding_window)
        # A list, since the usual pattern of five and one can be cut; llama.cpp reads either.
        entries["attention.sliding_window_pattern"] = windowed
    if config.final_logit_softcapping is not None:
        entries["final_logit_softcapping"] = float(config.final_logit_softcapping)
    return entries
