"""What an export begins with: the checkpoint as a living model, with its tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel

from edgelm.runtime.preprocessing import TextProcessing
from edgelm.tasks.task import Task


@dataclass(frozen=True)
class Source:
    """A checkpoint that is being exported.

    Attributes:
        max_length: the longest text that its bundle reads, in tokens.
    """

    model: PreTrainedModel
    tokenizer: Any
    task: Task
    max_length: int


def tokenization_of(tokenizer: Any, max_length: int) -> TextProcessing:
    """What of the tokenizer's settings tokenizer.json does not hold."""
    return TextProcessing(
        max_length=max_length,
        pad_id=int(tokenizer.pad_token_id),
        pad_token=str(tokenizer.pad_token),
        pad_type_id=int(tokenizer.pad_token_type_id),
        truncation_side=tokenizer.truncation_side,
        split_special=bool(tokenizer.split_special_tokens),
    )
