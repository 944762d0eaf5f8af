"""Pairs of texts that are longer together than a model reads.

The tokenizers library cuts them too, but keeps all that it cuts off: a window for every part of the one with every part
of the other, which for two long texts is gigabytes. Pairs are therefore encoded whole, and cut here.
"""

from __future__ import annotations

from typing import Any

from edgelm.runtime.inputs.windows import TOKEN_FIELDS, Window


def cut_pair(encoding: Any, *, longest: int, from_left: bool = True) -> Any:
    """A pair as the tokenizers library cuts it ("longest_first"): the same tokens.

    Args:
        encoding: both texts in full, in one encoding of the tokenizers library.
        longest: of a sequence, in tokens, special ones among them.
        from_left: texts are read from their beginnings; False: each keeps its end.

    Returns:
        the encoding itself where it is short enough, else a `Window` of it.
    """
    parts = encoding.sequence_ids
    if len(parts) <= longest:
        return encoding
    counts = [parts.count(number) for number in (0, 1)]
    kept = kept_tokens(counts[0], counts[1], longest - (len(parts) - sum(counts)))
    drop: set[int] = set()
    for number, count, keep in zip((0, 1), counts, kept, strict=True):
        first = parts.index(number) if count else 0  # a text's tokens stand side by side
        drop |= set(range(first + keep, first + count) if from_left else range(first, first + count - keep))
    return Window(
        **{
            name: [value for place, value in enumerate(getattr(encoding, name)) if place not in drop]
            for name in TOKEN_FIELDS
        }
    )


def kept_tokens(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens two texts of so many keep where there is room for so many: the shorter all of its own up to half
    of the room, and the other what is left."""
    if first + second <= room:
        return first, second
    shorter = min(first, second, room // 2)
    return (shorter, room - shorter) if first <= second else (room - shorter, shorter)
