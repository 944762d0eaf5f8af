"""Answers of multiple choice: the ending that goes best with a text."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgelm.runtime.answers.numbers import softmax
from edgelm.runtime.inputs.batch import Context
from edgelm.tasks.text import MultipleChoice

Answer = dict[str, Any]


def read_choices(task: MultipleChoice, outputs: np.ndarray, context: Context) -> list[Answer]:
    """One answer a sample.

    Args:
        outputs: (sequences, 1), the logit of each ending.

    Returns:
        the `choice` itself, its `index`, its `score`, and the `scores` of all endings in their order, which sum to one.
    """
    answers = []
    for (_, endings), rows in zip(context.samples, context.by_sample(), strict=True):
        scores = softmax(outputs[rows, 0].astype(np.float64))
        best = int(scores.argmax())
        answers.append(
            {"choice": endings[best], "index": best, "score": float(scores[best]), "scores": scores.tolist()}
        )
    return answers
