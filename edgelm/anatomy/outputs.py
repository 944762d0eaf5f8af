"""What a model answers with, for every task: logits, or pooled sentence vectors."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from edgelm.task import Task


def pool(tokens: torch.Tensor, mask: torch.Tensor, task: Task) -> torch.Tensor:
    """Token vectors (batch, tokens, hidden) to sentence vectors (batch, hidden), by the task's pooling and normalisation.

    Args:
        mask: (batch, tokens), 1 for real tokens; padding takes no part in the mean.
    """
    if task.pooling == "cls":
        vectors = tokens[:, 0]
    else:
        weights = mask.unsqueeze(-1).to(tokens.dtype)
        vectors = (tokens * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)
    return nn.functional.normalize(vectors, dim=-1) if task.normalize else vectors


def model_outputs(
    model: PreTrainedModel, task: Task, inputs: dict[str, torch.Tensor], *, hidden_states: bool = False
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """Run a model.

    Args:
        inputs: what the tokenizer gives, as tensors (batch, tokens).
        hidden_states: also return the output of the embeddings and of every layer, each (batch, tokens, hidden).

    Returns:
        (batch, labels) logits or (batch, hidden) sentence vectors; the hidden states, or an empty tuple.
    """
    out: Any = model(**inputs, output_hidden_states=hidden_states)
    hidden = tuple(out.hidden_states) if hidden_states else ()
    if task.kind == "sentence-embedding":
        return pool(out.last_hidden_state, inputs["attention_mask"], task), hidden
    return out.logits, hidden
