"""Samples as a graph's inputs, and the rows that count in what a model or a graph gives for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from edgelm.anatomy import model_outputs
from edgelm.data.encoding import Encoded, encode_samples, padded
from edgelm.metrics.rows import counted_outputs, stack_rows
from edgelm.tasks.task import Task
from edgelm.tasks.text import MultipleChoice

Feeds = dict[str, np.ndarray]
_TOKENS = 1024  # that a checkpoint reads at a time: more are no faster


@dataclass(frozen=True)
class Samples:
    """Samples, encoded as a task reads them.

    Attributes:
        texts: the samples, as `Dataset.inputs` gives them.
        encoded: their sequences.
    """

    texts: Sequence[Any]
    encoded: Encoded
    tokenizer: Any
    task: Task

    def batches(self, size: int = 1) -> list[list[int]]:
        """The numbers of the sequences, in order, `size` together."""
        return [list(range(start, min(start + size, len(self.encoded)))) for start in range(0, len(self.encoded), size)]

    def feed(self, numbers: Sequence[int]) -> Feeds:
        """Inputs, each int64 (sequences, tokens), padded behind."""
        return padded(self.encoded, numbers, self.tokenizer)

    def feeds(self) -> Iterator[Feeds]:
        """The inputs of every sequence alone, (1, tokens)."""
        return (self.feed([number]) for number in range(len(self.encoded)))

    def read(self, outputs: Sequence[np.ndarray], numbers: Sequence[int]) -> np.ndarray:
        """(rows, width): what counts in the outputs of a model or a graph for these sequences."""
        joined = join_outputs(outputs)
        if not self.encoded.counted:
            return joined
        counted = np.zeros(joined.shape[:2], dtype=np.int64)
        for place, number in enumerate(numbers):
            row = self.encoded.counted[number]
            counted[place, : len(row)] = row
        return counted_outputs(self.task, joined, counted)

    def rows(self, run: Callable[[Feeds], Sequence[np.ndarray]], *, batch_size: int = 1) -> np.ndarray:
        """(rows, width) over all sequences; of several choices one row a sample."""
        found = [self.read(run(self.feed(numbers)), numbers) for numbers in self.batches(batch_size)]
        return self.by_choice(stack_rows(found))

    def by_choice(self, rows: np.ndarray) -> np.ndarray:
        """Rows of all sequences; of several choices one row a sample, (samples, choices)."""
        return rows.reshape(len(self.encoded.parts), -1) if self.task.schema == "choices" else rows


def encode(tokenizer: Any, task: Task, texts: Sequence[Any], *, max_length: int) -> Samples:
    """Samples as sequences of tokens.

    Raises:
        DataError: a question that leaves no room for its context.
    """
    return Samples(texts, encode_samples(texts, tokenizer, task, max_length=max_length), tokenizer, task)


def with_mask(text: str, tokenizer: Any, *, max_length: int) -> str:
    """A text with a mask among its first `max_length` tokens: in the place of the word in its middle or, where that
    lies behind them, at the end that is read."""
    words = text.split()
    middle = " ".join((*words[: len(words) // 2], tokenizer.mask_token, *words[len(words) // 2 + 1 :]))
    for candidate in (text, middle):
        if tokenizer.mask_token_id in tokenizer(candidate, truncation=True, max_length=max_length)["input_ids"]:
            return candidate
    ends = (text, tokenizer.mask_token) if tokenizer.truncation_side == "left" else (tokenizer.mask_token, text)
    return " ".join(ends)


def join_outputs(outputs: Sequence[np.ndarray]) -> np.ndarray:
    """A graph's outputs as one array: one output as it is, several side by side in a last axis."""
    return outputs[0] if len(outputs) == 1 else np.stack(outputs, axis=-1)


def single_choice(task: Task) -> Task:
    """The task of one sequence: a graph scores one choice, and whoever reads it compares them."""
    return replace(task, choices=1) if isinstance(task, MultipleChoice) else task


def torch_rows(model: PreTrainedModel, samples: Samples) -> np.ndarray:
    """(rows, width) of the checkpoint. Sequences of one length are read together, so that nothing is padded."""
    task, encoded = single_choice(samples.task), samples.encoded
    found: list[np.ndarray] = [np.empty(0)] * len(encoded)
    for numbers in _of_one_length(encoded.lengths):
        inputs = {name: torch.from_numpy(values) for name, values in samples.feed(numbers).items()}
        with torch.inference_mode():
            outputs = model_outputs(model, task, inputs)[0].float().numpy()
        for place, number in enumerate(numbers):
            found[number] = samples.read([outputs[place : place + 1]], [number])
    return samples.by_choice(stack_rows(found))


def _of_one_length(lengths: Sequence[int]) -> Iterator[list[int]]:
    """The numbers of sequences, the shortest first, as many together as have one length and few tokens in all."""
    alike: dict[int, list[int]] = {}
    for number, length in enumerate(lengths):
        alike.setdefault(length, []).append(number)
    for length, numbers in sorted(alike.items()):
        size = max(1, _TOKENS // max(1, length))
        yield from (numbers[start : start + size] for start in range(0, len(numbers), size))


def graph_rows(session: Any, samples: Samples, *, batch_size: int = 1) -> np.ndarray:
    """(rows, width) of a graph, in batches padded to their longest sequence."""
    names = [value.name for value in session.get_inputs()]
    return samples.rows(lambda feed: session.run(None, {name: feed[name] for name in names}), batch_size=batch_size)
