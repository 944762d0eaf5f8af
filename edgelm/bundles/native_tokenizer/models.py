"""The two models that edgelm-native has: WordPiece behind BERT's pre-tokenizer, and byte pair encoding of bytes behind
GPT-2's."""

from __future__ import annotations

from typing import Any

from edgelm.bundles.native_tokenizer.fields import need, steps, take
from edgelm.bundles.native_tokenizer.writer import TokenizerWriter

_NEVER = {0xC0, 0xC1, *range(0xF5, 0x100)}  # bytes that UTF-8 does not have


def write_model(writer: TokenizerWriter, values: Any, backend: Any) -> None:
    """Write the model and its pre-tokenizer.

    Args:
        values: tokenizer.json.
        backend: its tokenizer, of the tokenizers library.

    Raises:
        UnknownTokenizer: they are others, or set in another way.
    """
    model, before = values["model"], steps(values["pre_tokenizer"], "pretokenizers")
    kinds = (model.get("type"), *(step.get("type") for step in before))
    if kinds == ("WordPiece", "BertPreTokenizer"):
        writer.numbers(0)
        _write_word_pieces(writer, model)
    elif kinds == ("BPE", "ByteLevel"):
        writer.numbers(1)
        _write_byte_pairs(writer, model, before[0], backend)
    else:
        need(False, f"the model {kinds[0]} behind {', '.join(map(str, kinds[1:])) or 'no pre-tokenizer'}")


def _write_word_pieces(writer: TokenizerWriter, model: Any) -> None:
    unknown, prefix, longest, vocabulary = take(
        model, "WordPiece", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab"
    )
    need(unknown in vocabulary, f"the vocabulary has no {unknown}")
    writer.string(prefix.encode())
    writer.numbers(vocabulary[unknown], longest, len(vocabulary))
    before = -1
    for token, number in sorted(vocabulary.items(), key=lambda entry: entry[1]):
        need(number > before, f"two tokens have the id {number}")
        writer.numbers(number - before - 1)
        writer.string(token.encode())
        before = number


def _write_byte_pairs(writer: TokenizerWriter, model: Any, splitter: Any, backend: Any) -> None:
    space_first, _, by_pattern = take(splitter, "ByteLevel", "add_prefix_space", "trim_offsets", use_regex=True)
    need(by_pattern, "ByteLevel without its pattern")
    vocabulary, merges, dropout, _, prefix, suffix, _, fallback, ignore = take(
        model,
        "BPE",
        "vocab",
        "merges",
        dropout=None,
        unk_token=None,  # every byte has a token
        continuing_subword_prefix=None,
        end_of_word_suffix=None,
        fuse_unk=False,
        byte_fallback=False,
        ignore_merges=False,
    )
    need(not dropout, "BPE with dropout")
    need(not (prefix or suffix or fallback), "BPE with a prefix, a suffix or tokens of bytes")
    alphabet = _alphabet()
    missing = [byte for byte, character in alphabet.items() if character not in vocabulary and byte not in _NEVER]
    need(not missing, f"BPE without a token for the byte {missing[:1]}")
    writer.numbers(int(space_first))
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
    need(all(len(pair) == 2 for pair in pairs), "a merge that is no pair")
    writer.rows([(vocabulary[left], vocabulary[right], vocabulary[left + right]) for left, right in pairs])
    writer.numbers(*(vocabulary.get(alphabet[byte], -1) + 1 for byte in range(256)))
    whole = _whole_words(vocabulary, {character: byte for byte, character in alphabet.items()}, backend, ignore)
    writer.numbers(len(whole))
    for word, number in whole.items():
        writer.string(word)
        writer.numbers(number)


def _whole_words(vocabulary: dict[str, int], bytes_of: dict[str, int], backend: Any, ignore: bool) -> dict[bytes, int]:
    """The words that become one token: with merges not every token of the vocabulary."""
    found = {}
    for token, number in vocabulary.items():
        if not token or not all(character in bytes_of for character in token):
            continue
        if ignore or [piece.id for piece in backend.model.tokenize(token)] == [number]:
            found[bytes(bytes_of[character] for character in token)] = number
    return found


def _alphabet() -> dict[int, str]:
    """The character that stands for each byte: itself where it can be printed, else one from U+0100 on."""
    plain = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(0x100 + place) for place, byte in enumerate(others)}
