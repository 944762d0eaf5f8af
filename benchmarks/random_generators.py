"""Models that write in the shape of published ones with random weights, where those cannot be had: speed and memory
depend on the shape alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from byte_level import train_byte_level

SHAPES = ("llama-135m", "t5-37m", "llama-tiny", "t5-tiny")
_SPREAD = 0.05  # of the weights: wide enough for one token to be likelier than another
_MARKS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}


def make_random(shape: str, texts: Sequence[str], folder: Path, *, seed: int = 0) -> Path:
    """Save a model in FP32 with a byte-level tokenizer of some texts as a Hugging Face folder; the folder.

    Args:
        shape: llama-135m is SmolLM2-135M's; t5-37m has six layers a side of 384 channels and T5's vocabulary; the tiny
            ones are for trying the benchmark out.
    """
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

    tokenizer = _tokenizer(texts, behind=shape.startswith("t5"))
    ids: dict[str, Any] = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    torch.manual_seed(seed)
    model: Any
    if shape.startswith("llama"):
        layers, hidden, heads, kv_heads, ffn, words = (
            (30, 576, 9, 3, 1536, 49152) if shape == "llama-135m" else (2, 64, 4, 2, 128, 2048)
        )
        config: Any = LlamaConfig(
            vocab_size=words,
            hidden_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            intermediate_size=ffn,
            max_position_embeddings=8192,
            rms_norm_eps=1e-5,
            tie_word_embeddings=True,
            initializer_range=_SPREAD,
            **ids,
        )
        model = LlamaForCausalLM(config)
    else:
        layers, hidden, heads, ffn, words = (6, 384, 6, 1536, 32128) if shape == "t5-37m" else (2, 64, 4, 128, 2048)
        start = {"decoder_start_token_id": ids["pad_token_id"]}
        config = T5Config(vocab_size=words, d_model=hidden, num_layers=layers, num_heads=heads, d_ff=ffn, **ids | start)
        model = T5ForConditionalGeneration(config)
        ids |= start | {"num_beams": 4}  # engines are built for as many rows as the model has beams
    model.generation_config = GenerationConfig(**ids)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(texts: Sequence[str], *, behind: bool) -> Any:
    """Byte-level BPE; `behind`: its texts end with the end token, as T5's do."""
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    made = train_byte_level(texts, 2000, ["<pad>", "<s>", "</s>"])
    if behind:
        made.post_processor = processors.TemplateProcessing(
            single="$A </s>", special_tokens=[("</s>", made.token_to_id("</s>"))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=made, **_MARKS)
