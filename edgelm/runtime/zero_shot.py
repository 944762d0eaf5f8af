"""Zero-shot classification: labels that a model was never trained on, by one that tells what follows from a text.

Each label becomes a sentence, and the model says whether the text entails it. Source: Yin, Hay, Roth 2019
(arXiv:1909.00161); scores as transformers' zero-shot classification pipeline computes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgelm.errors import UsageError
from edgelm.runtime.answers.classes import name_best, name_fitting
from edgelm.runtime.answers.numbers import check_finite, softmax
from edgelm.runtime.model import Model
from edgelm.tasks.task import Task
from edgelm.tasks.text import TextClassification

TEMPLATE = "This example is {}."


def classify(
    model: Model,
    texts: str | Sequence[str],
    labels: Sequence[str],
    *,
    template: str = TEMPLATE,
    multi_label: bool = False,
    batch_size: int = 32,
) -> Any:
    """Classify one text, or a list of them, among any labels.

    Args:
        model: of pairs of texts, with a label that begins with "entail".
        labels: the classes, in words.
        template: the sentence that a label becomes: it stands where the template has `{}`.
        multi_label: several labels may fit. Each is then judged against contradiction, for itself; otherwise the
            scores of all labels sum to one. A lone label is judged so too.
        batch_size: how many pairs the model reads at once.

    Returns:
        an answer, or a list of answers, as text classification has them: `label`, `score` and the `scores` of all
        labels; with `multi_label`, the `labels` with a score of at least 0.5, and all scores.

    Raises:
        UsageError: the model cannot tell what follows from a text; no labels, an empty one, or one that stands there
            twice; a template without a place for a label.
    """
    entailment, contradiction = _find_labels(model.manifest.task)
    _check_labels(labels, template)
    single = isinstance(texts, str)
    answers = []
    for text in [texts] if isinstance(texts, str) else texts:
        pairs = [(text, template.replace("{}", label)) for label in labels]
        step = batch_size if model.padded else 1
        logits = np.concatenate(
            [model.infer(model.tokenize(pairs[at : at + step])) for at in range(0, len(pairs), step)]
        ).astype(np.float64)
        check_finite(logits)
        if multi_label or len(labels) == 1:
            scores = softmax(logits[:, [contradiction, entailment]])[:, 1]
        else:
            scores = softmax(logits[:, entailment])
        answers.append((name_fitting if multi_label else name_best)(labels, scores))
    return answers[0] if single else answers


def _find_labels(task: Task) -> tuple[int, int]:
    """Which logit says that a text entails another, and which that it contradicts it."""
    names = [label.lower() for label in task.labels]
    entailment = next((index for index, name in enumerate(names) if name.startswith("entail")), None)
    readable = isinstance(task, TextClassification) and task.pair and task.output == "classes" and len(names) > 1
    if not readable or entailment is None:
        what = f"has the labels {', '.join(task.labels) or 'none'}" if readable else "does not classify pairs of texts"
        raise UsageError(
            f"labels of one's own need a model that tells whether a text entails another; this one {what}.",
            hint="Export one that was trained on natural language inference, with the labels entailment, neutral and "
            "contradiction.",
        )
    others = [index for index, name in enumerate(names) if name.startswith("contradict")]
    return entailment, others[0] if others else (len(names) - 1 if entailment == 0 else 0)


def _check_labels(labels: Sequence[str], template: str) -> None:
    if isinstance(labels, str) or not all(isinstance(label, str) for label in labels):
        raise UsageError("labels are a list of texts.", hint='classify(model, text, ["sports", "politics"])')
    if not labels or not all(label.strip() for label in labels):
        raise UsageError("there are no labels, or one is empty.", hint='In words: --labels "sports,politics".')
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if list(labels).count(label) > 1)
        raise UsageError(f"the label {twice!r} stands there twice.", hint="Give each label once.")
    if "{}" not in template:
        raise UsageError(
            f"the template {template!r:.60} has no place for a label.", hint=f'Put {{}} there: --template "{TEMPLATE}"'
        )
