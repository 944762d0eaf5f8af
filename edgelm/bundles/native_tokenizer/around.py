"""What stands before, between and behind texts, as a list of special tokens and texts."""

from __future__ import annotations

from typing import Any

from edgelm.bundles.native_tokenizer.fields import need, steps, take

# Kind (0: a special token, 1: the first text, 2: the second), id, type.
Template = list[tuple[int, int, int]]
_FIRST, _SECOND = (1, 0), (2, 0)


def templates(post_processor: Any) -> tuple[Template, Template]:
    """Of one text, and of a pair.

    Raises:
        UnknownTokenizer: they are made in another way.
    """
    found = [step for step in steps(post_processor, "processors") if step.get("type") != "ByteLevel"]  # offsets alone
    need(len(found) <= 1, "several post-processors")
    if not found:
        return [(*_FIRST, 0)], [(*_FIRST, 0), (*_SECOND, 1)]
    kind = found[0].get("type")
    need(kind in _READERS, f"the post-processor {kind}")
    single, pair = _READERS[kind](found[0])
    for template, wanted in ((single, [1]), (pair, [1, 2])):
        need(sorted(piece[0] for piece in template if piece[0]) == wanted, "a template without its texts")
    return single, pair


def _bert(step: Any) -> tuple[Template, Template]:
    (_, end), (_, start) = take(step, "BertProcessing", "sep", "cls")
    single = [(0, start, 0), (*_FIRST, 0), (0, end, 0)]
    return single, [*single, (*_SECOND, 1), (0, end, 1)]


def _roberta(step: Any) -> tuple[Template, Template]:
    (_, end), (_, start), *_ = take(step, "RobertaProcessing", "sep", "cls", trim_offsets=True, add_prefix_space=True)
    single = [(0, start, 0), (*_FIRST, 0), (0, end, 0)]
    return single, [*single, (0, end, 0), (*_SECOND, 0), (0, end, 0)]


def _template(step: Any) -> tuple[Template, Template]:
    single, pair, tokens = take(step, "TemplateProcessing", "single", "pair", "special_tokens")
    return _pieces(single, tokens), _pieces(pair, tokens)


def _pieces(pieces: Any, tokens: Any) -> Template:
    found: Template = []
    for piece in pieces:
        ((kind, content),) = piece.items()
        name, type_id = take(content, "a template", "id", "type_id")
        if kind == "Sequence":
            found.append((*(_FIRST if name == "A" else _SECOND), type_id))
        else:
            need(kind == "SpecialToken", f"{kind} in a template")
            found += [(0, number, type_id) for number in tokens[name]["ids"]]
    return found


_READERS = {"BertProcessing": _bert, "RobertaProcessing": _roberta, "TemplateProcessing": _template}
