"""What is measured on: texts as a graph's inputs, in batches, at their own lengths or stretched to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgelm.dataset import Dataset
from edgelm.errors import BundleError
from edgelm.profile.subject import Subject
from edgelm.runtime import Model, load, open_bundle
from edgelm.runtime.golden import Golden
from edgelm.runtime.manifest import GOLDEN_FILE, TOKENIZER_FILE

_MAX_TEXTS = 200

Feeds = dict[str, Any]


def find_texts(first: Subject, data: Dataset | None) -> list[Any]:
    """Texts of a data set, or the golden samples of a bundle.

    Raises:
        BundleError: it has none.
    """
    if data is not None:
        return list(data.sample(_MAX_TEXTS).inputs())
    golden = Golden.from_json(open_bundle(first.path).read(GOLDEN_FILE)).texts
    if not golden:
        raise BundleError(f"{first.path}: {GOLDEN_FILE} holds no samples.", hint="Give texts with --data FILE.")
    return [tuple(text) if isinstance(text, list) else text for text in golden]


def make_feeds(subjects: Sequence[Subject], texts: list[Any], grid: Sequence[tuple[int, int | None]]) -> list[list[list[Feeds]]]:
    """Per subject and case the inputs of the calls: through its own tokenizer, or through that of the first where it brings none."""
    made: list[list[list[Feeds]]] = []
    for entry in subjects:
        reader = _reader(entry, subjects[0])
        cases = made[0] if reader is None else [_case_feeds(reader, texts, batch, sequence) for batch, sequence in grid]
        made.append(cases if entry.kind == "bundle" else [[_with_types(feeds) for feeds in case] for case in cases])
    return made


def _reader(entry: Subject, first: Subject) -> Model | None:
    """What turns texts into a subject's inputs. A checkpoint's tokens may be others than the first's: one of the two may have lost some."""
    if entry.kind == "bundle":
        return load(entry.path, threads=1)  # for its tokenizer; one thread, so that nothing of this process spins
    file = entry.path / TOKENIZER_FILE
    if entry.kind != "pytorch" or not file.is_file():
        return None
    from tokenizers import Tokenizer

    reader = load(first.path, threads=1)
    reading = reader.manifest.tokenization
    reader.tokenizer = Tokenizer.from_file(str(file))
    reader.tokenizer.enable_truncation(reading.max_length)
    reader.tokenizer.no_padding()
    padding = reader.tokenizer.token_to_id(reading.pad_token)
    if padding is not None:
        reader.manifest = replace(reader.manifest, tokenization=replace(reading, pad_id=padding))
    return reader


def _case_feeds(model: Model, texts: list[Any], batch: int, sequence: int | None) -> list[Feeds]:
    groups = [[texts[(start + offset) % len(texts)] for offset in range(batch)] for start in range(0, len(texts), batch)]
    if sequence is None:
        found = [model.tokenize(group) for group in groups]
    else:
        found = [_stretch([model.tokenize([text]) for text in group], sequence) for group in groups]
    return [{name: values.tolist() for name, values in feeds.items()} for feeds in found]


def _stretch(rows: Sequence[dict[str, np.ndarray]], sequence: int) -> dict[str, np.ndarray]:
    """Rows of exactly `sequence` tokens: the real ones repeated or cut, all attended to, (batch, sequence)."""
    return {name: np.stack([np.resize(row[name][0], sequence) for row in rows]) for name in rows[0]}


def _with_types(feeds: Feeds) -> Feeds:
    """Token types of zero, where the first bundle has none but another graph may ask for them."""
    return {"token_type_ids": [[0] * len(row) for row in feeds["input_ids"]]} | feeds
