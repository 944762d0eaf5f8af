"""Robustness: do answers stay what they are when the same texts come with typos or in other case, and are long texts
answered as well as short ones?

Source: Ribeiro et al. 2020, "Beyond Accuracy: Behavioral Testing of NLP Models with CheckList" (arXiv:2005.04118):
invariance tests.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgelm.data.dataset import Dataset
from edgelm.report.answers import Answerer, Answers, say

MOST_ROWS = 500  # that are asked again, changed in every way; the first ones of a random order, always the same
_EVERY = 5  # words of which one gets a typo
_PARTS = 3  # short, middling and long texts


def _typos(text: str, drawn: random.Random) -> str:
    """Two neighbouring letters change places in one word of five, and in one of shorter texts."""
    words = text.split(" ")
    long = [number for number, word in enumerate(words) if len(word) > 3 and word.isalpha()]
    for number in drawn.sample(long, min(len(long), max(1, len(words) // _EVERY))):
        word = words[number]
        place = drawn.randrange(1, len(word) - 1)
        words[number] = word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    return " ".join(words)


CHANGES: dict[str, Callable[[str, random.Random], str]] = {
    "typos": _typos,
    "lower case": lambda text, _: text.lower(),
    "upper case": lambda text, _: text.upper(),
}


def change(sample: Any, how: str, *, seed: int = 0) -> Any:
    """A sample, a text or a tuple of texts, with every text changed in one of the ways of `CHANGES`."""
    drawn = random.Random(f"{seed} {sample}")
    if isinstance(sample, str):
        return CHANGES[how](sample, drawn)
    return tuple(change(part, how, seed=seed) for part in sample)


def chosen_rows(count: int) -> list[int]:
    """The numbers of the rows that are changed: all of them, or as many as there is time for."""
    order = np.random.default_rng(0).permutation(count)[:MOST_ROWS]
    return sorted(int(number) for number in order)


def measure_changes(answerer: Answerer, answers: Answers, rows: Dataset, truth: Sequence[str]) -> list[dict[str, Any]]:
    """JSON-ready, of each way to change texts: the share of answers that stay the same and, with labels, accuracy on
    the changed texts and on the same texts as they were."""
    numbers = chosen_rows(len(rows))
    samples = rows.inputs()
    found = []
    for how in CHANGES:
        words = [say(answer) for answer in answerer([change(samples[number], how) for number in numbers])]
        entry: dict[str, Any] = {"change": how, "rows": len(numbers)}
        same = [word == answers.words[number] for word, number in zip(words, numbers, strict=True)]
        entry["same"] = float(np.mean(same))
        if truth:
            right = [word == truth[number] for word, number in zip(words, numbers, strict=True)]
            entry["accuracy"] = float(np.mean(right))
            entry["accuracy_before"] = float(np.mean([answers.right[number] for number in numbers]))
        found.append(entry)
    return found


def measure_lengths(answers: Answers, rows: Dataset) -> list[dict[str, Any]]:
    """JSON-ready, of short, middling and long texts, a third of the rows each: words from and to, and accuracy."""
    if not answers.right or len(rows) < _PARTS:
        return []
    words = np.asarray([_words(sample) for sample in rows.inputs()])
    found = []
    for part in np.array_split(np.argsort(words, kind="stable"), _PARTS):
        right = np.asarray(answers.right)[part]
        span = {"from": int(words[part].min()), "to": int(words[part].max())}
        found.append(span | {"rows": len(part), "accuracy": float(right.mean())})
    return found


def _words(sample: Any) -> int:
    return len(sample.split()) if isinstance(sample, str) else sum(_words(part) for part in sample)
