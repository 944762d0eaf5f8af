"""From outputs to answers: plain dictionaries, ready for JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgelm.errors import BundleError
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
    if not np.isfinite(outputs).all():
        raise BundleError(
            "the model's output is not a number (NaN or infinite).",
            hint="Check the bundle with `edgelm verify`, or export it again.",
        )
    outputs = outputs.astype(np.float64)
    if isinstance(task, SentenceEmbedding):
        return [{"embedding": row.tolist()} for row in outputs]
    if not isinstance(task, TextClassification):
        raise BundleError(
            f"the manifest's task is {task.kind}, whose answers are not classes.", hint="Export it again."
        )
    if task.problem == "regression":
        values = _sigmoid(outputs) if task.activation == "sigmoid" else outputs
        if len(task.labels) > 1:
            return [{"scores": dict(zip(task.labels, row.tolist(), strict=True))} for row in values]
        return [{"score": float(row[0])} for row in values]
    if task.problem == "multi-label":
        return [_several(task, row) for row in _sigmoid(outputs)]
    if outputs.shape[1] == 1:
        return [_one(task, row) for row in _sigmoid(outputs)]
    shifted = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return [_one(task, row) for row in shifted / shifted.sum(axis=1, keepdims=True)]


def check_outputs(task: Task, outputs: Any, *, rows: int) -> None:
    """Refuse what is no output of the task: (rows, labels) logits or (rows, hidden) sentence vectors.

    Raises:
        BundleError: they have another shape, or are no floats.
    """
    shape: tuple[int, ...] = getattr(outputs, "shape", ())
    dtype = getattr(outputs, "dtype", type(outputs).__name__)
    width = max(len(task.labels), int(task.output == "values")) if isinstance(task, TextClassification) else None
    fits = len(shape) == 2 and shape[0] == rows and (shape[1] == width if width is not None else shape[1] > 0)
    if not fits or getattr(dtype, "kind", "") != "f":
        wanted = "any width" if width is None else width
        raise BundleError(
            f"the graph gives {dtype} of shape {shape}; the task needs ({rows}, {wanted}).",
            hint="Export the bundle again.",
        )


def _sigmoid(outputs: np.ndarray) -> np.ndarray:
    scores: np.ndarray = 1 / (1 + np.exp(-np.clip(outputs, -60, 60)))
    return scores


def _one(task: Task, scores: np.ndarray) -> Answer:
    best = int(scores.argmax())
    return {
        "label": task.labels[best],
        "score": float(scores[best]),
        "scores": dict(zip(task.labels, scores.tolist(), strict=True)),
    }


def _several(task: Task, scores: np.ndarray) -> Answer:
    named = dict(zip(task.labels, scores.tolist(), strict=True))
    return {"labels": [label for label, score in named.items() if score >= 0.5], "scores": named}
