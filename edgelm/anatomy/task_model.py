"""What a model answers with, for every task: logits, or pooled sentence vectors."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from edgelm.anatomy.sentence_head import HEAD
from edgelm.tasks.task import Task
from edgelm.tasks.text import SentenceEmbedding


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
        inputs: what the tokenizer gives, as tensors (batch, tokens).
        hidden_states: also return the output of the embeddings and of every layer, each (batch, tokens, hidden).

    Returns:
        (batch, labels) logits or (batch, width) sentence vectors; the hidden states, or an empty tuple.
    """
    out: Any = model(**inputs, output_hidden_states=hidden_states, return_dict=True)
    hidden = tuple(out.hidden_states) if hidden_states else ()
    if isinstance(task, SentenceEmbedding):
        mask = inputs.get("attention_mask")
        mask = torch.ones_like(inputs["input_ids"]) if mask is None else mask
        return sentence_vectors(model, out.last_hidden_state, mask, task), hidden
    return out.logits, hidden
