"""Rows of text as token ids, padded no further than each batch needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Sampler

from edgelm.anatomy.task_model import EXTRA_COLUMNS, TaskModel
from edgelm.data.dataset import Dataset
from edgelm.data.encoding import NO_CLASS, Encoded, encode_samples, targets
from edgelm.data.written import DECODED, encode_written
from edgelm.tasks.generation import Generation

Batch = dict[str, torch.Tensor]


class EncodedDataset(TorchDataset[dict[str, Any]]):
    """Token ids of every row as a model reads them, encoded once and kept unpadded.

    An item is a sample; of documents that are read in windows, a window.

    Args:
        reader: whose tokenizer, task and length it is encoded for.
        numbered: an item says which one it is, as `row`.
        encoded: the rows in tokens, where they are known; None: they are encoded here.

    Attributes:
        lengths: tokens of each item; of several choices, of the longest; of a source with its target, of both.
    """

    def __init__(
        self, dataset: Dataset, reader: TaskModel, *, numbered: bool = False, encoded: Encoded | None = None
    ) -> None:
        task = reader.task
        self.numbered = numbered
        self.collate = Collator(reader.tokenizer)
        encoded = _encode(dataset, reader) if encoded is None else encoded
        self.encoded = encoded
        known = dataset.labels is not None or isinstance(task, Generation)
        self.labels = targets(encoded, dataset.labels or (), task) if known else None
        self.parts = encoded.parts if task.schema == "choices" else None
        lengths = encoded.lengths
        if DECODED in encoded.columns:
            lengths = [own + len(ids) for own, ids in zip(lengths, encoded.columns[DECODED], strict=True)]
        self.lengths = (
            lengths if self.parts is None else [max(lengths[number] for number in part) for part in self.parts]
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        columns = self.encoded.columns.items()
        if self.parts is None:
            row: dict[str, Any] = {name: ids[index] for name, ids in columns}
        else:
            row = {name: [ids[number] for number in self.parts[index]] for name, ids in columns}
        if self.encoded.counted:
            row["counted"] = self.encoded.counted[index]
        if self.labels is not None:
            row["labels"] = self.labels[index]
        if self.numbered:
            row["row"] = index
        return row

    def batch(self, numbers: Sequence[int]) -> Batch:
        """Items by number as one batch."""
        return self.collate([self[number] for number in numbers])

    def by_length(self, size: int, *, first: int = 0, step: int = 1) -> Iterator[NumberedBatch]:
        """Batches of items of like length, which need little padding, the shortest first.

        Args:
            first, step: only every `step`-th batch, from the one with the number `first` on.
        """
        order = sorted(range(len(self)), key=lambda number: self.lengths[number])
        for start in range(first * size, len(order), step * size):
            numbers = order[start : start + size]
            yield NumberedBatch(numbers, self.batch(numbers), start + len(numbers))


def _encode(dataset: Dataset, reader: TaskModel) -> Encoded:
    task, tokenizer = reader.task, reader.tokenizer
    if isinstance(task, Generation):  # whose targets are read as well, or are the texts themselves
        return encode_written(dataset, tokenizer, task, max_length=reader.max_length)
    return encode_samples(dataset.inputs(), tokenizer, task, max_length=reader.max_length)


@dataclass(frozen=True)
class NumberedBatch:
    """A batch of `EncodedDataset.by_length`.

    Attributes:
        numbers: the items that it holds.
        tensors: (batch, tokens) each, as `Collator` joins them.
        done: how many items this batch and all before it hold.
    """

    numbers: list[int]
    tensors: Batch
    done: int


def real_tokens(batch: Batch, stack: str) -> torch.Tensor:
    """(batch, tokens) bool: what is no padding of the tokens that a stack reads; of a decoder with an encoder before it
    those whose outputs count."""
    return batch["counted"].bool() if stack == "decoder" and DECODED in batch else batch["attention_mask"].bool()


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
        tokens, all_tokens = (sum(map(_tokens, some)) for some in (part, rows))
        share = Share(rows=self.processes * len(part) / len(rows), tokens=self.processes * tokens / all_tokens)
        # Where a short batch has no row for a process, it takes one that counts for nothing: the others wait for its
        # gradients.
        return {**self._join(part or rows[:1]), "share": share}

    def _join(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        names = [name for name in rows[0] if name not in EXTRA_COLUMNS]
        columns = {name: [row[name] for row in rows] for name in names}
        if columns["input_ids"] and columns["input_ids"][0] and isinstance(columns["input_ids"][0][0], list):
            columns = {name: [ids for some in values for ids in some] for name, values in columns.items()}
        decoded = columns.pop(DECODED, None)
        batch: dict[str, torch.Tensor] = dict(self.tokenizer.pad(columns, padding_side="right", return_tensors="pt"))
        if decoded is not None:
            batch[DECODED] = _padded(decoded, self.tokenizer.pad_token_id)
        if "counted" in rows[0]:
            batch["counted"] = _padded([row["counted"] for row in rows], 0)
        labels = [row["labels"] for row in rows if "labels" in row]
        if labels and isinstance(labels[0], list):
            batch["labels"] = _padded(labels, NO_CLASS)
        elif labels:
            batch["labels"] = torch.as_tensor(np.asarray(labels))
        if "row" in rows[0]:
            batch["row"] = torch.tensor([row["row"] for row in rows])
        return batch


def _tokens(row: dict[str, Any]) -> int:
    ids = row["input_ids"]
    return sum(map(len, ids)) if ids and isinstance(ids[0], list) else len(ids)


def _padded(rows: list[list[int]], value: int) -> torch.Tensor:
    """(rows, longest), filled up behind."""
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)
