"""What the files weigh that a bundle carries beside its graphs, weights and tokenizer, before there is any."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edgelm.files.shipped import shipped_file

_ENTRY = 480  # bytes of a file in the bill of materials, measured


def carried_mb(files: Iterable[Path]) -> float:
    """In 10^6 bytes: these files, the licence, and the bill of materials that lists them. What a model's own licences
    add is not known."""
    carried = [shipped_file("LICENSE"), *files]
    return (sum(path.stat().st_size for path in carried) + _ENTRY * (len(carried) - 1)) / 1e6
