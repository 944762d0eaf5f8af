"""Small random generators of every family, each with a real fast tokenizer of its kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from small_generator_tokenizers import generator_tokenizer

GENERATORS = (
    "gpt2",
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma3_text",
    "t5",
    "t5-gated",
    "bart",
    "marian",
)
_TABLE = {"gemma3_text": 0.2, "t5": 3.0, "t5-gated": 3.0}
_CROSSING = {"t5": 0.3, "t5-gated": 0.3, "bart": 0.03, "marian": 0.03}  # how much the source weighs, beside the rest
_MODEL_TYPES = {"t5-gated": "t5"}
DECODERS, ENCODER_DECODERS = GENERATORS[:6], GENERATORS[6:]
SENTENCES = (
    "turn the kitchen lights on",
    "what a wonderful and moving film this is",
    "the battery died after two days and nobody answers",
    "please set the thermostat to twenty one degrees",
    "a dull, lifeless movie with no story at all",
    "is it going to rain in the afternoon?",
    "play some quiet music in the living room",
    "good value, quick delivery, would buy again",
)


def make_generator(
    folder: Path,
    family: str = "llama",
    *,
    layers: int = 2,
    hidden: int = 32,
    heads: int = 4,
    kv_heads: int = 2,
    ffn: int = 64,
    positions: int = 128,
    tied: bool | None = None,
    spread: float = 0.3,
    seed: int = 0,
    sentences: Sequence[str] = SENTENCES,
    **entries: Any,
) -> Path:
    """Save a random generator with its tokenizer as a Hugging Face folder, and return the folder.

    Biases, norms and the bias of the logits are random as well, so that a part that is left out shows.

    Args:
        family: one of `GENERATORS`.
        kv_heads: heads of keys and values, in families that group queries.
        positions: the longest sequence; T5 has no limit.
        tied: whether the head is the embedding table; None: as the family's published models have it.
        spread: standard deviation of the weights: wide enough for the layers to matter to the output.
        entries: further entries of config.json.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, GenerationConfig

    torch.manual_seed(seed)
    tokenizer = generator_tokenizer(family, sentences)
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    shape = _shape(family, len(tokenizer), layers, hidden, heads, kv_heads, ffn, positions)
    own_head = not tied if tied is not None else family == "t5-gated"
    tie = {} if tied is None or family.startswith("t5") else {"tie_word_embeddings": tied}
    config = AutoConfig.for_model(_MODEL_TYPES.get(family, family), **(shape | ids | tie | entries))
    for name in ("initializer_range", "init_std"):
        if hasattr(config, name):
            setattr(config, name, spread)
    model = (AutoModelForSeq2SeqLM if family in ENCODER_DECODERS else AutoModelForCausalLM).from_config(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 1:
                weight.add_(torch.randn_like(weight) * spread / 2)
            elif family in ENCODER_DECODERS and weight.requires_grad and "shared" not in name:
                crossing = "EncDecAttention.o" in name or "encoder_attn.out_proj" in name
                torch.nn.init.normal_(weight, std=_CROSSING[family] * spread if crossing else spread)
        if own_head and family.startswith("t5"):  # whose configuration cannot say it: two tables in the folder do
            model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight) * hidden**-0.5)
            model.all_tied_weights_keys.pop("lm_head.weight")
        # A tied head finds the token that was read last to be the likeliest next one, and a model that repeats itself
        # hides errors: the last norm has either sign, and what is written depends on itself more than on the source.
        model.get_input_embeddings().weight.mul_(_TABLE.get(family, 1.0))
        torch.nn.init.normal_(_last_norm(model).weight)
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias.copy_(torch.randn_like(model.final_logits_bias) * spread / 2)
    model.generation_config = GenerationConfig(**{name: value for name, value in ids.items() if value is not None})
    for name, value in _generation(family, tokenizer).items():
        setattr(model.generation_config, name, value)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Path(folder)


def _last_norm(model: Any) -> Any:
    """What the last layer's output goes through before the head."""
    import torch

    norms = [module for name, module in model.named_modules() if "norm" in name.rpartition(".")[2] or "ln_f" in name]
    return [norm for norm in norms if isinstance(getattr(norm, "weight", None), torch.nn.Parameter)][-1]


def _shape(
    family: str, vocabulary: int, layers: int, hidden: int, heads: int, kv_heads: int, ffn: int, positions: int
) -> dict[str, Any]:
    """The entries of config.json that make the model."""
    usual = {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": ffn,
        "max_position_embeddings": positions,
    }
    if family == "gpt2":
        sizes = {"n_embd": hidden, "n_layer": layers, "n_head": heads, "n_inner": ffn, "n_positions": positions}
        return sizes | {"vocab_size": vocabulary, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    if family in ("t5", "t5-gated"):
        # Heads that are wider than their share of the hidden size, as T5-small's cousins have them.
        sizes = {"d_model": hidden, "num_layers": layers, "num_heads": heads, "d_kv": 2 * hidden // heads, "d_ff": ffn}
        gated = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False} if family == "t5-gated" else {}
        return sizes | {"vocab_size": vocabulary, "dropout_rate": 0.0, "decoder_start_token_id": 0} | gated
    if family in ("bart", "marian"):
        halves = ("encoder", "decoder")
        sizes = {"d_model": hidden, "max_position_embeddings": positions, "vocab_size": vocabulary, "dropout": 0.0}
        sizes |= {f"{half}_layers": layers for half in halves} | {f"{half}_attention_heads": heads for half in halves}
        sizes |= {f"{half}_ffn_dim": ffn for half in halves}
        if family == "bart":
            return sizes | {"decoder_start_token_id": 2, "forced_eos_token_id": 2}
        sizes |= {
            "decoder_start_token_id": vocabulary - 1,
            "forced_eos_token_id": 0,
            "static_position_embeddings": True,
        }
        return sizes | {"decoder_vocab_size": vocabulary, "scale_embedding": True, "activation_function": "swish"}
    head = {"head_dim": hidden // heads}
    if family == "gemma3_text":
        # Windows shorter than the texts, every layer of another kind than the one before.
        kinds = ["sliding_attention" if layer % 2 == 0 else "full_attention" for layer in range(layers)]
        return usual | head | {"sliding_window": 6, "layer_types": kinds, "query_pre_attn_scalar": hidden // heads}
    return usual | {"mistral": head | {"sliding_window": None}, "qwen3": {"head_dim": 2 * head["head_dim"]}}.get(
        family, {}
    )


def _generation(family: str, tokenizer: Any) -> dict[str, Any]:
    """What generation_config.json of the family's published models says besides."""
    pad, eos = tokenizer.pad_token_id, tokenizer.eos_token_id
    return {
        "t5": {"decoder_start_token_id": pad},
        "t5-gated": {"decoder_start_token_id": pad},
        "bart": {"decoder_start_token_id": eos, "forced_eos_token_id": eos, "no_repeat_ngram_size": 3},
        "marian": {"decoder_start_token_id": pad, "forced_eos_token_id": eos, "bad_words_ids": [[pad]]},
    }.get(family, {})
