"""What only rows can say of a task: which labels there are, whether texts come in pairs, how many choices there are."""

from __future__ import annotations

from dataclasses import replace

from edgelm.data.dataset import Dataset
from edgelm.tasks.table import TASKS
from edgelm.tasks.task import Task
from edgelm.tasks.text import FillMask, MultipleChoice, QuestionAnswering, TextClassification, TokenClassification


def task_of_rows(kind: str, rows: Dataset) -> Task:
    """The task that labelled rows are of.

    Args:
        kind: of a task that is trained on labels.
    """
    if kind == TokenClassification.kind:
        return TokenClassification(rows.label_names)
    if kind == QuestionAnswering.kind:
        return completed(QuestionAnswering(), rows)
    if kind == MultipleChoice.kind:
        return completed(MultipleChoice(), rows)
    if kind == FillMask.kind or TASKS[kind].generates:
        return TASKS[kind]()
    return TextClassification(rows.problem or "single-label", rows.label_names, pair=rows.pairs is not None)


def completed(task: Task, rows: Dataset) -> Task:
    """A model's task with what its configuration cannot say, and rows for it do."""
    if isinstance(task, TextClassification):
        return replace(task, pair=rows.pairs is not None)
    if isinstance(task, QuestionAnswering):
        return replace(task, null_answers=task.null_answers or any(answers == () for answers in rows.labels or ()))
    if isinstance(task, MultipleChoice) and not task.choices and rows.pairs:
        return replace(task, choices=len(rows.pairs[0]))
    return task
