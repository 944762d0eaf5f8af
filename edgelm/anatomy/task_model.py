"""What a model answers with, for every task: logits, or pooled sentence vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from edgelm.anatomy.layers import base_model
from edgelm.anatomy.sentence_head import HEAD
from edgelm.anatomy.token_head import Stack, read_states
from edgelm.lengths import DEFAULT_LENGTH
from edgelm.tasks.task import Task
from edgelm.tasks.text import MultipleChoice, SentenceEmbedding

EXTRA_COLUMNS = ("labels", "row", "counted")  # what a batch has beside a model's inputs


def pool(tokens: torch.Tensor, mask: torch.Tensor, task: SentenceEmbedding) -> torch.Tensor:
    """Token vectors (batch, tokens, hidden) to one vector a text, (batch, hidden), those of several ways of pooling
    side by side.

    Args:
        mask: (batch, tokens), 1 for real tokens, before or behind which padding may stand; padding takes no part.
    """
    return torch.cat([_pool(tokens, mask, way) for way in task.poolings], dim=-1)


def _pool(tokens: torch.Tensor, mask: torch.Tensor, way: str) -> torch.Tensor:
    if way in ("cls", "lasttoken"):
        order = mask if way == "cls" else mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)
        return tokens[torch.arange(len(tokens), device=tokens.device), order.int().argmax(dim=1)]
    weights = mask.unsqueeze(-1).to(tokens.dtype)
    if way == "max":
        return tokens.masked_fill(weights == 0, float("-inf")).amax(dim=1)
    if way == "weightedmean":
        weights = weights * weights.cumsum(dim=1)
    total, count = (tokens * weights).sum(dim=1), weights.sum(dim=1).clamp(min=1e-9)
    return total / (count.sqrt() if way == "mean_sqrt_len_tokens" else count)


def sentence_vectors(
    model: PreTrainedModel, tokens: torch.Tensor, mask: torch.Tensor, task: SentenceEmbedding
) -> torch.Tensor:
    """Token vectors to sentence vectors: pooling, the layers behind it, length one, and the values that are kept."""
    vectors = pool(tokens, mask, task)
    if task.head:
        inner: Any = getattr(model, "module", model)  # of a model that is trained in several processes
        vectors = inner.get_submodule(HEAD)(vectors)  # an error where the model lacks them
    if task.normalize:
        vectors = nn.functional.normalize(vectors, dim=-1)
    return vectors[:, : task.dimensions]


def model_outputs(
    model: PreTrainedModel, task: Task, inputs: dict[str, torch.Tensor], *, hidden_states: bool = False
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """Run a model.

    Args:
        inputs: what the tokenizer gives, as tensors (sequences, tokens).
        hidden_states: also return the output of the embeddings and of every layer, each (sequences, tokens, hidden).

    Returns:
        (samples, labels) logits, (samples, choices) logits, (samples, width) sentence vectors, (sequences, tokens,
        labels) logits of tokens, or (sequences, tokens, 2) logits of an answer's start and end; the hidden states, or
        an empty tuple.
    """
    given = inputs
    if isinstance(task, MultipleChoice):
        given = {name: values.view(-1, task.choices, values.shape[-1]) for name, values in inputs.items()}
    out: Any = model(**given, output_hidden_states=hidden_states, return_dict=True)
    hidden = tuple(out.hidden_states) if hidden_states else ()
    if isinstance(task, SentenceEmbedding):
        mask = inputs.get("attention_mask")
        mask = torch.ones_like(inputs["input_ids"]) if mask is None else mask
        return sentence_vectors(model, out.last_hidden_state, mask, task), hidden
    found = [getattr(out, name) for name in task.output_names]
    return found[0] if len(found) == 1 else torch.stack(found, dim=-1), hidden


@dataclass(frozen=True)
class Rows:
    """The rows that count in a model's outputs: what losses, importance scores and agreement are taken of.

    Attributes:
        values: (rows, width): one row a sample, one a word's first token, or two a sequence, the logits of an answer's
            start and end over its positions; those where none may be have the lowest number.
        owner: (rows,) the sequence that each row belongs to; None: one row a sample.
        samples: how many sequences or samples there are.
    """

    values: torch.Tensor
    owner: torch.Tensor | None
    samples: int

    def mean(self, losses: torch.Tensor) -> torch.Tensor:
        """The mean over samples of the mean over each one's rows: a sample weighs the same however many rows it has.

        Args:
            losses: (rows,).
        """
        if self.owner is None:
            return losses.sum() / self.samples
        counts = torch.bincount(self.owner, minlength=self.samples)
        return (losses / counts[self.owner]).sum() / self.samples


def counted_rows(task: Task, outputs: torch.Tensor, counted: torch.Tensor | None) -> Rows:
    """The rows that count.

    Args:
        outputs: as `model_outputs` gives them.
        counted: (sequences, tokens), 1 for tokens that count; None for tasks that give one row a sample.
    """
    if task.per == "sample" or counted is None:
        return Rows(outputs, None, len(outputs))
    chosen = counted.bool()
    if task.per == "token":
        return Rows(outputs[chosen], chosen.nonzero()[:, 0], len(outputs))
    lowest = torch.finfo(outputs.dtype).min / 4  # finite after a softmax's sums, also at a temperature below one
    values = outputs.transpose(1, 2).masked_fill(~chosen.unsqueeze(1), lowest)  # (sequences, 2, tokens)
    owner = torch.arange(len(outputs), device=outputs.device).repeat_interleave(2)
    return Rows(values.flatten(0, 1), owner, len(outputs))


def counted_targets(task: Task, labels: torch.Tensor, counted: torch.Tensor | None) -> torch.Tensor:
    """The target of each row that counts.

    Args:
        labels: per sample; (sequences, tokens) classes of tokens; (sequences, 2) tokens of an answer's start and end.
    """
    if task.per == "token" and counted is not None:
        return labels[counted.bool()]
    return labels.flatten() if task.per == "position" else labels


@dataclass(frozen=True)
class TaskModel:
    """A model with what it takes to ask it: the tokenizer that it reads by, the task that it answers, and a length.

    Attributes:
        model: a model of transformers with the task's head, or a sentence encoder.
        max_length: the longest sequence that it is given, in tokens; what is longer is cut.
    """

    model: PreTrainedModel
    tokenizer: Any
    task: Task
    max_length: int = DEFAULT_LENGTH

    @property
    def device(self) -> torch.device:
        """Where the model's weights lie."""
        return next(self.model.parameters()).device

    def with_model(self, model: PreTrainedModel) -> TaskModel:
        """Another model that reads by the same tokenizer and answers the same task."""
        return replace(self, model=model)

    def with_length(self, max_length: int) -> TaskModel:
        """The same model, given sequences of another length."""
        return replace(self, max_length=max_length)

    def outputs(
        self, batch: Mapping[str, torch.Tensor], *, hidden_states: bool = False
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """`model_outputs` for a batch, of which the model reads its inputs alone."""
        inputs = {name: tensor for name, tensor in batch.items() if name not in EXTRA_COLUMNS}
        return model_outputs(self.model, self.task, inputs, hidden_states=hidden_states)

    def states(
        self, batch: Mapping[str, torch.Tensor], *, hidden_states: bool = False
    ) -> tuple[torch.Tensor, tuple[Stack, ...]]:
        """What the head of a generator reads at the rows that count in a batch, and the hidden states of its stacks:
        `read_states`."""
        inputs = {name: tensor for name, tensor in batch.items() if name not in EXTRA_COLUMNS}
        return read_states(self.model, inputs, batch["counted"], hidden_states=hidden_states)

    def run(self, batch: Mapping[str, torch.Tensor]) -> None:
        """Run all layers on a batch, for what hooks see of them; the head of a decoder, whose logits are the most of
        the work, is left out."""
        if not self.task.generates:
            self.outputs(batch)
            return
        inputs = {name: tensor for name, tensor in batch.items() if name not in EXTRA_COLUMNS}
        base_model(self.model)(**inputs, use_cache=False)

    def rows(self, batch: Mapping[str, torch.Tensor]) -> Rows:
        """The rows that count in the outputs for a batch."""
        return self.counted(self.outputs(batch)[0], batch)

    def counted(self, outputs: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> Rows:
        """The rows that count in outputs for a batch, this model's or another's of the same task."""
        return counted_rows(self.task, outputs, batch.get("counted"))

    def targets(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The target of each row that counts, of a batch that has labels."""
        return counted_targets(self.task, batch["labels"], batch.get("counted"))
