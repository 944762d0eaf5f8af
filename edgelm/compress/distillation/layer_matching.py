"""Which hidden states of student and teacher are compared: at equal depth, or the closest in each batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from edgelm import distributed as processes
from edgelm.anatomy.halving import halved_to
from edgelm.compress.batches import Share
from edgelm.compress.distillation.teacher_cache import States
from edgelm.errors import RecipeError

_MATCHED = 4  # CoFi's number of teacher layers


def spread_layers(total: int, kept: int, *, setting: str = "distill.layers") -> list[int]:
    """Which `kept` of `total` layers make a student: evenly spread, the last one always among them.

    Raises:
        RecipeError: more layers than there are; `setting` is what asked for them.
    """
    if kept > total:
        raise RecipeError(f"{setting} is {kept}, but the teacher has {total} layers.", hint=f"Use 1 to {total}.")
    return [round((index + 1) * total / kept) - 1 for index in range(kept)]


def layer_pairs(teacher_layers: int, student_layers: int) -> list[tuple[int, int]]:
    """Hidden states to compare, as (teacher, student) indices into `hidden_states`: the embeddings' output and each
    student layer.

    Student layer m learns from teacher layer m·N/M (TinyBERT, Jiao et al. 2020).
    """
    if student_layers > teacher_layers:
        return [(0, 0), (teacher_layers, student_layers)]
    return [(0, 0)] + [
        (teacher + 1, student + 1) for student, teacher in enumerate(spread_layers(teacher_layers, student_layers))
    ]


def matched_layers(teacher_layers: int, student_layers: int) -> list[int]:
    """The teacher's layers that dynamic matching finds partners for: four, evenly spread, or as many as the smaller
    model has."""
    return spread_layers(teacher_layers, min(_MATCHED, teacher_layers, student_layers))


def dynamic_pairs(
    student: Sequence[torch.Tensor], teacher: States, layers: Sequence[int], mask: torch.Tensor, share: Share = Share()
) -> list[tuple[int, int]]:
    """Hidden states to compare in this batch, as (teacher, student) indices into `hidden_states`.

    From the top down, each of the teacher's `layers` takes the closest student layer below the last match; where none
    is left below, the last match serves again (CoFi, Xia et al. 2022, arXiv:2204.00408, section 3.2).

    Args:
        student, teacher: hidden states, each (batch, tokens, hidden) with equal hidden sizes; the embeddings' output
            first.
        mask: (batch, tokens), 1 for real tokens.
        share: of this process in the batch, whose distances are taken over all processes: they find the same pairs.
    """
    with torch.no_grad():
        rows = [
            torch.stack([masked_distance(states, teacher[layer + 1], mask) for states in student[1:]])
            for layer in layers
        ]
        distances = processes.average(share.tokens * torch.stack(rows))  # (layers, student layers)
    pairs = []
    below = len(student) - 1
    for layer, row in zip(reversed(layers), reversed(distances.tolist()), strict=True):
        if below:
            last = min(range(1, below + 1), key=lambda index: row[index - 1])
            below = last - 1
        pairs.append((layer + 1, last))
    return pairs[::-1]


def masked_distance(first: torch.Tensor, second: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of (batch, tokens, hidden) vectors at real tokens; where one model has halved them, those
    of the other are halved too.

    Args:
        mask: (batch, tokens) as both models were given it, 1 for real tokens.
    """
    tokens = min(first.shape[1], second.shape[1])
    first, _ = halved_to(first, mask, tokens)
    second, mask = halved_to(second, mask, tokens)
    weights = mask.unsqueeze(-1).to(first.dtype)
    return ((first - second).square() * weights).sum() / (weights.sum() * first.shape[-1])
