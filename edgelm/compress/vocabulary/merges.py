"""Byte pair encoding's merges: which of them make a token.

A token that a text holds was made by the same merges as the token's own letters alone (Sennrich, Haddow, Birch 2016,
arXiv:1508.07909): none of them reached beyond it, and among those within it always the first that fits was applied. So
these are all that a kept token needs, however many other ways a vocabulary lists to make it (those that SentencePiece
trained list every one).
"""

from __future__ import annotations

import itertools
from typing import Any

Pair = tuple[str, str]


def merge_parts(model: dict[str, Any]) -> dict[int, frozenset[int]]:
    """Of every token that merges make, the ids of the two that the last one joins; each of these has its own.

    Args:
        model: the model part of a tokenizer.json of type BPE.
    """
    vocab: dict[str, int] = model["vocab"]
    prefix, suffix = model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or ""
    ranks: dict[Pair, int] = {}
    ways: dict[str, list[Pair]] = {}
    for rank, (left, right) in enumerate(model["merges"]):
        ranks[left, right] = rank
        ways.setdefault(left + right.removeprefix(prefix), []).append((left, right))
    parts: dict[int, frozenset[int]] = {}
    for token, pairs in ways.items():
        last = pairs[0] if len(pairs) == 1 else _last_merge(_letters(token, prefix, suffix), ranks, prefix)
        # What merges never make of its letters alone is written by none of them, and keeps all, to be safe.
        chosen = [last] if last in pairs else pairs
        parts[vocab[token]] = frozenset(vocab[part] for pair in chosen for part in pair)
    return parts


def _letters(token: str, prefix: str, suffix: str) -> list[str]:
    """What a token's merges begin with: its characters, with the marks of their places in the word."""
    bare = token.removeprefix(prefix).removesuffix(suffix)
    if not bare:  # a token that is a mark itself
        return list(token)
    letters = [prefix + letter for letter in bare]
    letters[0] = letters[0] if token.startswith(prefix) else letters[0].removeprefix(prefix)
    letters[-1] += suffix if token.endswith(suffix) else ""
    return letters


def _last_merge(pieces: list[str], ranks: dict[Pair, int], prefix: str) -> Pair | None:
    """The merge that is applied last to pieces: always the first that fits, at its first place. None: they do not
    become one token."""
    never = len(ranks)
    while len(pieces) > 1:
        pairs = list(itertools.pairwise(pieces))
        best = min(range(len(pairs)), key=lambda place: ranks.get(pairs[place], never))
        if pairs[best] not in ranks:
            return None
        if len(pieces) == 2:
            return pairs[0]
        left, right = pairs[best]
        pieces[best : best + 2] = [left + right.removeprefix(prefix)]
    return None
