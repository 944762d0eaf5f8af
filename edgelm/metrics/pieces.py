"""A vocabulary as pieces of text: what makes models comparable that cut the same text into other tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgelm.data.encoding import Encoded

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_BLANK = "\u2581"  # how SentencePiece writes it


@dataclass(frozen=True)
class Pieces:
    """The tokens of a vocabulary by id.

    Attributes:
        names: as the tokenizer names them; empty where no token has the id.
        sizes: (tokens,) int64, bytes of text in UTF-8 that each stands for; 0 for special tokens.
    """

    names: tuple[str, ...]
    sizes: np.ndarray


def pieces_of(tokenizer: Any) -> Pieces:
    """The tokens of a fast tokenizer of transformers."""
    vocabulary = tokenizer.get_vocab()
    names = [""] * (max(vocabulary.values()) + 1)
    for name, token in vocabulary.items():
        names[token] = name
    decoder = tokenizer.backend_tokenizer.decoder
    parts = {} if decoder is None else json.loads(decoder.__getstate__())
    byte_level = any(part["type"] == "ByteLevel" for part in (parts, *parts.get("decoders", ())) if part)
    sizes = np.asarray([_size(name, byte_level=byte_level) for name in names], dtype=np.int64)
    for token, added in tokenizer.added_tokens_decoder.items():
        sizes[token] = 0 if added.special else len(added.content.encode())
    return Pieces(tuple(names), sizes)


def target_places(encoded: Encoded, pieces: Pieces, *, packed: bool) -> list[tuple[int, int, str]]:
    """Where the target of each row that counts stands, whatever tokens its text was cut into: the number of its
    sequence, the byte in the text of that sequence's targets that it begins at, and its name if it is a special token,
    which takes none.

    Args:
        packed: the sequences are one text, cut where each was full.
    """
    found: list[tuple[int, int, str]] = []
    byte = 0
    for number, (targets, counted) in enumerate(zip(encoded.originals, encoded.counted, strict=True)):
        if not packed:
            byte = 0
        elif number == 0:
            byte = int(pieces.sizes[encoded.columns["input_ids"][0][0]])  # the first token of all is nobody's target
        for token, counts in zip(targets, counted, strict=True):
            if counts:
                size = int(pieces.sizes[token])
                found.append((0 if packed else number, byte, "" if size else pieces.names[token]))
                byte += size
    return found


def same_choices(
    made: tuple[Sequence[tuple[int, int, str]], Sequence[str]],
    reference: tuple[Sequence[tuple[int, int, str]], Sequence[str]],
) -> float:
    """The share of a reference's places where another model finds the same token to be the likeliest; where it has no
    token that begins there, they differ.

    Args:
        made, reference: places as `target_places` gives them, and names of the likeliest tokens.
    """
    own = dict(zip(*made, strict=True))
    places, names = reference
    return float(np.mean([own.get(place) == name for place, name in zip(places, names, strict=True)])) if names else 1.0


def _size(name: str, *, byte_level: bool) -> int:
    if byte_level:
        return len(name)  # one character a byte
    return 1 if _BYTE.fullmatch(name) else len(name.replace(_BLANK, " ").encode())
