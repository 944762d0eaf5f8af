"""From tokenizer.json to the file that edgelm-native reads, or why there is none."""

from __future__ import annotations

import json
from typing import Any

from edgelm.bundles.native_tokenizer.around import templates
from edgelm.bundles.native_tokenizer.fields import UnknownTokenizer, need, steps, take
from edgelm.bundles.native_tokenizer.models import write_model
from edgelm.bundles.native_tokenizer.writer import TokenizerWriter
from edgelm.runtime.preprocessing import TextProcessing

_MAGIC = b"edgelm-tokenizer 1\n"
_NOTHING, _BERT, _NFC = range(3)


def compile_tokenizer(backend: Any, settings: TextProcessing) -> bytes:
    """The content of native.tokenizer: it gives the ids of the tokenizer exactly, for every text that it takes.

    Args:
        backend: a tokenizer of the tokenizers library.
        settings: how the bundle cuts and pads.

    Raises:
        UnknownTokenizer: it has something that edgelm-native does not have, by its name.
    """
    try:
        return _compile(backend, json.loads(backend.to_str()), settings)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnknownTokenizer(f"tokenizer.json is written in another way ({error!r:.80})") from error


def _compile(backend: Any, values: Any, settings: TextProcessing) -> bytes:
    writer = TokenizerWriter()
    writer.data += _MAGIC
    single, pair = templates(values["post_processor"])
    specials = max(sum(piece[0] == 0 for piece in template) for template in (single, pair))
    need(settings.max_length > specials, f"no text fits into {settings.max_length} tokens")
    writer.numbers(settings.max_length, int(settings.truncation_side != "left"), settings.pad_id, settings.pad_type_id)
    writer.numbers(int(settings.split_special))
    writer.rows(single)
    writer.rows(pair)
    _write_normalizer(writer, values["normalizer"])
    _write_added(writer, values["added_tokens"], backend)
    write_model(writer, values, backend)
    return bytes(writer.data)


def _write_normalizer(writer: TokenizerWriter, normalizer: Any) -> None:
    found = steps(normalizer, "normalizers")
    kinds = [step.get("type") for step in found]
    if not kinds:
        writer.numbers(_NOTHING)
    elif kinds == ["NFC"]:
        writer.numbers(_NFC)
    else:
        need(kinds == ["BertNormalizer"], f"the normalizer {', '.join(map(str, kinds))}")
        names = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
        clean, chinese, strip, lower = take(found[0], "BertNormalizer", *names)
        writer.numbers(_BERT, *map(int, (clean, chinese, lower if strip is None else strip, lower)))


def _write_added(writer: TokenizerWriter, tokens: Any, backend: Any) -> None:
    """Those that are found in the text as it is, then those that are found in the normalized one."""
    found: dict[bool, dict[str, tuple[int, int]]] = {False: {}, True: {}}
    strips = any(token["lstrip"] or token["rstrip"] for token in tokens)
    for token in tokens:
        number, content, single, left, right, normalized, special = take(
            token, "an added token", "id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"
        )
        need(not single, f"the added token {content!r}, which is found between words alone")
        need(backend.token_to_id(content) == number, f"the added token {content!r}, which has two ids")
        need(not strips or content == content.strip(), f"the added token {content!r}, which begins or ends with spaces")
        if normalized and backend.normalizer is not None:
            content = backend.normalizer.normalize_str(content)
        need(content not in ("", *found[normalized]), f"the added token {content!r}, which is nothing or there twice")
        found[normalized][content] = (number, left + 2 * right + 4 * special)
    numbers = [number for group in found.values() for number, _ in group.values()]
    need(len(numbers) == len(set(numbers)), "two added tokens with one id")
    for group in found.values():
        writer.numbers(len(group))
        for content, entry in group.items():
            writer.string(content.encode())
            writer.numbers(*entry)
