"""Asking models for answers to rows of data, for every kind of task: in words, with what they are worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgelm.data.dataset import Dataset
from edgelm.errors import MissingExtraError
from edgelm.metrics.scores import correlations, pair_similarity
from edgelm.metrics.spans import span_scores, spans_of
from edgelm.metrics.squad import answer_scores
from edgelm.metrics.texts import judge_texts
from edgelm.report.answers import NONE, Answerer, Answers, say, truths
from edgelm.tasks.task import Task

_BLOCK = 1024  # vectors that are held against all others at once


def ask(name: str, answerer: Answerer, task: Task, rows: Dataset) -> Answers:
    """Have a model answer every row.

    Of a model that gives numbers an answer is these; of one that gives vectors the cosine similarity of a pair, and of
    single texts the other row that stands nearest.

    Args:
        rows: with labels as the task has them, or without.
    """
    if task.output == "vectors":
        return _ask_for_vectors(name, answerer, task, rows)
    found = answerer(rows.inputs())
    if task.output == "values":
        numbers = tuple(tuple(answer.get("scores", {"": answer.get("score")}).values()) for answer in found)
        return _numbers(name, task, numbers, rows)
    words = tuple(say(answer) for answer in found)
    scores = tuple(score for answer in found if (score := _confidence(task, answer)) is not None)
    truth = truths(task, rows)
    right = tuple(word == true for word, true in zip(words, truth, strict=True)) if truth else ()
    return Answers(name, words, scores, right, figure=_figure(task, found, rows))


def right_words(task: Task, rows: Dataset) -> tuple[str, ...]:
    """Of each row what would be right, in words, where an answer may be right in part; empty without labels."""
    say_right = _RIGHT.get(task.schema if task.output != "values" else "numbers")
    if rows.labels is None or say_right is None:
        return ()
    return tuple(say_right(task, rows.texts[number], label) or NONE for number, label in enumerate(rows.labels))


def _ask_for_vectors(name: str, answerer: Answerer, task: Task, rows: Dataset) -> Answers:
    sides = [_vectors(answerer, texts) for texts in (rows.texts, rows.pairs) if texts is not None]
    if len(sides) == 2:
        return _numbers(name, task, tuple((float(value),) for value in pair_similarity(*sides)), rows)
    nearest = _nearest(sides[0]) if len(rows) > 1 else []
    return Answers(name, tuple(str(rows.texts[place]) for place in nearest) or (NONE,) * len(rows))


def _vectors(answerer: Answerer, texts: Sequence[Any]) -> np.ndarray:
    return np.array([answer["embedding"] for answer in answerer(list(texts))], dtype=np.float32)


def _nearest(vectors: np.ndarray) -> list[int]:
    """For each vector the row of the other one at the smallest angle; the first of equal ones."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    found: list[int] = []
    for start in range(0, len(unit), _BLOCK):
        cosines = unit[start : start + _BLOCK] @ unit.T
        cosines[np.arange(len(cosines)), np.arange(start, start + len(cosines))] = -np.inf
        found += cosines.argmax(axis=1).tolist()
    return found


def _numbers(name: str, task: Task, numbers: tuple[tuple[float, ...], ...], rows: Dataset) -> Answers:
    labels = task.labels if len(task.labels) > 1 else ("",)
    words = tuple(
        ", ".join(f"{label} {value:.4g}".strip() for label, value in zip(labels, row, strict=True)) for row in numbers
    )
    figure = None
    if rows.labels is not None and len(labels) == 1:
        truth = np.array(rows.labels, dtype=np.float64).reshape(len(rows), -1)
        figure = task.metric, correlations(np.array(numbers)[:, 0], truth[:, 0])[task.metric]
    return Answers(name, words, numbers=numbers, figure=figure)


def _figure(task: Task, found: Sequence[dict[str, Any]], rows: Dataset) -> tuple[str, float] | None:
    """The task's metric; None where rows have no labels, or accuracy says it."""
    measure = _FIGURES.get(task.schema)
    if rows.labels is None or measure is None:
        return None
    try:
        values = measure(task, found, rows.labels)
    except MissingExtraError:  # of a library that counts, which not everybody has who compares
        return None
    return task.metric, float(values[task.metric])


def _tags(task: Task, label: Sequence[int]) -> list[str]:
    return [task.labels[tag] if tag >= 0 else "O" for tag in label]


def _judge_tags(task: Task, found: Sequence[dict[str, Any]], labels: Sequence[Any]) -> dict[str, float]:
    return span_scores([_tags(task, label) for label in labels], [answer["tags"] for answer in found])


def _judge_spans(task: Task, found: Sequence[dict[str, Any]], labels: Sequence[Any]) -> dict[str, float]:
    return answer_scores([answer["answer"] for answer in found], [[text for text, _ in label] for label in labels])


def _judge_written(task: Task, found: Sequence[dict[str, Any]], labels: Sequence[Any]) -> dict[str, float]:
    return judge_texts(task, [answer["text"] for answer in found], labels)


def _right_spans(task: Task, words: Any, label: Sequence[int]) -> str:
    spans = spans_of(_tags(task, label))
    return ", ".join(f"{' '.join(words[first:end])} ({kind})" for kind, first, end in spans)


_FIGURES: dict[str, Callable[[Task, Sequence[dict[str, Any]], Sequence[Any]], dict[str, float]]] = {
    "words": _judge_tags,
    "answers": _judge_spans,
    "targets": _judge_written,
}
_RIGHT: dict[str, Callable[[Task, Any, Any], str]] = {
    "words": _right_spans,
    "answers": lambda task, text, label: " / ".join(dict.fromkeys(answer for answer, _ in label)),
    "targets": lambda task, text, label: " / ".join(label),
    "prompts": lambda task, text, label: label or "",
    "numbers": lambda task, text, label: f"{np.ravel(label)[0]:.4g}" if np.size(label) == 1 else "",
}


def _confidence(task: Task, answer: dict[str, Any]) -> float | None:
    """The probability of the answer, of tasks in which one class is right."""
    if task.output != "classes" or task.kind not in ("text-classification", "multiple-choice"):
        return None
    return float(answer["score"])
