"""Small rows of every kind of task, made of the texts of `models.TEXTS`."""

from __future__ import annotations

import random

from models import TEXTS

from edgelm.data.dataset import Dataset

TAGS = ("O", "B-PLACE", "I-PLACE")
PLACES = ("kitchen lights", "living room", "the thermostat")


def words_and_tags(text: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The words of a text with a tag each."""
    words = text.split()
    tags = [0] * len(words)
    for place in PLACES:
        parts = place.split()
        for start in range(len(words) - len(parts) + 1):
            if words[start : start + len(parts)] == parts:
                tags[start : start + len(parts)] = [1] + [2] * (len(parts) - 1)
    return tuple(words), tuple(tags)


def rows_of(kind: str, count: int = 16, seed: int = 0) -> Dataset:
    """Labelled rows of a kind of task."""
    draw = random.Random(seed)
    if kind == "token-classification":
        rows = [words_and_tags(TEXTS[index % len(TEXTS)]) for index in range(count)]
        texts, labels = zip(*rows, strict=True)
        return Dataset("memory", texts, labels=labels, label_names=TAGS, schema="words")
    if kind == "question-answering":
        contexts = [" ".join(draw.sample(TEXTS, 4)) for _ in range(count)]
        answers = [draw.choice(context.split()) for context in contexts]
        return Dataset(
            "memory",
            tuple(f"is it {answer}" for answer in answers),
            tuple(contexts),
            tuple(((answer, context.index(answer)),) for answer, context in zip(answers, contexts, strict=True)),
            schema="answers",
        )
    if kind == "multiple-choice":
        chosen = [tuple(draw.sample(TEXTS, 3)) for _ in range(count)]
        return Dataset(
            "memory",
            tuple(draw.choice(TEXTS) for _ in range(count)),
            tuple(chosen),
            tuple(draw.randrange(3) for _ in range(count)),
            label_names=("A", "B", "C"),
            problem="single-label",
            schema="choices",
        )
    texts = tuple(TEXTS[index % len(TEXTS)] for index in range(count))
    if kind == "text-classification":
        labels = tuple(index % 2 for index in range(count))
        return Dataset("memory", texts, None, labels, ("negative", "positive"), "single-label")
    return Dataset("memory", texts)
