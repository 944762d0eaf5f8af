"""Samples as token sequences, with the tokens whose outputs count: what training, judging and export read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np

from edgelm.data.dataset import Dataset, as_text
from edgelm.errors import ModelError
from edgelm.runtime.inputs.pairs import cut_pair
from edgelm.runtime.inputs.windows import Window, cut_windows
from edgelm.tasks.task import Task
from edgelm.tasks.text import FillMask, MultipleChoice, QuestionAnswering, TokenClassification

NO_CLASS = -100  # the target of what has none; torch's cross-entropy leaves it out
_FIELDS = {"input_ids": "ids", "token_type_ids": "type_ids", "attention_mask": "attention_mask"}  # of an encoding
# Characters of both texts of a pair, in lengths of a sequence, up to which the tokenizer cuts them itself: it keeps a
# window for each part of the one with each of the other, a few hundred then.
_WINDOWS = 8
_MASKED = 0.15  # share of a text's tokens: Devlin et al. 2019 (arXiv:1810.04805), section 3.1


@dataclass(frozen=True)
class Encoded:
    """Samples as sequences of tokens, unpadded.

    Attributes:
        columns: the model's inputs by name, one list of ids a sequence.
        owner: the number of the sample that each sequence belongs to, in order: a long document gives several windows,
            a question of several choices one sequence a choice.
        words: for each token the number of the word that it is the first token of, or -1: the rows of a task of tokens.
            Empty for others.
        windows: the sequences of a task that looks for answers, with the places of their tokens in the text; empty for
            others.
        counted: for each token whether it counts: 1 for a word's first token, where an answer may begin or end, a mask,
            or where a token of a target comes next. Empty for tasks that give one row a sample. Of encoder-decoders,
            and so `originals`, for each token that the decoder reads.
        originals: for each token the id that a mask stands for, or that comes next in the target; `NO_CLASS` where
            there is none, or none is known. Empty for other tasks.
    """

    columns: dict[str, list[list[int]]]
    owner: list[int]
    words: list[list[int]]
    windows: list[Window]
    counted: list[list[int]]
    originals: list[list[int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.owner)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each sequence."""
        return [len(ids) for ids in self.columns["input_ids"]]

    def join(self, other: Encoded) -> Encoded:
        """These sequences, then the other's, of samples that are numbered on; for tasks without words or windows."""
        first = max(self.owner, default=-1) + 1
        return Encoded(
            {name: [*ids, *other.columns[name]] for name, ids in self.columns.items()},
            [*self.owner, *(first + owner for owner in other.owner)],
            [],
            [],
            [*self.counted, *other.counted],
            [*self.originals, *other.originals],
        )

    @property
    def parts(self) -> list[range]:
        """The numbers of each sample's sequences."""
        starts = [number for number, own in enumerate(self.owner) if number == 0 or self.owner[number - 1] != own]
        return list(map(range, starts, [*starts[1:], len(self.owner)]))


def encode_samples(samples: Sequence[Any], tokenizer: Any, task: Task, *, max_length: int) -> Encoded:
    """Cut samples into tokens as a task reads them, at most `max_length` a sequence.

    Args:
        samples: as `Dataset.inputs` gives them: texts, pairs of texts, words, questions with their contexts, or texts
            with their choices.
        tokenizer: a fast tokenizer of transformers.

    Raises:
        DataError: a question that leaves no room for its text, or a text that becomes no token.
        ModelError: masks are to be filled in, and the tokenizer has none.
    """
    longest = int(min(max_length, tokenizer.model_max_length))
    if isinstance(task, TokenClassification):
        return _words(samples, tokenizer, longest)
    if isinstance(task, QuestionAnswering):
        return _windows(samples, tokenizer, task, longest)
    if isinstance(task, FillMask):
        return _masked(samples, tokenizer, longest)
    owner = list(range(len(samples)))
    if isinstance(task, MultipleChoice):
        owner = [number for number, (_, choices) in enumerate(samples) for _ in choices]
        samples = [(text, choice) for text, choices in samples for choice in choices]
    texts = task.prompted(samples)
    if any(isinstance(text, tuple) and min(map(len, text)) > _WINDOWS * longest for text in texts):
        return Encoded(_cut_pairs(texts, tokenizer, longest), owner, [], [], [])
    return Encoded(_columns(tokenizer(texts, truncation=True, max_length=longest), tokenizer), owner, [], [], [])


def _columns(found: Any, tokenizer: Any) -> dict[str, list[list[int]]]:
    return {name: list(found[name]) for name in tokenizer.model_input_names}


def _cut_pairs(pairs: Sequence[Any], tokenizer: Any, longest: int) -> dict[str, list[list[int]]]:
    """Pairs of texts so long that the tokenizer's own cutting would take gigabytes, cut as a bundle cuts them."""
    found = tokenizer([first for first, _ in pairs], [second for _, second in pairs], verbose=False)
    from_left = tokenizer.truncation_side != "left"
    cut = [cut_pair(encoding, longest=longest, from_left=from_left) for encoding in found.encodings]
    return {name: [getattr(each, _FIELDS[name]) for each in cut] for name in tokenizer.model_input_names}


def _words(samples: Sequence[Any], tokenizer: Any, longest: int) -> Encoded:
    """Words that are given one by one, or texts, whose words the tokenizer tells."""
    columns: dict[str, list[list[int]]] = {name: [[]] * len(samples) for name in tokenizer.model_input_names}
    words: list[list[int]] = [[]] * len(samples)
    for split in (True, False):
        chosen = [number for number, sample in enumerate(samples) if isinstance(sample, tuple) == split]
        if not chosen:
            continue
        given = [list(samples[number]) if split else samples[number] for number in chosen]
        found = tokenizer(given, is_split_into_words=split, truncation=True, max_length=longest)
        for place, number in enumerate(chosen):
            words[number] = _first_tokens(found.word_ids(place))
            for name, values in columns.items():
                values[number] = found[name][place]
    counted = [[int(word >= 0) for word in row] for row in words]
    return Encoded(columns, list(range(len(samples))), words, [], counted)


def _first_tokens(word_ids: Sequence[int | None]) -> list[int]:
    """The word's number at its first token, -1 elsewhere."""
    before = [None, *word_ids[:-1]]
    return [-1 if word is None or word == last else word for word, last in zip(word_ids, before, strict=True)]


def _masked(samples: Sequence[Any], tokenizer: Any, longest: int) -> Encoded:
    """Texts that count at their masks. One without a mask gets some: a text has the same ones whenever it is read."""
    mask = tokenizer.mask_token_id
    if mask is None:
        raise ModelError("the tokenizer has no mask token.", hint="Give a model that was trained to fill in masks.")
    columns = _columns(tokenizer(list(samples), truncation=True, max_length=longest), tokenizer)
    special = set(tokenizer.all_special_ids)
    counted, originals = [], []
    for number, ids in enumerate(columns["input_ids"]):
        places = [] if mask in ids else _places_to_mask(ids, special)
        masked = [mask if place in places else token for place, token in enumerate(ids)]
        columns["input_ids"][number] = masked
        counted.append([int(token == mask) for token in masked])
        originals.append([token if place in places else NO_CLASS for place, token in enumerate(ids)])
    return Encoded(columns, list(range(len(samples))), [], [], counted, originals)


def _places_to_mask(ids: Sequence[int], special: set[int]) -> set[int]:
    """Of 15 % of the tokens, at least one, without special ones; chosen by a hash of all ids."""
    free = [place for place, token in enumerate(ids) if token not in special]
    if not free:
        return set()
    draw = np.random.default_rng(crc32(np.asarray(ids, dtype="<i8").tobytes()))
    return set(draw.choice(free, size=max(1, round(_MASKED * len(free))), replace=False).tolist())


def _windows(samples: Sequence[Any], tokenizer: Any, task: QuestionAnswering, longest: int) -> Encoded:
    """Texts in windows that overlap, each behind its question, as a bundle cuts them."""
    found = tokenizer([question for question, _ in samples], [text for _, text in samples], verbose=False)
    owner: list[int] = []
    windows: list[Window] = []
    for number, encoding in enumerate(found.encodings):
        cut = cut_windows(encoding, longest=longest, stride=task.stride, from_left=tokenizer.truncation_side != "left")
        owner += [number] * len(cut)
        windows += cut
    columns = {name: [getattr(window, _FIELDS[name]) for window in windows] for name in tokenizer.model_input_names}
    counted = [[int(side == 1) for side in window.sequence_ids] for window in windows]
    for window, row in zip(windows, counted, strict=True):
        row[null_place(window.ids, tokenizer)] = 1
    return Encoded(columns, owner, [], windows, counted)


def null_place(ids: Sequence[int], tokenizer: Any) -> int:
    """The token that stands for "no answer here": the classifier's token, or the first."""
    return list(ids).index(tokenizer.cls_token_id) if tokenizer.cls_token_id in ids else 0


def targets(encoded: Encoded, labels: Sequence[Any], task: Task) -> list[Any] | np.ndarray:
    """What a model of the task should answer.

    Args:
        labels: per sample as in `Dataset.labels`; None where a sample has none.

    Returns:
        tokens: per sequence a class for each token, `NO_CLASS` where it does not count; positions: per sequence
        the tokens (start, end) of the answer, the first token of all for a window without one; samples: (samples,)
        int64 classes, (samples, labels) float32 for several labels, (samples,) float32 values, where NaN is for none.
    """
    if encoded.originals:
        return encoded.originals
    if task.per == "token":
        return [_tags(row, labels[owner]) for row, owner in zip(encoded.words, encoded.owner, strict=True)]
    if task.per == "position":
        return [_answer(encoded, number, labels[owner]) for number, owner in enumerate(encoded.owner)]
    if task.output == "classes":
        return np.asarray([NO_CLASS if label is None else label for label in labels], dtype=np.int64)
    missing = (np.nan,) * len(task.labels) if task.output == "binary" else np.nan
    return np.asarray([missing if label is None else label for label in labels], dtype=np.float32)


def _tags(words: Sequence[int], tags: Sequence[int] | None) -> list[int]:
    return [NO_CLASS if word < 0 or tags is None else tags[word] for word in words]


def _answer(encoded: Encoded, number: int, answers: Sequence[tuple[str, int]] | None) -> tuple[int, int]:
    """Where a window's tokens hold the first answer whole."""
    if answers is None:
        return NO_CLASS, NO_CLASS
    window = encoded.windows[number]
    null = encoded.counted[number].index(1)
    if not answers:
        return null, null
    text, start = answers[0]
    end = start + len(text)
    inside = [
        token
        for token, (place, side) in enumerate(zip(window.offsets, window.sequence_ids, strict=True))
        if side == 1 and place[0] < end and place[1] > start
    ]
    whole = inside and window.offsets[inside[0]][0] <= start and window.offsets[inside[-1]][1] >= end
    return (inside[0], inside[-1]) if whole else (null, null)


def all_texts(rows: Dataset) -> Iterator[str]:
    """Every text of the rows: first ones, then second ones; words that stand alone are joined by blanks."""
    for text in rows.texts:
        yield as_text(text)
    for pair in rows.pairs or ():
        yield from (pair,) if isinstance(pair, str) else pair


def plain_inputs(rows: Dataset) -> list[str] | list[tuple[str, str]]:
    """What a tokenizer takes of each row: one text, or two; words and choices are joined by blanks."""
    texts = [as_text(text) for text in rows.texts]
    return texts if rows.pairs is None else list(zip(texts, map(as_text, rows.pairs), strict=True))


def padded(encoded: Encoded, numbers: Sequence[int], tokenizer: Any) -> dict[str, np.ndarray]:
    """Sequences as a graph's inputs, int64 (sequences, tokens), padded behind to the longest: padding before a text
    would move its places."""
    rows: Mapping[str, Any] = {name: [ids[number] for number in numbers] for name, ids in encoded.columns.items()}
    found = tokenizer.pad(rows, padding_side="right", return_tensors="np")
    return {name: np.asarray(found[name], dtype=np.int64) for name in encoded.columns}


def median_length(tokenizer: Any, task: Task, rows: Dataset, *, max_length: int, sample: int = 1000) -> int:
    """The median number of tokens of a sequence, each cut to `max_length`.

    Args:
        tokenizer: a fast tokenizer of transformers.
        sample: rows that are looked at, drawn at random.

    Raises:
        DataError: as `encode_samples`.
    """
    encoded = encode_samples(rows.sample(sample, seed=0).inputs(), tokenizer, task, max_length=max_length)
    return int(np.median(encoded.lengths))
