"""Every kind of task, and how a task is read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from edgelm.tasks.generation import GenerationSettings, Summarization, TextGeneration, Translation
from edgelm.tasks.task import Task
from edgelm.tasks.text import (
    FillMask,
    MultipleChoice,
    QuestionAnswering,
    SentenceEmbedding,
    TextClassification,
    TokenClassification,
)

TASKS: dict[str, type[Task]] = {
    task.kind: task
    for task in (
        TextClassification,
        SentenceEmbedding,
        TokenClassification,
        QuestionAnswering,
        MultipleChoice,
        FillMask,
        TextGeneration,
        Translation,
        Summarization,
    )
}


def make_task(kind: str, **values: Any) -> Task:
    """A task of a kind.

    Raises:
        ValueError: there is no such kind.
        TypeError: the kind has no such field.
    """
    if kind not in TASKS:
        raise ValueError(f"unknown task {kind!r}; known: {', '.join(TASKS)}")
    return TASKS[kind](**values)


def task_from_dict(values: Mapping[str, Any]) -> Task:
    """The inverse of `Task.to_dict`; fields of other kinds, which older versions wrote, are left out.

    Raises:
        KeyError, ValueError: the kind is missing or not known.
    """
    known = [field.name for field in fields(TASKS.get(values["kind"], Task))]
    found = {name: values[name] for name in known if name in values}
    made: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
    if "settings" in made:
        made["settings"] = GenerationSettings.from_dict(made["settings"])
    return make_task(values["kind"], **made)
