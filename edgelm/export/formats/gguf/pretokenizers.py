"""How byte-level tokenizers cut texts into words, and what llama.cpp calls each way.

llama.cpp has the ways built in and files name one. Its own converter finds the name by hashing the ids of a text, which
a vocabulary that was cut or trained anew no longer has; here the tokenizer's own rules are compared.
"""

from __future__ import annotations

from typing import Any

from edgelm.errors import ModelError

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS, _REST = r"|[^\r\n\p{L}\p{N}]?\p{L}+|", r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = _CONTRACTIONS + _WORDS + r"\p{N}{1,3}" + _REST
_QWEN2 = _CONTRACTIONS + _WORDS + r"\p{N}" + _REST
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*|\p{{N}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
Parts = tuple[tuple[Any, ...], ...]
_GPT2: tuple[Any, ...] = ("bytes", True)  # the tokenizers library has the expression of GPT-2 in its ByteLevel
_BYTES: tuple[Any, ...] = ("bytes", False)
_DIGITS: tuple[Any, ...] = ("digits", True)
# By the steps, and whether words that are tokens are taken whole (ignore_merges).
_NAMES: dict[tuple[Parts, bool], str] = {
    ((_GPT2,), False): "gpt-2",
    ((_DIGITS, _GPT2), False): "smollm",
    ((("split", _LLAMA3), _BYTES), True): "llama-bpe",
    ((("split", _LLAMA3), _BYTES), False): "smaug-bpe",
    ((("split", _QWEN2), _BYTES), False): "qwen2",
    ((("split", _TEKKEN), _BYTES), True): "tekken",
}


def pretokenizer_name(description: dict[str, Any], where: str) -> str:
    """llama.cpp's name for what a byte-level tokenizer does before its merges.

    Args:
        description: the tokenizer as tokenizer.json has it.
        where: what to call the model in messages.

    Raises:
        ModelError: it does what llama.cpp has no name for.
    """
    steps = tuple(_step(each) for each in _flat(description["pre_tokenizer"]))
    name = _NAMES.get((steps, bool(description["model"].get("ignore_merges"))))
    if name is None:
        raise ModelError(
            f"{where}: llama.cpp has no name known here for how the tokenizer cuts words: {steps}.",
            hint=f"Those of {', '.join(sorted(_NAMES.values()))} are known.",
        )
    return name


def _flat(part: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for inner in part["pretokenizers"] for each in _flat(inner)] if part["type"] == "Sequence" else [part]


def _step(part: dict[str, Any]) -> tuple[Any, ...]:
    kind = part["type"]
    if kind == "ByteLevel" and not part.get("add_prefix_space"):
        return "bytes", bool(part.get("use_regex", True))
    if kind == "Digits":
        return "digits", part["individual_digits"]
    if kind == "Split" and part["behavior"] == "Isolated" and not part.get("invert"):
        return "split", part["pattern"].get("Regex")
    return kind, *sorted((name, str(value)) for name, value in part.items() if name != "type")
