"""What is measured on: texts as a graph's inputs, in batches, at their own lengths or stretched to one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgelm.dataset import Dataset
from edgelm.errors import BundleError
from edgelm.profile.subject import Subject
from edgelm.runtime import Model, load, open_bundle
from edgelm.runtime.golden import Golden
from edgelm.runtime.manifest import GOLDEN_FILE

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
    """Per subject and case the inputs of the calls: through a bundle's own tokenizer, else through that of the first."""
    made: list[list[list[Feeds]]] = []
    for entry in subjects:
        if entry.kind != "bundle":
            made.append([[_with_types(feeds) for feeds in case] for case in made[0]])
            continue
        model = load(entry.path, threads=1)  # for its tokenizer; one thread, so that nothing of this process spins
        made.append([_case_feeds(model, texts, batch, sequence) for batch, sequence in grid])
    return made


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
