"""Small real fast tokenizers of generators: byte-level BPE, BPE that falls back to bytes, and Unigram."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from typing import Any

# Each as the family's published models have it; the chat templates are shortened.
_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_LLAMA_CHAT = (
    "{{ bos_token }}{% for message in messages %}<|start|>{{ message['role'] }}<|end|>\n\n"
    "{{ message['content'] | trim }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant<|end|>\n\n{% endif %}"
)
_GEMMA_CHAT = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "<start_of_turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{{ message['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def generator_tokenizer(family: str, texts: Sequence[str]) -> Any:
    """The tokenizer of a generator's kind that knows the words of some texts; the same in every run."""
    from transformers import PreTrainedTokenizerFast

    kind, marks, extra, template, around = {
        "gpt2": (_byte_level, {"eos_token": "<|endoftext|>"}, (), None, ""),
        "llama": (
            _byte_level,
            {"bos_token": "<|begin|>", "eos_token": "<|eot|>", "pad_token": "<|pad|>"},
            ("<|start|>", "<|end|>"),
            _LLAMA_CHAT,
            "<|begin|> $A",
        ),
        "mistral": (
            _byte_fallback,
            {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"},
            ("[INST]", "[/INST]"),
            None,
            "<s> $A",
        ),
        "qwen": (
            _byte_level,
            {"pad_token": "<|endoftext|>", "eos_token": "<|im_end|>"},
            ("<|im_start|>",),
            _CHATML,
            "",
        ),
        "gemma3_text": (
            _byte_fallback,
            {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"},
            ("<start_of_turn>", "<end_of_turn>"),
            _GEMMA_CHAT,
            "<bos> $A",
        ),
        "t5": (_unigram, {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}, (), None, "$A </s>"),
        "bart": (
            _byte_level,
            {
                "bos_token": "<s>",
                "pad_token": "<pad>",
                "eos_token": "</s>",
                "unk_token": "<unk>",
                "mask_token": "<mask>",
            },
            (),
            None,
            "<s> $A </s>",
        ),
        "marian": (_unigram, {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}, (), None, "$A </s>"),
    }["qwen" if "qwen" in family else family.removesuffix("-gated")]
    special = [*dict.fromkeys(marks.values()), *extra]
    made = kind(texts, special, last=family == "marian")
    if around:
        made.post_processor = _around(around, made)
    names = ["input_ids", "attention_mask"]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, model_input_names=names, additional_special_tokens=list(extra), **marks
    )
    if template is not None:
        tokenizer.chat_template = template
    return tokenizer


def _around(pattern: str, made: Any) -> Any:
    """What stands before and behind a text: of the second of two as well."""
    from tokenizers import processors

    marks = [(part, made.token_to_id(part)) for part in pattern.split() if part != "$A"]
    return processors.TemplateProcessing(pattern, f"{pattern} {pattern.replace('$A', '$B')}", marks)


def _byte_level(texts: Sequence[str], special: Sequence[str], *, last: bool) -> Any:
    """Every text as bytes, as GPT-2 has it; words of the texts are one token behind a blank."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    words = sorted({f"\u0120{word}" for text in texts for word in re.findall(r"\w+", text)})
    merges = list(dict.fromkeys((word[:end], word[end]) for word in words for end in range(1, len(word))))
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(a + b for a, b in merges)]
    made = Tokenizer(models.BPE(vocab=_numbered(tokens, special, last=last), merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


def _byte_fallback(texts: Sequence[str], special: Sequence[str], *, last: bool) -> Any:
    """As SentencePiece's BPE: a mark for each blank, and bytes for characters that it does not know."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    words = sorted({f"\u2581{word}" for text in texts for word in re.findall(r"\w+", text)})
    merges = list(dict.fromkeys((word[:end], word[end]) for word in words for end in range(1, len(word))))
    letters = ["\u2581", *string.ascii_lowercase, *string.digits, *string.punctuation]
    tokens = [*(f"<0x{byte:02X}>" for byte in range(256)), *letters, *(a + b for a, b in merges)]
    made = Tokenizer(
        models.BPE(
            vocab=_numbered(tokens, special, last=last),
            merges=merges,
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    made.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return made


def _unigram(texts: Sequence[str], special: Sequence[str], *, last: bool) -> Any:
    """As SentencePiece's Unigram: words begin with a mark, and each piece has a logarithm of its share."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    words = sorted({f"\u2581{word}" for text in texts for word in re.findall(r"\w+", text)})
    letters = ["\u2581", *string.ascii_lowercase, *string.digits, *string.punctuation]
    pieces = [*((word, -4.0) for word in words), *((letter, -9.0) for letter in letters)]
    scores = dict(pieces) | dict.fromkeys(special, 0.0)
    order = _numbered([piece for piece, _ in pieces], special, last=last)
    made = Tokenizer(models.Unigram([(piece, scores[piece]) for piece in order], unk_id=order["<unk>"]))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    return made


def _numbered(tokens: Sequence[str], special: Sequence[str], *, last: bool) -> dict[str, int]:
    """Ids, special tokens first; the last of them behind all others, where the family has its padding there."""
    order = [*special[:-1], *tokens, special[-1]] if last else [*special, *tokens]
    return {token: number for number, token in enumerate(dict.fromkeys(order))}
