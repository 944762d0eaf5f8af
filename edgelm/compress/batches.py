"""Rows of text as token ids, padded no further than each batch needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Sampler

from edgelm.data.dataset import Dataset
from edgelm.tasks.task import Task

NO_CLASS = -100  # the label of a row that has none; torch's cross-entropy leaves it out
EXTRA_COLUMNS = ("labels", "row")  # what a batch has beside a model's inputs


class EncodedDataset(TorchDataset[dict[str, Any]]):
    """Token ids of every row, encoded once and kept unpadded.

    Args:
        numbered: a row says which one it is, as `row`.
    """

    def __init__(
        self, dataset: Dataset, tokenizer: Any, task: Task, *, max_length: int, numbered: bool = False
    ) -> None:
        self.numbered = numbered
        longest = min(max_length, tokenizer.model_max_length)
        encoded = tokenizer(task.prompted(dataset.inputs()), truncation=True, max_length=longest)
        self.columns: dict[str, list[list[int]]] = {name: encoded[name] for name in tokenizer.model_input_names}
        self.labels = None if dataset.labels is None else _label_array(dataset.labels, task)
        self.lengths = [len(ids) for ids in self.columns["input_ids"]]

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row: dict[str, Any] = {name: ids[index] for name, ids in self.columns.items()}
        if self.labels is not None:
            row["labels"] = self.labels[index]
        if self.numbered:
            row["row"] = index
        return row


class LengthGroupedSampler(Sampler[int]):
    """Draws rows so that those of a batch have like lengths.

    The order depends on seed and epoch alone, so that an interrupted epoch can be taken up in the middle.
    """

    def __init__(self, lengths: list[int], batch_size: int, *, seed: int) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the training loop before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self.seed, self.epoch))
        lengths = np.asarray(self.lengths)
        mega = self.batch_size * 50  # sorted within such a window: like lengths, still random enough
        batches: list[np.ndarray] = []
        shuffled = rng.permutation(len(lengths))
        for start in range(0, len(shuffled), mega):
            window = shuffled[start : start + mega]
            window = window[np.argsort(-lengths[window], kind="stable")]
            batches.extend(window[i : i + self.batch_size] for i in range(0, len(window), self.batch_size))
        last = (
            batches.pop() if len(batches) > 1 and len(batches[-1]) < self.batch_size else None
        )  # a short batch must stay last
        order = [batches[index] for index in rng.permutation(len(batches))] + ([] if last is None else [last])
        return iter(np.concatenate(order).tolist())


@dataclass(frozen=True)
class Share:
    """What one process's part of a batch counts for, against an equal part: 1 each where all parts are equal.

    Processes average their gradients. A mean over a part, times its share, averaged over the processes is the mean over
    the batch.
    """

    rows: float = 1.0
    tokens: float = 1.0


class Collator:
    """Joins rows into a batch: (batch, tokens) tensors, padded to the longest row.

    Args:
        process, processes: keep this process's rows of the whole batch, and say in `share` what they count for.
    """

    def __init__(self, tokenizer: Any, *, process: int = 0, processes: int = 1) -> None:
        self.tokenizer = tokenizer
        self.process = process
        self.processes = processes

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        if self.processes == 1:
            return self._join(rows)
        part = rows[self.process :: self.processes]  # rows come sorted by length: every part gets long and short ones
        tokens, all_tokens = (sum(len(row["input_ids"]) for row in some) for some in (part, rows))
        share = Share(rows=self.processes * len(part) / len(rows), tokens=self.processes * tokens / all_tokens)
        # Where a short batch has no row for a process, it takes one that counts for nothing: the others wait for its
        # gradients.
        return {**self._join(part or rows[:1]), "share": share}

    def _join(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        labels = [row["labels"] for row in rows if "labels" in row]
        names = [name for name in rows[0] if name not in EXTRA_COLUMNS]
        batch: dict[str, torch.Tensor] = dict(
            self.tokenizer.pad(
                {name: [row[name] for row in rows] for name in names}, padding_side="right", return_tensors="pt"
            )
        )
        if labels:
            batch["labels"] = torch.as_tensor(np.asarray(labels))
        if "row" in rows[0]:
            batch["row"] = torch.tensor([row["row"] for row in rows])
        return batch


def model_inputs(batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What of a batch the model reads."""
    return {name: tensor for name, tensor in batch.items() if name not in EXTRA_COLUMNS}


def _label_array(labels: tuple[Any, ...], task: Task) -> np.ndarray:
    """(rows,) int64 for classes, (rows, labels) float32 for multi-label, (rows,) float32 for regression and similarity.

    Rows without a label have `NO_CLASS`, or NaN.
    """
    if task.metric == "accuracy":
        return np.asarray([NO_CLASS if label is None else label for label in labels], dtype=np.int64)
    missing = (np.nan,) * len(task.labels) if task.metric == "micro_f1" else np.nan
    return np.asarray([missing if label is None else label for label in labels], dtype=np.float32)


def median_length(tokenizer: Any, rows: Dataset, *, max_length: int, sample: int = 1000) -> int:
    """The median number of tokens of a row, cut to `max_length`."""
    texts = rows.sample(sample, seed=0).inputs()
    longest = min(max_length, tokenizer.model_max_length)
    return int(np.median([len(ids) for ids in tokenizer(texts, truncation=True, max_length=longest)["input_ids"]]))
