"""What is measured on: texts as a graph's inputs, in batches, at their own lengths or stretched to one; or made-up
tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgelm.data.dataset import Dataset
from edgelm.errors import DataError, UsageError
from edgelm.profile.subject import Subject
from edgelm.runtime import open_bundle
from edgelm.runtime.golden import Golden
from edgelm.runtime.inputs.samples import check_sample
from edgelm.runtime.inputs.text import TextProcessor, load_text_processor, make_encoder
from edgelm.runtime.manifest import GOLDEN_FILE, TOKENIZER_FILE
from edgelm.tasks.task import Task

_MAX_TEXTS = 200
_MADE_UP_LENGTHS = (32, 128)  # tokens, where neither texts nor lengths are given

Feeds = dict[str, Any]


def find_texts(subjects: Sequence[Subject], data: Dataset | None) -> list[Any]:
    """Texts of a data set, or the golden samples of the first bundle; none where checkpoints stand alone.

    Raises:
        BundleError: it has none that prove anything.
    """
    if data is not None:
        return list(data.sample(_MAX_TEXTS).inputs())
    reader = _first_bundle(subjects)
    if reader is None:
        return []
    golden = Golden.from_json(open_bundle(reader.path).read(GOLDEN_FILE))
    return [golden.sample(index) for index in range(len(golden.texts))]


def made_up_lengths(subjects: Sequence[Subject]) -> tuple[int, ...]:
    """Tokens of the texts that are made up where no length is asked for, as far as all subjects read."""
    longest = min((entry.longest for entry in subjects if entry.longest), default=_MADE_UP_LENGTHS[-1])
    return tuple(dict.fromkeys(min(length, longest) for length in _MADE_UP_LENGTHS))


def make_feeds(
    subjects: Sequence[Subject], texts: list[Any], grid: Sequence[tuple[int, int | None]]
) -> list[list[list[Feeds]]]:
    """Per subject and case the inputs of the calls: through its own tokenizer, or through that of the first bundle, of
    the first checkpoint where there is none, if it brings none. Without texts they are made up.

    Raises:
        DataError: samples of another kind than the bundle's task reads, such as single texts where it reads pairs.
        UsageError: batches of texts of their own lengths, for a graph that reads no mask.
        ModelError: a checkpoint without a tokenizer.
    """
    reader = _first_bundle(subjects)
    own = [_own_cases(entry, reader, texts, grid) for entry in subjects]
    usual = own[0 if reader is None else subjects.index(reader)] or []
    return [
        cases if entry.kind == "bundle" else [[_with_types(feeds) for feeds in case] for case in cases]
        for entry, cases in (
            (entry, usual if found is None else found) for entry, found in zip(subjects, own, strict=True)
        )
    ]


def _first_bundle(subjects: Sequence[Subject]) -> Subject | None:
    return next((entry for entry in subjects if entry.kind == "bundle"), None)


def _own_cases(
    entry: Subject, reader: Subject | None, texts: list[Any], grid: Sequence[tuple[int, int | None]]
) -> list[list[Feeds]] | None:
    """The calls of a subject through what it brings; None: it brings nothing to read with."""
    if entry.kind == "pytorch" and reader is None:
        from edgelm.profile.checkpoint_inputs import checkpoint_feeds  # which needs torch

        return checkpoint_feeds(entry, texts, grid)
    encode = None if reader is None else _encoder(entry, reader)
    if encode is None:
        return None
    check_kind(entry, encode.manifest.task, texts[0])
    return [case_feeds(encode, texts, batch, sequence) for batch, sequence in grid]


def check_kind(entry: Subject, task: Task, sample: Any) -> None:
    """Refuse samples that a task does not read.

    Raises:
        DataError: one of another kind, such as a single text where pairs are read.
    """
    if task.schema == "text" and task.pair != isinstance(sample, tuple):
        kinds = ("pairs of texts", "single texts") if task.pair else ("single texts", "pairs of texts")
        raise DataError(
            f"{entry.path} reads {kinds[0]}; those to measure on are {kinds[1]}.",
            hint="Name the second column with --pair-column, or give pairs with --data."
            if task.pair
            else "Give single texts with --data.",
        )
    try:
        check_sample(task, sample)
    except UsageError as error:
        raise DataError(
            f"{entry.path}: {error.message.rstrip('.')}.", hint=f"Give rows for {task.kind} with --data."
        ) from error


def _encoder(entry: Subject, reader: Subject) -> TextProcessor | None:
    """What turns texts into a subject's inputs. A checkpoint's tokens may be others than the bundle's: one of the two
    may have lost some."""
    if entry.kind == "bundle":
        return load_text_processor(open_bundle(entry.path))
    file = entry.path / TOKENIZER_FILE
    if entry.kind != "pytorch" or not file.is_file():
        return None
    from tokenizers import Tokenizer

    manifest, tokenizer = open_bundle(reader.path).manifest, Tokenizer.from_file(str(file))
    reading = manifest.tokenization
    padding = tokenizer.token_to_id(reading.pad_token)
    own = reading if padding is None else replace(reading, pad_id=padding)
    return make_encoder(replace(manifest, tokenization=own), tokenizer)


def case_feeds(
    encode: Callable[[list[Any]], Mapping[str, np.ndarray]], texts: list[Any], batch: int, sequence: int | None
) -> list[Feeds]:
    """The inputs of the calls of a case: so many texts in each, of their own lengths or stretched to `sequence`."""
    found = [
        encode(group) if sequence is None else _stretch([encode([text]) for text in group], sequence)
        for group in _in_groups(texts, batch)
    ]
    return [{name: values.tolist() for name, values in feeds.items()} for feeds in found]


def _in_groups(texts: list[Any], batch: int) -> list[list[Any]]:
    """Texts of each call; the last call begins anew."""
    return [[texts[(start + offset) % len(texts)] for offset in range(batch)] for start in range(0, len(texts), batch)]


def _stretch(rows: Sequence[Mapping[str, np.ndarray]], sequence: int) -> dict[str, np.ndarray]:
    """Rows of exactly `sequence` tokens: the real ones repeated or cut, all attended to, (batch, sequence).

    Of a sample with several sequences the first is taken.
    """
    return {name: np.stack([np.resize(row[name][0], sequence) for row in rows]) for name in rows[0]}


def _with_types(feeds: Feeds) -> Feeds:
    """Token types of zero, where the first bundle has none but another graph may ask for them."""
    return {"token_type_ids": [[0] * len(row) for row in feeds["input_ids"]]} | feeds
