"""Attention relations: how the queries, keys and values of a text's tokens relate to each other, whatever the width
(MiniLMv2)."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from edgelm.anatomy import Layer, Projection, model_layers
from edgelm.anatomy.hooks import Watch, watching
from edgelm.errors import RecipeError
from edgelm.training_settings import DistillLoss

PARTS = ("query", "key", "value")


def relation_heads(teacher_width: int, student_width: int, wanted: int) -> int:
    """Into how many relation heads both widths can be split: the largest number up to `wanted` that divides both.

    After head pruning a layer's query may have any number of heads; the relations go on with fewer, wider relation
    heads.
    """
    return max(heads for heads in range(1, wanted + 1) if teacher_width % heads == 0 and student_width % heads == 0)


@dataclass(frozen=True)
class Related:
    """The two layers whose relations are compared (None: they are not), and over how many relation heads."""

    teacher: Layer | None
    student: Layer | None
    heads: int


def related_layers(teacher: PreTrainedModel, student: PreTrainedModel, loss: DistillLoss) -> Related:
    """The teacher's layer that the recipe names (its last, if none) and the student's last that a cut has left any
    heads.

    Raises:
        RecipeError: a layer that the teacher does not have.
    """
    seeing = [layer for layer in model_layers(student) if layer.heads]
    if loss.relations == 0 or not seeing:
        return Related(None, None, 1)
    layers = model_layers(teacher)
    if loss.relation_layer is not None and loss.relation_layer >= len(layers):
        raise RecipeError(
            f"loss.relation_layer is {loss.relation_layer}, but the teacher has layers 0 to {len(layers) - 1}.",
            hint="Count from 0.",
        )
    one = layers[-1 if loss.relation_layer is None else loss.relation_layer]
    other = seeing[-1]
    widths = (one.projection("query").out_features, other.projection("query").out_features)
    return Related(one, other, relation_heads(*widths, loss.relation_heads))


@contextlib.contextmanager
def captured(layer: Layer | None) -> Iterator[dict[str, torch.Tensor]]:
    """Inside, what a layer's query, key and value projections give is kept by part, each (batch, tokens, width);
    nothing for None."""
    found: dict[str, torch.Tensor] = {}

    def keep(part: str, projection: Projection) -> Watch:
        def seen(output: torch.Tensor) -> None:
            found.setdefault(part, projection.split(output))  # DeBERTa's then read relative positions as well

        return seen

    projections = {} if layer is None else {part: layer.projection(part) for part in PARTS}
    with watching(outputs=[(each.module, keep(part, each)) for part, each in projections.items()]):
        yield found


def log_relations(vectors: torch.Tensor, mask: torch.Tensor, heads: int) -> torch.Tensor:
    """log softmax(X Xᵀ / √d) of each relation head; padding gets no share.

    Args:
        vectors: (batch, tokens, width), all heads concatenated; they are split anew into `heads` of d = width / heads.
        mask: (batch, tokens), 1 for real tokens.

    Returns:
        (batch, heads, tokens, tokens), float32 at least.
    """
    batch, tokens, width = vectors.shape
    split = vectors.view(batch, tokens, heads, width // heads).transpose(1, 2)
    scores = split @ split.transpose(2, 3) / math.sqrt(width // heads)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    # Half of the smallest number: exp gives an exact zero, and the logarithm stays finite.
    return functional.log_softmax(
        scores.masked_fill(mask[:, None, None, :] == 0, torch.finfo(scores.dtype).min / 2), dim=-1
    )


def relation_loss(
    student: Mapping[str, torch.Tensor], teacher: Mapping[str, torch.Tensor], mask: torch.Tensor, *, heads: int
) -> torch.Tensor:
    """Σ over Q-Q, K-K and V-V of KL(teacher‖student), each the mean over relation heads and real tokens' rows.

    Args:
        student, teacher: query, key and value of one layer, each (batch, tokens, width); `heads` divides both widths.
        mask: (batch, tokens), 1 for real tokens.

    Source: Wang et al. 2021, MiniLMv2 (arXiv:2012.15828), eq. 4 and 5.
    """
    rows = mask[:, None, :].to(torch.bool)  # (batch, 1, tokens)
    total = torch.zeros((), device=mask.device)
    for part in PARTS:
        wanted, found = log_relations(teacher[part], mask, heads), log_relations(student[part], mask, heads)
        divergence = functional.kl_div(found, wanted, log_target=True, reduction="none").sum(
            dim=-1
        )  # (batch, heads, tokens)
        total = total + (divergence * rows).sum() / (rows.sum() * heads)
    return total
