"""Rows of generators as tokens, with the tokens of the target that are learned and judged: the rows that count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from edgelm.data.conversations import read_talk
from edgelm.data.dataset import Dataset
from edgelm.data.encoding import NO_CLASS, Encoded
from edgelm.errors import DataError, ModelError
from edgelm.tasks.generation import Generation, TextGeneration

DECODED = "decoder_input_ids"  # what the decoder of an encoder-decoder reads

Learned = tuple[list[int], list[bool]]  # token ids, and which of them are a target


def encode_written(rows: Dataset, tokenizer: Any, task: Generation, *, max_length: int) -> Encoded:
    """Cut rows into tokens as a generator is trained and judged on them.

    A decoder alone reads prompt and target in one sequence; plain texts stand one behind the other, each with its end,
    and are cut where a sequence is full. An encoder reads the source; its decoder begins with the model's own first
    token, then reads the target.

    Args:
        rows: of schema prompts or targets; plain texts will do for the first.
        tokenizer: a fast tokenizer of transformers.
        max_length: tokens of a sequence at most. Where a prompt with its completion is longer, the prompt loses its
            beginning; sources and targets lose their ends.

    Returns:
        `counted` is 1 for each token whose output is the next token of a target, which `originals` names.

    Raises:
        DataError: a prompt that becomes no token, a conversation that the template refuses.
        ModelError: the tokenizer lacks a token that ends texts, or a template for conversations.
    """
    if tokenizer.eos_token_id is None:
        raise ModelError(
            "the tokenizer names no token that ends a text (eos_token), so nothing would ever stop.",
            hint="Name one in tokenizer_config.json: tokenizer.eos_token = ...; tokenizer.save_pretrained(folder).",
        )
    longest = int(min(max_length, tokenizer.model_max_length))
    if not isinstance(task, TextGeneration):
        return _rewritten(rows, tokenizer, task, longest)
    if any(not isinstance(text, str) for text in rows.texts):
        found = [
            part
            for number, talk in enumerate(rows.texts, start=1)
            for part in read_talk(talk, tokenizer, f"{rows.source}, row {number}")
        ]
        return _shifted([_fitted(ids, learned, longest) for ids, learned in found], tokenizer)
    if rows.labels is None:
        return _packed(rows.texts, tokenizer, longest)
    return _shifted(_completions(rows, tokenizer, longest), tokenizer)


def prompts_of(rows: Dataset, tokenizer: Any, task: Generation, *, max_length: int, beginning: int) -> list[list[int]]:
    """What a model writes behind, as token ids: sources, prompts, or the beginnings of plain texts.

    Args:
        rows: as `encode_written` takes them.
        max_length: tokens of a source at most; a prompt loses its beginning, so that half of that is left to write.
        beginning: tokens of a plain text that are its prompt.

    Raises:
        DataError: conversations, or a prompt that becomes no token.
    """
    longest = int(min(max_length, tokenizer.model_max_length))
    if not isinstance(task, TextGeneration):
        found = tokenizer(task.prompted(rows.texts), truncation=True, max_length=longest)["input_ids"]
        return [list(ids) for ids in found]
    if any(not isinstance(text, str) for text in rows.texts):
        raise DataError(
            f"{rows.source}: conversations, behind which no model writes while it is trained.",
            hint="Give prompts with completions or plain texts, or leave out loss.written and loss.on_policy.",
        )
    prompts = [_open(ids, tokenizer) for ids in tokenizer(list(rows.texts), verbose=False)["input_ids"]]
    if any(not ids for ids in prompts):
        raise DataError(f"{rows.source}: a prompt is empty.", hint="Give every row a prompt.")
    if rows.labels is None:
        return [ids[: min(beginning, longest - 1)] for ids in prompts]
    return [ids if len(ids) <= longest // 2 else [ids[0], *ids[len(ids) - longest // 2 + 1 :]] for ids in prompts]


def encode_ids(prompts: Sequence[list[int]], targets: Sequence[list[int]], tokenizer: Any, task: Generation) -> Encoded:
    """Prompts or sources with targets that are token ids already: what `encode_written` gives for texts.

    Args:
        prompts: as `prompts_of` gives them.
        targets: what comes behind each, with the token that ends it where it is whole.
    """
    if isinstance(task, TextGeneration):
        learned = [
            ([*prompt, *target], [False] * len(prompt) + [True] * len(target))
            for prompt, target in zip(prompts, targets, strict=True)
        ]
        return _shifted(learned, tokenizer)
    columns = {"input_ids": list(prompts), "attention_mask": [[1] * len(ids) for ids in prompts]}
    return _with_targets(columns, targets, task)


def with_ends(task: Generation, rows: Dataset, tokenizer: Any) -> Generation:
    """The task of a model that is trained on rows: it stops where their targets end, too, such as at the mark that a
    chat template puts behind an answer."""
    ends = [tokenizer.eos_token_id]
    talk = next((text for text in rows.texts if not isinstance(text, str)), None)
    if talk is not None:
        ids, learned = read_talk(talk, tokenizer, rows.source)[-1]
        ends.append([token for token, flag in zip(ids, learned, strict=True) if flag][-1])
    known = task.settings.eos_ids
    return replace(task, settings=replace(task.settings, eos_ids=tuple(dict.fromkeys([*known, *ends]))))


def _shifted(sequences: Sequence[Learned], tokenizer: Any) -> Encoded:
    """Sequences whose outputs count where a learned token comes next."""
    counted = [[int(flag) for flag in [*learned[1:], False]] for _, learned in sequences]
    nexts = [[*ids[1:], NO_CLASS] for ids, _ in sequences]
    return _encoded([ids for ids, _ in sequences], counted, nexts, tokenizer)


def _encoded(inputs: list[list[int]], counted: list[list[int]], nexts: list[list[int]], tokenizer: Any) -> Encoded:
    columns = {"input_ids": inputs, "attention_mask": [[1] * len(ids) for ids in inputs]}
    columns |= {name: [[0] * len(ids) for ids in inputs] for name in tokenizer.model_input_names if name not in columns}
    originals = [
        [token if counts else NO_CLASS for token, counts in zip(ids, row, strict=True)]
        for ids, row in zip(nexts, counted, strict=True)
    ]
    return Encoded(columns, list(range(len(inputs))), [], [], counted, originals)


def _packed(texts: Sequence[str], tokenizer: Any, longest: int) -> Encoded:
    """Texts behind each other in sequences of `longest` tokens. No token is lost: each but the first, and those that
    only begin a text, is a target once. A sequence that begins inside of a text has the token that begins texts before
    it, where the tokenizer puts one there, since such models need it."""
    end, begin = tokenizer.eos_token_id, tokenizer.bos_token_id
    found = tokenizer(list(texts), verbose=False)["input_ids"]
    stream = list(chain.from_iterable(ids if ids[-1:] == [end] else [*ids, end] for ids in found))
    begins = begin is not None and begin != end and stream[:1] == [begin]
    inputs: list[list[int]] = []
    counted: list[list[int]] = []
    nexts: list[list[int]] = []
    start = 0
    while start < len(stream) - 1:
        lead = [begin] if begins and stream[start] != begin else []
        stop = start + longest - len(lead)
        following = [*stream[start + 1 : stop + 1], *([NO_CLASS] if stop >= len(stream) else [])]
        inputs.append(lead + stream[start:stop])
        nexts.append([NO_CLASS] * len(lead) + following)
        free = (NO_CLASS, begin) if begins else (NO_CLASS,)
        counted.append([int(token not in free) for token in nexts[-1]])
        start = stop
    if not inputs:
        raise DataError("the texts are too short: together they have a single token.", hint="Give more text.")
    return _encoded(inputs, counted, nexts, tokenizer)


def _completions(rows: Dataset, tokenizer: Any, longest: int) -> list[Learned]:
    """Prompts as they are tokenized alone, as a device will, with what goes on behind them."""
    prompts, labels = list(rows.texts), [label or "" for label in rows.labels or ()]
    before = [_open(ids, tokenizer) for ids in tokenizer(prompts, verbose=False)["input_ids"]]
    texts = [prompt + label for prompt, label in zip(prompts, labels, strict=True)]
    whole = [_open(ids, tokenizer) for ids in tokenizer(texts, verbose=False)["input_ids"]]
    alone = tokenizer(labels, add_special_tokens=False, verbose=False)["input_ids"]
    found = []
    for number, (prompt, joined, label) in enumerate(zip(before, whole, alone, strict=True), start=1):
        if not prompt:
            raise DataError(f"{rows.source}, row {number}: the prompt is empty.", hint="Give every row a prompt.")
        # Where the last letters of a prompt make a token with the first ones of its completion, they stay apart.
        after = joined[len(prompt) :] if joined[: len(prompt)] == prompt else list(label)
        ids = [*prompt, *after, tokenizer.eos_token_id]
        found.append(_fitted(ids, [False] * len(prompt) + [True] * (len(after) + 1), longest))
    return found


def _open(ids: Sequence[int], tokenizer: Any) -> list[int]:
    """Tokens without the one that ends a text, which some tokenizers put behind each."""
    return list(ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids)


def _fitted(ids: list[int], learned: list[bool], longest: int) -> Learned:
    """At most `longest` tokens: the prompt before the first target loses its beginning, but for the first token, then
    the targets lose their end."""
    over = len(ids) - longest
    if over <= 0:
        return ids, learned
    first = learned.index(True) if True in learned else 0
    cut = min(over, max(first - 2, 0))
    kept = slice(1 + cut, None)
    ids, learned = [ids[0], *ids[kept]], [learned[0], *learned[kept]]
    return ids[:longest], learned[:longest]


def _rewritten(rows: Dataset, tokenizer: Any, task: Generation, longest: int) -> Encoded:
    """Sources, and targets behind the token that the decoder begins with: what transformers' models make of labels."""
    options = {"truncation": True, "max_length": longest}
    found = tokenizer(task.prompted(rows.texts), **options)
    columns = {name: list(found[name]) for name in tokenizer.model_input_names}
    if rows.labels is None:
        targets: list[list[int]] = [[] for _ in rows.texts]
    else:
        firsts = [references[0] if references else "" for references in rows.labels]
        targets = [list(ids) for ids in tokenizer(text_target=firsts, **options)["input_ids"]]
    return _with_targets(columns, targets, task)


def _with_targets(columns: dict[str, list[list[int]]], targets: Sequence[list[int]], task: Generation) -> Encoded:
    """Sources with what the decoder reads and writes."""
    start = task.settings.decoder_start_id
    if start is None:
        raise ModelError(
            "the model's settings name no decoder_start_token_id: nothing says what the decoder begins with.",
            hint="Add it to generation_config.json.",
        )
    columns[DECODED] = [[start, *ids[:-1]] for ids in targets]
    counted = [[1] * len(ids) or [0] for ids in targets]
    originals = [ids or [NO_CLASS] for ids in targets]
    return Encoded(columns, list(range(len(targets))), [], [], counted, originals)
