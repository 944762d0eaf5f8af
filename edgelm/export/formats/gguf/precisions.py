"""Precisions that a GGUF file can have, and which of its parts has which."""

from __future__ import annotations

from edgelm.errors import UsageError

PRECISIONS = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0")  # fewer and fewer bits
_OURS = {"fp32": "f32", "fp16": "f16", "int8": "q8_0", "int4": "q4_0"}
_LEAST_HEAD = "q8_0"


def choose_precision(precision: str, head: str = "") -> tuple[str, str]:
    """The precisions of the layers, and of head and embedding table, by GGUF's names in lower case.

    Raises:
        UsageError: no such precision.
    """
    body = _known(precision)
    if head:
        return body, _known(head)
    return body, min(body, _LEAST_HEAD, key=PRECISIONS.index)


def _known(name: str) -> str:
    found = _OURS.get(name.lower(), name.lower())
    if found not in PRECISIONS:
        raise UsageError(f"GGUF: no precision {name!r}.", hint=f"One of {', '.join(PRECISIONS)}.")
    return found
