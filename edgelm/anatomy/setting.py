"""A setting of a model folder that can change an output, and what edgelm does with it: the row of a table that tests
read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Setting:
    """One key of one file.

    Attributes:
        file: the file's name, such as tokenizer_config.json.
        key: the key in it; dots go into objects.
        effect: what the key changes in the outputs.
        handling: "applied" (edgelm computes what the key says), "refused" (a value that edgelm cannot compute is an
            error that names it), or "ignored" (the key cannot change what edgelm computes, for the reason in `how`).
        how: where it is applied, which values are refused, or why it may be ignored.
    """

    file: str
    key: str
    effect: str
    handling: Literal["applied", "refused", "ignored"]
    how: str
