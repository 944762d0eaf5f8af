"""A checkpoint that answers as its bundle would: what a report compares bundles with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer
from edgelm.checkpoint import open_checkpoint
from edgelm.compress.evaluate import predict
from edgelm.data.dataset import Dataset
from edgelm.progress import Progress
from edgelm.report.answers import Answerer, check_same_task
from edgelm.runtime.answers.table import read_outputs
from edgelm.tasks.task import Task


def checkpoint_answerer(path: Path, task: Task, *, max_length: int, progress: Progress, name: str) -> Answerer:
    """What asks a classifier of texts in PyTorch.

    Args:
        task: of the bundles that it is compared with.
        max_length: tokens of the longest text, as the bundle reads it; the rest is cut off.
        name: of the model, for the progress.

    Raises:
        ModelError: it cannot be read, or is for another task or has other labels.
    """
    checkpoint = open_checkpoint(path)
    check_same_task(path, task, checkpoint.task)
    tokenizer = load_tokenizer(checkpoint)
    model = TaskModel(load_checkpoint(checkpoint), tokenizer, checkpoint.task, max_length)

    def answer(samples: Sequence[Any]) -> list[dict[str, Any]]:
        pairs = [sample for sample in samples if not isinstance(sample, str)]
        texts = tuple(samples) if not pairs else tuple(first for first, _ in pairs)
        rows = Dataset("", texts, tuple(second for _, second in pairs) if pairs else None)
        made = predict(model, rows, description=f"ask {name}", progress=progress)
        return read_outputs(checkpoint.task, made.rows)

    return answer
