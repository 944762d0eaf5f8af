"""The rows that count in arrays of outputs, as graphs give them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgelm.tasks.task import Task

LOWEST = float(np.finfo(np.float32).min / 4)  # the logit of a position where no answer may be


def counted_outputs(task: Task, outputs: np.ndarray, counted: np.ndarray | None) -> np.ndarray:
    """(rows, width): one row a sample, one a token that counts, or two a sequence over its positions.

    Args:
        outputs: (samples, width), (sequences, tokens, labels), or (sequences, tokens, 2) logits of start and end.
        counted: (sequences, tokens), 1 for tokens that count; None for tasks that give one row a sample.
    """
    if task.per == "sample" or counted is None:
        return outputs
    chosen = counted.astype(bool)
    if task.per == "token":
        return outputs[chosen]
    values = np.where(chosen[:, None, :], outputs.transpose(0, 2, 1), LOWEST)
    return values.reshape(-1, values.shape[-1])


def is_real(rows: np.ndarray) -> np.ndarray:
    """Which values of rows a model gave, and not the lowest logit in the place of one."""
    return rows > LOWEST / 2


def stack_rows(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of several batches, each (rows, width); narrower ones, of shorter sequences, are filled up with the lowest
    logit."""
    widest = max(part.shape[-1] for part in parts)
    return np.concatenate(
        [
            part
            if part.shape[-1] == widest
            else np.pad(part, ((0, 0), (0, widest - part.shape[-1])), constant_values=LOWEST)
            for part in parts
        ]
    )
