"""How good a model is on a data set: its task's metrics, and agreement with another model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from edgelm import distributed as processes
from edgelm.anatomy import model_outputs
from edgelm.compress.batches import Collator, EncodedDataset
from edgelm.data.dataset import Dataset
from edgelm.metrics.scores import agreement, pair_similarity, score
from edgelm.progress import Progress, silent
from edgelm.tasks.task import Task
from edgelm.tasks.text import SentenceEmbedding


def predict(
    model: PreTrainedModel,
    tokenizer: Any,
    task: Task,
    dataset: Dataset,
    *,
    max_length: int = 128,
    batch_size: int = 32,
    description: str = "evaluate",
    progress: Progress = silent,
) -> np.ndarray:
    """Outputs of a model for every row, in the order of the data set. Several processes share the work, and all get the
    outputs.

    Returns:
        (rows, labels) logits or (rows, hidden) sentence vectors, float32.
    """
    encoded = EncodedDataset(replace(dataset, labels=None), tokenizer, task, max_length=max_length)
    collate = Collator(tokenizer)
    order = np.argsort(encoded.lengths, kind="stable")  # rows of like length together: little padding
    starts = range(0, len(order), batch_size)
    mine: list[np.ndarray] = []
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for start in starts[processes.index() :: processes.count()]:
            batch = collate([encoded[int(index)] for index in order[start : start + batch_size]])
            result, _ = model_outputs(model, task, {name: tensor.to(device) for name, tensor in batch.items()})
            mine.append(result.float().cpu().numpy())
            progress(description, min(start + batch_size, len(order)), len(order))
    model.train(was_training)
    parts = processes.gather(mine)
    outputs = [parts[number % len(parts)][number // len(parts)] for number in range(len(starts))]
    inverse = np.empty_like(order)
    inverse[order] = np.arange(len(order))
    return np.concatenate(outputs)[inverse]


def evaluate(
    model: PreTrainedModel,
    tokenizer: Any,
    task: Task,
    dataset: Dataset,
    *,
    reference: np.ndarray | None = None,
    max_length: int = 128,
    progress: Progress = silent,
) -> tuple[dict[str, float], np.ndarray]:
    """Metrics of a model on a data set.

    Args:
        reference: outputs of the original model on the same rows; adds the metric `agreement`.

    Returns:
        metrics by name, and the model's outputs. Sentence embeddings of labelled pairs are judged by the
        correlation of cosine similarity with the label; unlabelled text only by agreement.
    """
    if isinstance(task, SentenceEmbedding) and dataset.pairs is not None:
        sides = [replace(dataset, texts=texts, pairs=None) for texts in (dataset.texts, dataset.pairs)]
        first, second = (
            predict(model, tokenizer, task, side, max_length=max_length, progress=progress) for side in sides
        )
        outputs, judged = np.concatenate([first, second]), pair_similarity(first, second)
    else:
        outputs = judged = predict(model, tokenizer, task, dataset, max_length=max_length, progress=progress)
    metrics = {} if dataset.labels is None else score(task, judged, dataset.labels)
    if reference is not None:
        metrics["agreement"] = agreement(task, outputs, reference)
    return metrics, outputs
