"""Windows of a long text behind a question: each is a sequence of its own, and has some tokens in common with the one
before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgelm.errors import DataError


@dataclass(frozen=True)
class Window:
    """Some tokens of an encoding, as `edgelm.runtime.inputs.batch.Tokens` describes them."""

    ids: list[int]
    type_ids: list[int]
    attention_mask: list[int]
    offsets: list[tuple[int, int]]
    word_ids: list[int | None]
    sequence_ids: list[int | None]

    def __len__(self) -> int:
        return len(self.ids)


TOKEN_FIELDS = ("ids", "type_ids", "attention_mask", "offsets", "word_ids", "sequence_ids")


def cut_windows(encoding: Any, *, longest: int, stride: int, from_left: bool = True) -> list[Window]:
    """The windows of a question and its text.

    The question and the special tokens stand in every window. The windows are those that the tokenizers library gives
    with truncation of the second text alone ("only_second") and `shared_tokens` of the stride.

    Args:
        encoding: both texts in full, in one encoding of the tokenizers library.
        longest: of a window, in tokens.
        stride: tokens that a window has in common with the one before, as the task says it.
        from_left: the first window is at the beginning of the text, and the last may be shorter; False: the other way
            round, as tokenizers that cut on the left do.

    Raises:
        DataError: the question or the text becomes no token, or the question leaves no room for the text.
    """
    parts = encoding.sequence_ids
    first, count = (parts.index(1), parts.count(1)) if 1 in parts else (0, 0)
    if not count or 0 not in parts:
        raise DataError(
            f"the {'question' if count else 'text to search'} becomes no token.", hint="Leave such samples out."
        )
    room = longest - (len(parts) - count)
    if room < 1:
        raise DataError(
            f"the question has {parts.count(0)} tokens; a window of {longest} has no room for a text behind it.",
            hint="Shorten the question, or export the bundle again with a longer --max-length.",
        )
    found = {name: list(getattr(encoding, name)) for name in TOKEN_FIELDS}
    return [
        Window(
            **{
                name: values[:first] + values[first + start : first + end] + values[first + count :]
                for name, values in found.items()
            }
        )
        for start, end in _ranges(count, room, shared_tokens(stride, room), from_left)
    ]


def shared_tokens(stride: int, room: int) -> int:
    """How many tokens two windows have in common: the stride, or half of the room for text where that is less.

    A window then always begins at least half a window behind the one before, however long the question is.
    """
    return min(stride, room // 2)


def _ranges(count: int, room: int, shared: int, from_left: bool) -> Iterator[tuple[int, int]]:
    """First and end token of the windows of a text of `count` tokens."""
    for start in range(0, count, room - shared):
        end = min(start + room, count)
        yield (start, end) if from_left else (count - end, count - start)
        if end == count:
            return
