"""The metrics of a checkpoint and of its graph, on the same labelled rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from edgelm.anatomy import TaskModel
from edgelm.data.dataset import Dataset
from edgelm.export.samples import Samples, encode, graph_rows, torch_rows
from edgelm.files.places import told_place
from edgelm.metrics.judge import Predictions, judge


def measure_quality(session: Any, source: TaskModel, evaluation: Dataset) -> dict[str, Any]:
    """The task's metrics of the checkpoint and of the graph, on the same rows."""
    sides = [evaluation]
    if source.task.output == "vectors" and evaluation.pairs is not None:
        sides = [replace(evaluation, texts=texts, pairs=None) for texts in (evaluation.texts, evaluation.pairs)]
    samples = [encode(source.tokenizer, source.task, side.inputs(), max_length=source.max_length) for side in sides]

    def metrics(rows_of: Callable[[Samples], np.ndarray]) -> dict[str, float]:
        rows = np.concatenate([rows_of(side) for side in samples])
        return judge(source.task, Predictions(rows, samples[0].encoded), evaluation)

    return {
        "samples": len(evaluation),
        "source": told_place(evaluation.source),
        "checkpoint": metrics(lambda side: torch_rows(source.model, side)),
        "bundle": metrics(lambda side: graph_rows(session, side)),
    }
