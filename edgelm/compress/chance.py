"""Whether a model does better than chance: than one that gives the same answer whatever the text is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgelm.tasks.task import Task

_SURE = 1.645  # standard errors: one model in twenty that learnt nothing comes out above


@dataclass(frozen=True)
class Chance:
    """A model's metric on evaluation rows, beside what chance reaches on them.

    Attributes:
        metric: the task's: accuracy, micro_f1 or spearman.
        score: of the model.
        level: of the best answer that never changes; of a correlation, 0.
        answer: that answer, in words.
        rows: that it was judged on.
        needed: what a model that learnt nothing stays below in nineteen of twenty cases.
    """

    metric: str
    score: float
    level: float
    answer: str
    rows: int
    needed: float

    @property
    def better(self) -> bool:
        """Whether the model is clearly above chance; where every row is answered right, rows may be few."""
        return self.score > self.level and self.score >= min(self.needed, 1.0)

    @property
    def finding(self) -> str:
        """What is said where it is not better, with both numbers."""
        hardly = self.score > self.level
        words = (
            f"{self.metric} {self.score:.4f} on the {self.rows} evaluation rows is no{' clearly' if hardly else ''} "
            "better than chance"
        )
        told = f"{words}: {self.answer} gives {self.level:.4f}"
        return f"{told}, and luck up to {min(self.needed, 1.0):.4f}." if hardly else f"{told}."

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"better": self.better}


def judge_chance(task: Task, metrics: dict[str, float], labels: Sequence[Any] | None) -> Chance | None:
    """A model's metrics against chance on the same rows; None where there are no labels, none that the metric is
    about, or where no answer that never changes says anything (spans of words, parts of a text).

    Args:
        labels: per row a class index, a tuple of 0/1, or a float.
    """
    if not labels or task.metric not in metrics or task.per != "sample":
        return None
    level, answer = 0.0, "any answer that has nothing to do with the text"
    if task.metric != "spearman":
        level, names = best_constant(task, labels)
        answer = f"always answering {' and '.join(map(repr, names))}"
    error = (
        1 / math.sqrt(max(len(labels) - 1, 1))
        if task.metric == "spearman"
        else math.sqrt(level * (1 - level) / len(labels))
    )
    return Chance(task.metric, metrics[task.metric], level, answer, len(labels), level + _SURE * error)


def best_constant(task: Task, labels: Sequence[Any]) -> tuple[float, tuple[str, ...]]:
    """What the best answer that never changes scores, by accuracy or micro-F1, and the labels of that answer.

    Of several labels at once the most frequent ones are best: with k of them micro-F1 is 2·hits / (k·rows + all labels
    given).
    """
    truth = np.asarray(labels)
    if task.output != "binary":
        counts = np.bincount(truth.astype(int), minlength=len(task.labels))
        best = int(counts.argmax())
        return float(counts.max() / len(truth)), (task.labels[best] if task.labels else f"choice {best + 1}",)
    counts = truth.sum(axis=0)
    order = np.argsort(-counts, kind="stable")
    sizes = np.arange(1, len(order) + 1)
    scores = 2 * np.cumsum(counts[order]) / (sizes * len(truth) + counts.sum())
    best = int(scores.argmax())
    return float(scores[best]), tuple(task.labels[int(index)] for index in order[: best + 1])
