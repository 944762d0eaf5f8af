"""What a bundle remembers of the tokenizer that it reads by."""

from __future__ import annotations

from typing import Any

from edgelm.runtime.preprocessing import TextProcessing


def tokenization_of(tokenizer: Any, max_length: int) -> TextProcessing:
    """What of the tokenizer's settings tokenizer.json does not hold."""
    return TextProcessing(
        max_length=max_length,
        pad_id=int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id),
        pad_token=str(tokenizer.pad_token or tokenizer.eos_token),
        pad_type_id=int(tokenizer.pad_token_type_id),
        truncation_side=tokenizer.truncation_side,
        split_special=bool(tokenizer.split_special_tokens),
    )
