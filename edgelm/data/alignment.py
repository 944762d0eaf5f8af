"""The targets of rows as a model has them: labels and tags in the order of its logits."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

from edgelm.data.label_matching import match_labels, shorten
from edgelm.errors import DataError, DataWarning
from edgelm.tasks.task import Task
from edgelm.tasks.text import (
    FillMask,
    MultipleChoice,
    QuestionAnswering,
    SentenceEmbedding,
    TextClassification,
    TokenClassification,
)

if TYPE_CHECKING:
    from edgelm.data.dataset import Dataset


def align(rows: Dataset, task: Task, *, first_label: int | None = None) -> Dataset:
    """Rows with their targets as a model of a task has them; see `Dataset.for_task`.

    Raises:
        DataError: targets that the model does not have.
    """
    if isinstance(task, MultipleChoice) and rows.schema == "choices":
        _check_endings(rows, task)
    if isinstance(task, FillMask):
        return _with_themselves(rows)
    if rows.labels is None:
        return rows
    if rows.schema != task.schema:
        raise DataError(
            f"{rows.source}: the rows are {rows.kind()}, read as {rows.schema}; a model for {task.kind} has targets of "
            f"{task.schema}.",
            hint=f'Read them as its own: load_dataset(..., schema="{task.schema}").',
        )
    if isinstance(task, SentenceEmbedding) and rows.pairs is None:
        return rows.without_labels()  # a label says how alike two texts are
    if task.metric == "spearman":
        return _with_numbers(rows, task)
    if isinstance(task, TextClassification):
        return _with_classes(rows, task, first_label)
    if isinstance(task, TokenClassification):
        return _with_tags(rows, task)
    if isinstance(task, QuestionAnswering) and not task.null_answers:
        _check_answers(rows)
    return rows


def _with_themselves(rows: Dataset) -> Dataset:
    """Texts as their own labels, whatever else they are labelled with."""
    if rows.schema != "text" or rows.pairs is not None:
        raise DataError(
            f"{rows.source}: {rows.kind()}, but a model for fill-mask reads single texts.",
            hint="Give rows of single texts, or choose the column with --text-column.",
        )
    return replace(rows, labels=rows.texts, label_names=(), problem=None)


def answered(rows: Dataset) -> Dataset:
    """The rows of questions that have an answer; the others are counted in a warning.

    Raises:
        DataError: no question has one.
    """
    kept = [row for row, answers in enumerate(rows.labels or ()) if answers != ()]
    if rows.labels is None or len(kept) == len(rows):
        return rows
    if not kept:
        raise DataError(f"{rows.source}: no question has an answer.", hint="Give rows with answers.")
    text = f"{rows.source}: {len(rows) - len(kept)} of {len(rows)} questions have no answer and are left out"
    warnings.warn(DataWarning(f"{text}: the model always gives one."), stacklevel=2)
    return rows.take(kept)


def _with_classes(rows: Dataset, task: TextClassification, first_label: int | None) -> Dataset:
    if rows.problem != task.problem:
        raise DataError(
            f"{rows.source}: the labels are {rows.problem}, the model's are {task.problem}.",
            hint="Check the column with --label-column.",
        )
    if rows.label_names == task.labels:
        return rows
    said = rows.origin.first_label if first_label is None and rows.origin is not None else first_label
    places = match_labels(rows.label_names, task.labels, first=said, source=rows.source)
    place = []
    for name in rows.label_names:
        if name not in places:
            raise DataError(
                f"{rows.source}: label {name!r} is none of the model's.",
                hint=f"Known labels: {shorten(task.labels)}.",
            )
        place.append(places[name])
    if task.problem == "single-label":
        return replace(rows, labels=tuple(place[label] for label in rows.labels or ()), label_names=task.labels)
    found = [{place[index] for index, value in enumerate(row) if value} for row in rows.labels or ()]
    labels = tuple(tuple(int(index in row) for index in range(len(task.labels))) for row in found)
    return replace(rows, labels=labels, label_names=task.labels)


def _with_numbers(rows: Dataset, task: Task) -> Dataset:
    if isinstance(task, TextClassification) and len(task.labels) > 1:
        raise DataError(
            f"{rows.source}: the labels are one number a row, the model gives {len(task.labels)} "
            f"({shorten(task.labels)}).",
            hint="Give texts alone; edgelm judges regressions of one value.",
        )
    if rows.problem == "regression":
        return rows
    try:
        values = [float(name) for name in rows.label_names]
        labels = tuple(values[label] for label in rows.labels or ())
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{rows.source}: the labels are not numbers, as the model needs them.",
            hint="Check the column with --label-column.",
        ) from error
    return replace(rows, labels=labels, label_names=("score",), problem="regression")


def _with_tags(rows: Dataset, task: TokenClassification) -> Dataset:
    """Tags that are used must be the model's; names that no row uses may be others."""
    if rows.label_names == task.labels:
        return rows
    used = sorted({tag for tags in rows.labels or () if tags is not None for tag in tags})
    names = [rows.label_names[tag] for tag in used]
    places = match_labels(names, task.labels, first=0, source=rows.source)
    unknown = next((tag for tag, name in zip(used, names, strict=True) if name not in places), None)
    if unknown is not None:
        row = next(row for row, tags in enumerate(rows.labels or (), start=1) if tags and unknown in tags)
        raise DataError(
            f"{rows.source}, row {row}: tag {rows.label_names[unknown]!r} is none of the model's.",
            hint=f"Known tags: {shorten(task.labels)}.",
        )
    place = {tag: places[name] for tag, name in zip(used, names, strict=True)}
    labels = tuple(None if tags is None else tuple(place[tag] for tag in tags) for tags in rows.labels or ())
    return replace(rows, labels=labels, label_names=task.labels)


def _check_answers(rows: Dataset) -> None:
    without = [row for row, answers in enumerate(rows.labels or (), start=1) if answers == ()]
    if without:
        raise DataError(
            f"{rows.source}: {len(without)} of {len(rows)} questions have no answer, the first in row {without[0]}; "
            "the model always gives one.",
            hint="Use a model with null answers (SQuAD 2.0), or leave these rows out: --skip-bad-rows.",
        )


def _check_endings(rows: Dataset, task: MultipleChoice) -> None:
    counts = [len(endings) for endings in rows.pairs or ()]
    wrong = next((row for row, count in enumerate(counts, start=1) if task.choices and count != task.choices), None)
    if wrong is not None:
        raise DataError(
            f"{rows.source}, row {wrong}: {counts[wrong - 1]} endings; the model was made for {task.choices}.",
            hint="Give rows with as many endings.",
        )
