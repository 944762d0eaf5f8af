"""Which texts to calibrate on."""

from __future__ import annotations

import random

import numpy as np

from edgelm.data.dataset import Dataset, as_text
from edgelm.errors import CalibrationError

_CANDIDATES = 10_000  # that the search for diverse texts looks at


def choose_samples(rows: Dataset, count: int, how: str, *, seed: int = 0) -> Dataset:
    """`count` rows, in random order (all of them, if there are fewer).

    Args:
        how: random; length: evenly spread over the lengths of the texts; label: as many of each label; diverse: each
            text as far as possible from those before, in the words it uses (greedy k-center, Sener & Savarese 2018, on
            TF-IDF vectors).

    Raises:
        CalibrationError: `label` without class labels.
    """
    if how == "length":
        order = sorted(range(len(rows)), key=lambda index: len(rows.texts[index]))
        picks = [order[int(place)] for place in np.linspace(0, len(order) - 1, min(count, len(order)))]
    elif how == "label":
        picks = _by_label(rows, count, seed)
    elif how == "diverse":
        candidates = sorted(random.Random(seed).sample(range(len(rows)), min(_CANDIDATES, len(rows))))
        texts = [as_text(sample) for sample in rows.take(candidates).inputs()]
        picks = [candidates[index] for index in _most_diverse(texts, min(count, len(texts)), seed)]
    else:
        picks = random.Random(seed).sample(range(len(rows)), min(count, len(rows)))
    random.Random(seed).shuffle(picks)
    return rows.take(picks)


def _by_label(rows: Dataset, count: int, seed: int) -> list[int]:
    if rows.labels is None or rows.problem != "single-label":
        raise CalibrationError(
            f"{rows.source}: no class labels to choose calibration texts by.",
            hint="Use --calibration-choice random, length or diverse.",
        )
    order = random.Random(seed).sample(range(len(rows)), len(rows))
    turns: dict[object, int] = {}
    ranked = []
    for index in order:  # the n-th text of its label comes in round n
        label = rows.labels[index]
        turns[label] = turns.get(label, 0) + 1
        ranked.append((turns[label], index))
    ranked.sort(key=lambda item: item[0])
    return [index for _, index in ranked[:count]]


def _most_diverse(texts: list[str], count: int, seed: int) -> list[int]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    try:
        vectors = TfidfVectorizer().fit_transform(texts)
    except ValueError:  # no words at all: nothing to tell the texts apart by
        return list(range(count))
    picks = [random.Random(seed).randrange(len(texts))]
    nearest = np.full(len(texts), -np.inf)
    while len(picks) < count:
        nearest = np.maximum(nearest, (vectors @ vectors[picks[-1]].T).toarray().ravel())
        nearest[picks[-1]] = np.inf
        picks.append(int(np.argmin(nearest)))
    return picks
