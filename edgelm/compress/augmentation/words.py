"""Where the words of a text are, as its tokenizer sees them, and the text again after some of them changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Span = tuple[int, int]


@dataclass(frozen=True)
class Words:
    """A text and the spans of its words, in characters; punctuation belongs to no word."""

    text: str
    spans: tuple[Span, ...]

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, index: int) -> str:
        start, end = self.spans[index]
        return self.text[start:end]

    def with_words(self, words: Sequence[str | None]) -> str:
        """The text with these words in place of its own (None: gone), and single spaces."""
        parts, position = [], 0
        for (start, end), word in zip(self.spans, words, strict=True):
            parts += [self.text[position:start], word or ""]
            position = end
        return plain("".join([*parts, self.text[position:]]))


def plain(text: str) -> str:
    """A text with single spaces."""
    return " ".join(text.split())


def split_words(texts: Sequence[str], tokenizer: Any) -> list[Words]:
    """The words of each text: what a fast tokenizer's pre-tokenizer keeps together, from its first letter or digit to
    its last."""
    encoded = tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True)
    found = []
    for index, text in enumerate(texts):
        spans: dict[int, Span] = {}
        for word, (start, end) in zip(encoded.word_ids(index), encoded["offset_mapping"][index], strict=True):
            if word is not None:
                first, last = spans.get(word, (start, end))
                spans[word] = (min(first, start), max(last, end))
        trimmed = [_trim(text, span) for span in spans.values()]
        found.append(Words(text, tuple(sorted({span for span in trimmed if span[0] < span[1]}))))
    return found


def _trim(text: str, span: Span) -> Span:
    start, end = span
    while start < end and not text[start].isalnum():
        start += 1
    while start < end and not text[end - 1].isalnum():
        end -= 1
    return start, end
