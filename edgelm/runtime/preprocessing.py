"""How a bundle's samples become inputs of its graphs, as the manifest says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TextProcessing:
    """How text becomes input, beside what tokenizer.json says.

    Attributes:
        max_length: longest sequence in tokens.
        pad_id, pad_token, pad_type_id: what fills a batch up, behind each text: a text then has the places that it has
            alone.
        truncation_side: where a text that is too long loses tokens, right or left.
        split_special: the names of special tokens, where a text holds them, are text like any other.
    """

    max_length: int
    pad_id: int
    pad_token: str
    pad_type_id: int = 0
    truncation_side: str = "right"
    split_special: bool = False

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TextProcessing:
        """The inverse of `asdict`; of older schemas too, which had a field that nothing read."""
        return cls(**{name: value for name, value in values.items() if name != "lowercase"})
