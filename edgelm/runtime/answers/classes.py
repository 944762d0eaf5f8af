"""Answers of text classification and sentence embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgelm.errors import BundleError
from edgelm.runtime.answers.numbers import check_finite, sigmoid, softmax
from edgelm.tasks.task import Task
from edgelm.tasks.text import SentenceEmbedding, TextClassification

Answer = dict[str, Any]


def read_answers(task: Task, outputs: np.ndarray) -> list[Answer]:
    """One answer a row.

    Args:
        outputs: (rows, labels) logits or (rows, hidden) sentence vectors.

    Returns:
        single-label: label, score and the scores of all labels (softmax; of a lone logit the sigmoid); multi-label:
            labels with a score
        of at least 0.5, and all scores (sigmoid); regression: the value as score, or of several labels as their scores,
        through the task's activation; embeddings: the vector.

    Raises:
        BundleError: an output is no finite number.
    """
    check_finite(outputs)
    outputs = outputs.astype(np.float64)
    if isinstance(task, SentenceEmbedding):
        return [{"embedding": row.tolist()} for row in outputs]
    if not isinstance(task, TextClassification):
        raise BundleError(
            f"the manifest's task is {task.kind}, whose answers are not classes.", hint="Export it again."
        )
    if task.problem == "regression":
        values = sigmoid(outputs) if task.activation == "sigmoid" else outputs
        if len(task.labels) > 1:
            return [{"scores": dict(zip(task.labels, row.tolist(), strict=True))} for row in values]
        return [{"score": float(row[0])} for row in values]
    if task.problem == "multi-label":
        return [name_fitting(task.labels, row) for row in sigmoid(outputs)]
    if outputs.shape[1] == 1:
        return [name_best(task.labels, row) for row in sigmoid(outputs)]
    return [name_best(task.labels, row) for row in softmax(outputs)]


def class_width(task: Task) -> int | None:
    """How many values a row of outputs has; None: any number, as a vector does."""
    return max(len(task.labels), int(task.output == "values")) if isinstance(task, TextClassification) else None


def name_best(labels: Sequence[str], scores: np.ndarray) -> Answer:
    """The answer where one label fits: the first of the best ones."""
    best = int(scores.argmax())
    return {
        "label": labels[best],
        "score": float(scores[best]),
        "scores": dict(zip(labels, scores.tolist(), strict=True)),
    }


def name_fitting(labels: Sequence[str], scores: np.ndarray) -> Answer:
    """The answer where several labels may fit: those with a score of at least 0.5."""
    named = dict(zip(labels, scores.tolist(), strict=True))
    return {"labels": [label for label, score in named.items() if score >= 0.5], "scores": named}
