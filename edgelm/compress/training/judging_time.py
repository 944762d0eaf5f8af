"""How long judging a model takes, by a few rows: said before all of them are judged."""

from __future__ import annotations

import time
from dataclasses import replace

from edgelm.anatomy import TaskModel
from edgelm.compress.evaluate import predict
from edgelm.compress.write import write
from edgelm.data.dataset import Dataset

_WARMUP, _SHOWN = 2, 16  # rows: the first calls of a model are slower than all that follow


def judging_seconds(model: TaskModel, rows: Dataset) -> float:
    """What `evaluate` is expected to take for all rows, in seconds; none where there are hardly more than are shown."""
    if len(rows) <= 2 * _SHOWN:
        return 0.0
    _read(model, rows.sample(_WARMUP))
    start = time.monotonic()
    _read(model, rows.sample(_SHOWN))
    return (time.monotonic() - start) * len(rows) / _SHOWN


def _read(model: TaskModel, rows: Dataset) -> None:
    """Everything of an evaluation but its figures."""
    if model.task.schema == "targets":
        texts = write(model.model, model.tokenizer, model.task, rows.texts, max_length=model.max_length)
        rows = replace(rows, labels=tuple((text,) for text in texts)) if rows.labels is None else rows
    sides = [rows]
    if model.task.output == "vectors" and rows.pairs is not None:
        sides = [replace(rows, texts=texts, pairs=None) for texts in (rows.texts, rows.pairs)]
    for side in sides:
        predict(model, side)
