"""For each kind of task, what its graph gives and how that is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgelm.errors import BundleError, UsageError
from edgelm.runtime.answers.choices import read_choices
from edgelm.runtime.answers.classes import class_width, read_answers
from edgelm.runtime.answers.entities import read_entities
from edgelm.runtime.answers.masks import read_masks
from edgelm.runtime.answers.numbers import check_finite
from edgelm.runtime.answers.spans import read_spans
from edgelm.runtime.inputs.batch import Batch, Context
from edgelm.tasks.task import Task, TaskKind

Answer = dict[str, Any]


@dataclass(frozen=True)
class Reader:
    """How the outputs of a kind of task become answers.

    Attributes:
        width: how many values each row of the outputs has; None: any number.
        read: the answers, one a sample.
        of_tokens: whether each token has a row; else each sequence has one.
        alone: whether the outputs are enough, without the context of a batch.
    """

    width: Callable[[Task], int | None]
    read: Callable[[Any, np.ndarray, Context], list[Answer]]
    of_tokens: bool = False
    alone: bool = False


_CLASSES = Reader(class_width, lambda task, outputs, context: read_answers(task, outputs), alone=True)

READERS: dict[TaskKind, Reader] = {
    "text-classification": _CLASSES,
    "sentence-embedding": _CLASSES,
    "token-classification": Reader(lambda task: len(task.labels), read_entities, of_tokens=True),
    "question-answering": Reader(lambda task: len(task.output_names), read_spans, of_tokens=True),
    "multiple-choice": Reader(lambda task: 1, read_choices),
    "fill-mask": Reader(lambda task: None, read_masks, of_tokens=True),
}


def check_outputs(task: Task, outputs: Any, *, rows: int, tokens: int) -> None:
    """Refuse what is no output of the task: (rows, width), or (rows, tokens, width) where each token has a row.

    Args:
        rows, tokens: of the graph's inputs.

    Raises:
        BundleError: they have another shape, or are no floats.
    """
    reader = READERS[task.kind]
    width = reader.width(task)
    before = (rows, tokens) if reader.of_tokens else (rows,)
    shape: tuple[int, ...] = getattr(outputs, "shape", ())
    dtype = getattr(outputs, "dtype", type(outputs).__name__)
    fits = shape[:-1] == before and (shape[-1] == width if width is not None else shape[-1] > 0)
    if not fits or getattr(dtype, "kind", "") != "f":
        wanted = ", ".join(map(str, (*before, "any width" if width is None else width)))
        raise BundleError(
            f"the graph gives {dtype} of shape {shape}; the task needs ({wanted}).", hint="Export the bundle again."
        )


def read_outputs(task: Task, outputs: np.ndarray, batch: Batch | None = None) -> list[Answer]:
    """One answer a sample.

    Args:
        outputs: as `check_outputs` wants them.
        batch: what the graph was given; may be left out where a row is an answer.

    Raises:
        UsageError: the batch is missing.
        BundleError: an output is no finite number.
    """
    reader = READERS[task.kind]
    if batch is None and not reader.alone:
        raise UsageError(
            f"answers of {task.kind} need the batch that the outputs are of.",
            hint="model.read(model.infer(batch), batch), with batch = model.tokenize(samples).",
        )
    check_finite(outputs)
    return reader.read(task, outputs, Context() if batch is None else batch.context)
