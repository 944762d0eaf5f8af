"""How much of some texts a smaller tokenizer cuts as the one that it was made from, and how many more tokens it
takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Respelling:
    """What a smaller vocabulary makes of texts.

    Attributes:
        same_characters: share of the characters that stand in the same tokens as before.
        more_tokens: tokens of a text that are added on average, since what was one token is spelled by several.
    """

    same_characters: float
    more_tokens: float


def respelling(before: Any, after: Any, texts: Iterable[str]) -> Respelling:
    """Compare two fast tokenizers on texts, token by token."""
    characters = same = more = count = 0
    for text in texts:
        old, new = (_spans(tokenizer, text) for tokenizer in (before, after))
        held = set(new)
        same += sum(span[1] - span[0] for span in set(old) if span in held)
        characters += sum(span[1] - span[0] for span in set(old))
        more, count = more + len(new) - len(old), count + 1
    return Respelling(same / characters if characters else 1.0, more / count if count else 0.0)


def _spans(tokenizer: Any, text: str) -> Sequence[tuple[int, int, str]]:
    """Where each token begins and ends in the text, and its name."""
    found = tokenizer(text, add_special_tokens=False, verbose=False).encodings[0]
    return [(first, last, name) for (first, last), name in zip(found.offsets, found.tokens, strict=True)]
