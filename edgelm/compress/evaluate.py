"""How good a model is on a data set: its task's metrics, and agreement with another model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
import torch

from edgelm import distributed as processes
from edgelm.anatomy import TaskModel
from edgelm.compress.batches import EncodedDataset
from edgelm.compress.write import write
from edgelm.data.dataset import Dataset
from edgelm.metrics.judge import Predictions, agree, judge
from edgelm.metrics.pieces import pieces_of
from edgelm.metrics.rows import stack_rows
from edgelm.metrics.texts import judge_texts
from edgelm.progress import Progress, silent

_LOGITS = 1 << 26  # of one batch of a generator: 256 MiB in FP32


def predict(
    model: TaskModel,
    dataset: Dataset,
    *,
    batch_size: int = 32,
    description: str = "evaluate",
    progress: Progress = silent,
) -> Predictions:
    """Outputs of a model for every row, in the order of the data set; of a generator what `token_scores` keeps of them.
    Several processes share the work, and all get the outputs."""
    progress(description, 0, len(dataset))
    generates = model.task.generates
    data = EncodedDataset(dataset if generates else replace(dataset, labels=None), model)
    if generates:
        batch_size = min(batch_size, max(1, _LOGITS // (max(data.lengths) * int(model.model.config.vocab_size))))
    mine: list[tuple[list[int], list[np.ndarray]]] = []
    was_training = model.model.training
    model.model.eval()
    with torch.inference_mode():
        for part in data.by_length(batch_size, first=processes.index(), step=processes.count()):
            batch = {name: tensor.to(model.device) for name, tensor in part.tensors.items()}
            rows = model.rows(batch)
            values = rows.values.float()
            if generates:
                values = token_scores(values, model.targets(batch))
            mine.append((part.numbers, _by_item(values.cpu().numpy(), rows.owner, rows.samples)))
            progress(description, part.done, len(data))
    model.model.train(was_training)
    by_item: list[np.ndarray] = [np.empty(0)] * len(data)
    for numbers, items in chain.from_iterable(processes.gather(mine)):
        for number, item in zip(numbers, items, strict=True):
            by_item[number] = item
    return Predictions(stack_rows(by_item), data.encoded, pieces_of(model.tokenizer) if generates else None)


def token_scores(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """What is kept of a generator's rows, since its logits would not fit into memory: (rows, 2), the likeliest token,
    and the loss on the right one, the negative logarithm of its probability."""
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    return torch.stack([logits.argmax(dim=-1).to(losses.dtype), losses], dim=-1)


def _by_item(rows: np.ndarray, owner: torch.Tensor | None, items: int) -> list[np.ndarray]:
    """(rows, width) split into those of each item of a batch."""
    if owner is None:
        return list(rows[:, None])
    counts = torch.bincount(owner.cpu(), minlength=items)
    return np.split(rows, counts.cumsum(0)[:-1].tolist())


def evaluate(
    model: TaskModel,
    dataset: Dataset,
    *,
    reference: Predictions | None = None,
    written: bool = True,
    texts: Sequence[str] | None = None,
    progress: Progress = silent,
) -> tuple[dict[str, float], Predictions]:
    """Metrics of a model on a data set.

    Args:
        reference: outputs of the original model for the same data; adds the metric `agreement`.
        written: whether a model of translations or summaries writes them, to be held against the references; if not,
            it is judged by its outputs on the references alone, which takes a moment.
        texts: what such a model has written for these rows already; None: it writes them.

    Returns:
        metrics by name, and the model's outputs. Sentence embeddings of labelled pairs are judged by the correlation of
        cosine similarity with the label; unlabelled text only by agreement.
    """
    task = model.task
    if task.output == "vectors" and dataset.pairs is not None:
        sides = [replace(dataset, texts=texts, pairs=None) for texts in (dataset.texts, dataset.pairs)]
        found = [predict(model, side, progress=progress) for side in sides]
        made = Predictions(np.concatenate([side.rows for side in found]), found[0].encoded)
    else:
        made = predict(model, dataset, progress=progress)
    metrics = {} if dataset.labels is None and not task.own_targets else judge(task, made, dataset)
    if written and task.schema == "targets" and dataset.labels is not None:
        if texts is None:
            texts = write(
                model.model, model.tokenizer, task, dataset.texts, max_length=model.max_length, progress=progress
            )
        metrics = judge_texts(task, texts, dataset.labels) | metrics
    if reference is not None:
        metrics["agreement"] = agree(task, made, reference, dataset)
    return metrics, made
