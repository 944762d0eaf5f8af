"""A tokenizer as keys of a GGUF file: tokens and their kinds, merges or scores, marks, chat template."""

from __future__ import annotations

import json
from typing import Any

from edgelm.errors import ModelError
from edgelm.export.formats.gguf.pretokenizers import pretokenizer_name

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6  # llama.cpp's kinds of tokens
_MARK = "\u2581"  # SentencePiece's for a space
_UNREACHED = -1e6  # score of a token that no merge makes
_BYTE_NAMES = frozenset(f"<0x{value:02X}>" for value in range(256))
_OTHER_SPLITS = 0.01  # of tokens: SentencePiece has none (0 of 255,504 in Gemma 3), merges as trained 12 to 22 %


def vocabulary_entries(tokenizer: Any, model: Any, *, rows: int, where: str) -> dict[str, Any]:
    """Keys under `tokenizer.`.

    Args:
        tokenizer: a fast tokenizer of transformers.
        model: whose generation settings say which tokens end a text.
        rows: rows of the embedding table; rows without a token become unused tokens.
        where: what to call the model in messages.

    Raises:
        ModelError: a tokenizer that llama.cpp has no like of, that does not fit the model, or without an end.
    """
    description = _describe(tokenizer, where)
    tokens, kinds = _tokens(tokenizer, description, rows, where)
    if (description["model"].get("byte_fallback") or False) is True:
        entries = _sentencepiece(description, tokens, kinds, where)
    else:
        entries = _byte_level(description, where)
    entries |= {"tokens": tokens, "token_type": kinds} | _marks(tokenizer, model, rows, where)
    entries = {f"tokenizer.ggml.{name}": value for name, value in entries.items()}
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    return entries | ({"tokenizer.chat_template": template} if template else {})


def _describe(tokenizer: Any, where: str) -> dict[str, Any]:
    """The tokenizer as tokenizer.json has it."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    description = json.loads(backend.to_str()) if backend is not None else {"model": {"type": "without tokenizer.json"}}
    if description["model"]["type"] != "BPE":
        raise ModelError(
            f"{where}: no GGUF is written of a tokenizer of the kind {description['model']['type']}.",
            hint="Byte-level BPE, and BPE that falls back to bytes, are written.",
        )
    found: dict[str, Any] = description
    return found


def _tokens(tokenizer: Any, description: dict[str, Any], rows: int, where: str) -> tuple[list[str], list[int]]:
    vocabulary = {index: token for token, index in tokenizer.get_vocab().items()}
    if max(vocabulary) >= rows:
        raise ModelError(
            f"{where}: the tokenizer has the token {max(vocabulary)} ({vocabulary[max(vocabulary)]!r}), "
            f"the model {rows} rows of embeddings.",
            hint="Save the tokenizer that the model was trained with, or widen the model's embeddings.",
        )
    added = {entry["id"]: entry for entry in description["added_tokens"]}
    unknown, fallback = description["model"].get("unk_token"), description["model"].get("byte_fallback")
    tokens, kinds = [], []
    for index in range(rows):
        token, kind = vocabulary.get(index), _NORMAL
        if token is None:
            token, kind = f"[PAD{index}]", _UNUSED
        elif token == unknown:
            kind = _UNKNOWN
        elif index in added:
            kind = _CONTROL if added[index]["special"] else _USER_DEFINED
            token = token.replace(_MARK, " ") if kind == _USER_DEFINED else token  # matched in the text as it was
        elif fallback and token in _BYTE_NAMES:
            kind = _BYTE
        tokens.append(token)
        kinds.append(kind)
    return tokens, kinds


def _pairs(description: dict[str, Any]) -> list[tuple[str, str]]:
    merges = description["model"]["merges"]
    halves = (each.split(" ", 1) if isinstance(each, str) else each for each in merges)
    return [(left, right) for left, right in halves]


def _byte_level(description: dict[str, Any], where: str) -> dict[str, Any]:
    normalizer = description["normalizer"]
    if normalizer is not None and normalizer["type"] != "NFC":  # which texts are in as a rule
        raise ModelError(f"{where}: llama.cpp has no {normalizer['type']} normalizer before byte-level BPE.")
    return {
        "model": "gpt2",
        "pre": pretokenizer_name(description, where),
        "merges": [" ".join(pair) for pair in _pairs(description)],
    }


def _sentencepiece(description: dict[str, Any], tokens: list[str], kinds: list[int], where: str) -> dict[str, Any]:
    """llama.cpp merges the neighbours whose token has the highest score: the earliest merge has it here."""
    pairs = _pairs(description)
    best: dict[str, int] = {}
    for rank, (left, right) in enumerate(pairs):
        best.setdefault(left + right, rank)
    normal = {token for token, kind in zip(tokens, kinds, strict=True) if kind == _NORMAL}
    known = set(pairs)
    apart = sum(
        any(
            token[:at] in normal and token[at:] in normal and (token[:at], token[at:]) not in known
            for at in range(1, len(token))
        )
        for token in normal
    )
    if apart > _OTHER_SPLITS * len(normal):
        raise ModelError(
            f"{where}: {apart} of {len(normal)} tokens have parts that the tokenizer does not merge; llama.cpp would, "
            "as SentencePiece does."
        )
    scores = [-float(best[token]) if token in best else _UNREACHED for token in tokens]
    return {"model": "llama", "pre": "default", "scores": scores, "add_space_prefix": _prefix(description, where)}


def _prefix(description: dict[str, Any], where: str) -> bool:
    """Whether a space is put before a text; spaces are SentencePiece's marks in any case."""
    normalizer, before = description["normalizer"], description["pre_tokenizer"]
    steps = normalizer["normalizers"] if normalizer and normalizer["type"] == "Sequence" else [normalizer]
    prefix = marked = False
    for step in filter(None, steps):
        if step["type"] == "Prepend" and step["prepend"] == _MARK:
            prefix = True
        elif step["type"] == "Replace" and step["pattern"] == {"String": " "} and step["content"] == _MARK:
            marked = True
        else:
            raise ModelError(f"{where}: llama.cpp has no {step['type']} normalizer before SentencePiece's merges.")
    if before is not None and before["type"] == "Metaspace" and before["replacement"] == _MARK:
        return prefix or before.get("prepend_scheme", "always") != "never"
    if not marked or not (before is None or (before["type"] == "Split" and before["pattern"] == {"String": " "})):
        raise ModelError(f"{where}: the tokenizer does not mark spaces as SentencePiece does.")
    return prefix


def _marks(tokenizer: Any, model: Any, rows: int, where: str) -> dict[str, Any]:
    """Ids of special tokens, and which of them are put around a text."""
    settings = model.generation_config
    ends = settings.eos_token_id if settings is not None else None
    ends = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else next(iter(ends), None)
    if end is None:
        raise ModelError(f"{where}: neither the tokenizer nor the model says which token ends a text (eos).")
    ids = {
        "bos": tokenizer.bos_token_id,
        "eos": end,
        "unknown": tokenizer.unk_token_id,
        "padding": tokenizer.pad_token_id,
    }
    ids["eot"] = next((each for each in ends if each != end), None)
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    at = next((start for start in range(len(full)) if full[start : start + len(plain)] == plain), 0)
    before, behind = full[:at], full[at + len(plain) :]
    if before not in ([], [ids["bos"]]) or behind not in ([], [end]):
        raise ModelError(
            f"{where}: llama.cpp puts bos and eos around a text; the tokenizer puts {before} and {behind}."
        )
    entries: dict[str, Any] = {f"{name}_token_id": int(value) for name, value in ids.items() if value is not None}
    return entries | {"add_bos_token": bool(before), "add_eos_token": bool(behind)}
