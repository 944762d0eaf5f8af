"""Answers of token classification: the parts of a text that have a name, with what kind of name it is.

Scores and parts are those of transformers' token classification pipeline, by the task's way of aggregation. Tags with
endings of their own (BIOES, BILOU), which that pipeline does not know, are joined by the rules of conlleval.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgelm.runtime.answers.numbers import softmax
from edgelm.runtime.inputs.batch import Context
from edgelm.tasks.text import Aggregation, TokenClassification

Answer = dict[str, Any]

OUTSIDE = "O"
_BEGIN, _INSIDE, _LAST, _ALONE = "B", "I", "E", "S"
_PREFIXES = {"B": _BEGIN, "I": _INSIDE, "E": _LAST, "L": _LAST, "S": _ALONE, "U": _ALONE}


@dataclass(frozen=True)
class _Word:
    """A word, or a token that stands alone: its tag, and its first and last token."""

    tag: str
    score: float
    first: int
    last: int


def read_entities(task: TokenClassification, outputs: np.ndarray, context: Context) -> list[Answer]:
    """One answer a sample.

    Args:
        outputs: (sequences, tokens, labels), logits.

    Returns:
        entities, in order, each with its kind (`entity`), its mean `score`, its `text`, the `words` that it spans as
        [first, end) and, in a text, the characters from `start` to `end`. The words of a text are those of its
        tokenizer. Of a sample that was given as words also `tags`: one a word, O for those behind the longest sequence.
    """
    labels = task.labels
    scores = softmax(outputs.astype(np.float64))
    answers = []
    for index, sample in enumerate(context.samples):
        sequence = context.sequences[index]
        words = list(_words(scores[index], context.begins[index], sequence.sequence_ids, labels, task.aggregation))
        entities = []
        for group in _groups(words, with_ends=_has_ends(labels)):
            kind = group[0].tag.split("-", 1)[-1]
            if kind != OUTSIDE:
                entities.append(
                    {"entity": kind, "score": float(np.mean([word.score for word in group]))}
                    | _place(sample, sequence, group[0].first, group[-1].last)
                )
        answer: Answer = {"entities": entities}
        if isinstance(sample, tuple):
            answer["tags"] = _tags(words, sequence.word_ids, len(sample))
        answers.append(answer)
    return answers


def _words(
    scores: np.ndarray,
    begins: Sequence[bool],
    numbers: Sequence[int | None],
    labels: tuple[str, ...],
    aggregation: Aggregation,
) -> Iterator[_Word]:
    """Words with their tags, or tokens where each stands alone; special tokens are none."""
    tokens = [token for token, number in enumerate(numbers) if number is not None]
    groups: list[list[int]] = []
    for token in tokens:
        if not groups or begins[token] or aggregation == "simple":
            groups.append([])
        groups[-1].append(token)
    for group in groups:
        rows = scores[group]
        if aggregation == "average":
            row = rows.mean(axis=0)
        else:
            row = rows[rows.max(axis=1).argmax()] if aggregation == "max" else rows[0]
        best = int(row.argmax())
        yield _Word(labels[best], float(row[best]), group[0], group[-1])


def _groups(words: Sequence[_Word], *, with_ends: bool) -> list[list[_Word]]:
    """Words next to each other that are one entity, or are outside of all."""
    groups: list[list[_Word]] = []
    for word in words:
        if groups and not _parted(groups[-1][-1].tag, word.tag, with_ends=with_ends):
            groups[-1].append(word)
        else:
            groups.append([word])
    return groups


def _parted(before: str, tag: str, *, with_ends: bool) -> bool:
    """Whether an entity ends between two tags, or another begins."""
    (last, last_kind), (place, kind) = (_split(each, with_ends=with_ends) for each in (before, tag))
    return kind != last_kind or place in (_BEGIN, _ALONE) or last in (_LAST, _ALONE)


def _split(tag: str, *, with_ends: bool) -> tuple[str, str]:
    """A tag's place in an entity, and the entity's kind; without a place it goes on."""
    known = _PREFIXES if with_ends else (_BEGIN, _INSIDE)
    return (_PREFIXES[tag[0]], tag[2:]) if tag[1:2] == "-" and tag[0] in known else (_INSIDE, tag)


def _has_ends(labels: tuple[str, ...]) -> bool:
    """Whether tags say where an entity ends."""
    return any(label[1:2] == "-" and _PREFIXES.get(label[0]) in (_LAST, _ALONE) for label in labels)


def _place(sample: str | tuple[str, ...], sequence: Any, first: int, last: int) -> Answer:
    """Where an entity is, from its first to its last token."""
    spanned = [word for word in sequence.word_ids[first : last + 1] if word is not None]
    words = {"words": [spanned[0], spanned[-1] + 1]} if spanned else {}
    if isinstance(sample, tuple):
        return {"text": " ".join(sample[slice(*words["words"])])} | words
    start, end = sequence.offsets[first][0], sequence.offsets[last][1]
    return {"text": sample[start:end], "start": start, "end": end} | words


def _tags(words: Sequence[_Word], word_ids: Sequence[int | None], count: int) -> list[str]:
    """A tag for each word that was given: that of its first token, where each token has its own."""
    tags: list[str] = [OUTSIDE] * count
    for word in reversed(words):
        number = word_ids[word.first]
        if number is not None:
            tags[number] = word.tag
    return tags
