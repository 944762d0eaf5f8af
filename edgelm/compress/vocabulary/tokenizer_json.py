"""A fast tokenizer with fewer tokens: its tokenizer.json rewritten, so that what used only kept tokens is read as
before.

Why that holds, kind by kind. WordPiece takes the longest token that fits, again and again: among fewer candidates the
one it took is still the longest. BPE applies the first of its merges that fits, again and again: the merges stay in
their order, and those that make a kept token are kept with it (see `merges`), so each one that was applied still is the
first. Unigram takes the path with the best sum of scores: the path is still there, and no better one has come. The
score of an unknown character is the lowest of the vocabulary less a constant, so a token with the lowest score stays.

What can be written stays: every character that is a token by itself, in byte-level vocabularies every byte. Where
characters that are no tokens are written as bytes, all 256 bytes stay, and characters beyond ASCII may go.

One exception: WordPiece gives up a whole word at a character that it does not know. Where a vocabulary has a character
inside longer pieces but not by itself, which no trainer makes, such a word may become readable.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from edgelm.compress.vocabulary.merges import merge_parts
from edgelm.errors import ModelError
from edgelm.files.scratch import open_scratch

_KINDS = ("WordPiece", "WordLevel", "BPE", "Unigram")
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")  # a byte that stands for itself, where an alphabet has no character for it
_SPARE = re.compile(r"<unused\d+>|\[unused\d+\]")  # added tokens in which no text is written; Gemma has 6,242
_WORD_STARTS = ("\u0120", "\u2581")  # how byte-level and SentencePiece vocabularies write the space before a word


@dataclass(frozen=True)
class Vocabulary:
    """What a fast tokenizer's file says of its tokens.

    Attributes:
        ids: every token, added ones included, with its id.
        fixed: ids that no cut may take: special and added tokens, but for those that are places for others; the
            alphabet and bytes, what the file itself refers to.
        words: ids of whole words of two letters or more, in the order of the vocabulary.
        parts: for tokens that merges make, the ids of what the last of them joins (BPE alone).
    """

    ids: dict[str, int]
    fixed: frozenset[int]
    words: tuple[int, ...]
    parts: dict[int, frozenset[int]]

    def closure(self, tokens: Iterable[int]) -> set[int]:
        """These tokens and all that they are merged from, down to the alphabet."""
        found: set[int] = set()
        waiting = list(tokens)
        while waiting:
            token = waiting.pop()
            if token not in found:
                found.add(token)
                waiting.extend(self.parts.get(token, ()))
        return found


def read_vocabulary(tokenizer: Any) -> Vocabulary:
    """Read a fast tokenizer's tokens.

    Raises:
        ModelError: a kind of tokenizer whose tokens cannot be cut.
    """
    document = _document(tokenizer)
    model = document["model"]
    ids = dict(tokenizer.get_vocab())
    prefix, suffix = model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or ""
    falls_back = bool(model.get("byte_fallback")) and all(f"<0x{byte:02X}>" in ids for byte in range(256))
    fixed = {
        token
        for name, token in ids.items()
        if (
            len(bare := _bare(name, prefix, suffix)) == 1 and (bare.isascii() or bare in _WORD_STARTS or not falls_back)
        )
        or _BYTE.fullmatch(name)
    }
    fixed |= {*tokenizer.all_special_ids, *_mentioned(document)}
    if model["type"] == "Unigram":
        fixed.add(min(range(len(model["vocab"])), key=lambda token: model["vocab"][token][1]))
    elif model.get("unk_token") in ids:
        fixed.add(ids[model["unk_token"]])
    start = _word_start(ids) if model["type"] in ("BPE", "Unigram") else ""
    words = (token for name, token in ids.items() if _is_word(name, start, prefix, suffix))
    parts = merge_parts(model) if model["type"] == "BPE" else {}
    return Vocabulary(ids, frozenset(fixed), tuple(sorted(words)), parts)


def keep_tokens(tokenizer: Any, tokens: Collection[int]) -> Any:
    """A tokenizer of the same class that has only these tokens, numbered anew in their old order.

    Args:
        tokens: with all of `Vocabulary.fixed`, and closed under `Vocabulary.closure`.

    Raises:
        ModelError: the tokenizer's own class builds another vocabulary than its file says.
    """
    number = {old: new for new, old in enumerate(sorted(tokens))}
    wanted = {name: number[token] for name, token in tokenizer.get_vocab().items() if token in number}
    document = _document(tokenizer)
    document["model"] = _smaller(document["model"], number)
    document["added_tokens"] = [token for token in document["added_tokens"] if token["id"] in number]
    _renumber(document, number.__getitem__)
    with open_scratch() as folder:
        tokenizer.save_pretrained(folder)
        (folder / "tokenizer.json").write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
        smaller = type(tokenizer).from_pretrained(folder, local_files_only=True)
    if smaller.get_vocab() != wanted:
        raise ModelError(
            f"the vocabulary of this tokenizer ({type(tokenizer).__name__}) cannot be cut: built again, it has other "
            "tokens.",
            hint="Leave the stage vocabulary out of the recipe.",
        )
    return smaller


def _document(tokenizer: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    if document["model"]["type"] not in _KINDS:
        raise ModelError(
            f"the vocabulary of a {document['model']['type']} tokenizer cannot be cut; only of {', '.join(_KINDS)}.",
            hint="Leave the stage vocabulary out of the recipe.",
        )
    return document


def _smaller(model: dict[str, Any], number: dict[int, int]) -> dict[str, Any]:
    """The model part of a tokenizer.json with the tokens in `number` alone, which says their new ids."""
    if model["type"] == "Unigram":
        vocab: Any = [entry for token, entry in enumerate(model["vocab"]) if token in number]
        return model | {"vocab": vocab, "unk_id": None if model["unk_id"] is None else number[model["unk_id"]]}
    vocab = {name: number[token] for name, token in model["vocab"].items() if token in number}
    if model["type"] != "BPE":
        return model | {"vocab": vocab}
    prefix = model.get("continuing_subword_prefix") or ""
    merges = [
        [left, right]
        for left, right in model["merges"]
        if left in vocab and right in vocab and left + right.removeprefix(prefix) in vocab
    ]
    return model | {"vocab": vocab, "merges": merges}


def _renumber(document: dict[str, Any], number: Callable[[int], int]) -> None:
    """Pass every id outside the model part through `number`, in place: added tokens, padding, and what is put around a
    text."""
    for token in document["added_tokens"]:
        token["id"] = number(token["id"])
    if document.get("padding"):
        document["padding"]["pad_id"] = number(document["padding"]["pad_id"])
    waiting = [document.get("post_processor")]
    while waiting:
        processor = waiting.pop()
        if not processor:
            continue
        waiting.extend(processor.get("processors", ()))  # a sequence of processors
        for entry in (processor.get("special_tokens") or {}).values():  # a template
            entry["ids"] = [number(token) for token in entry["ids"]]
        for name in ("sep", "cls"):  # the processors of BERT and RoBERTa
            if name in processor:
                processor[name][1] = number(processor[name][1])


def _mentioned(document: dict[str, Any]) -> set[int]:
    """The ids that a tokenizer.json speaks of outside its model part."""
    found: set[int] = set()

    def note(token: int) -> int:
        found.add(token)
        return token

    added = [token for token in document["added_tokens"] if not _SPARE.fullmatch(token["content"])]
    _renumber(document | {"added_tokens": [*map(dict, added)]}, note)
    return found


def _word_start(names: Iterable[str]) -> str:
    """How the vocabulary writes the space before a word, empty if it does not: of Gemma's both marks are tokens, and
    one of them begins words."""
    first = Counter(name[0] for name in names if len(name) > 1)
    return max((mark for mark in _WORD_STARTS if first[mark]), key=first.__getitem__, default="")


def _bare(name: str, prefix: str, suffix: str) -> str:
    """A token without the marks of its place in the word."""
    return (name.removeprefix(prefix) or name).removesuffix(suffix) or name


def _is_word(name: str, start: str, prefix: str, suffix: str) -> bool:
    if not name.startswith(start) or not name.endswith(suffix) or (prefix and name.startswith(prefix)):
        return False
    bare = name[len(start) :].removesuffix(suffix)
    return len(bare) > 1 and bare.isalpha()
