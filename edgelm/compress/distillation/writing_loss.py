"""What a model that writes learns from labels and from a teacher, without the logits of a whole batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from edgelm.anatomy import TaskModel
from edgelm.anatomy.token_head import Stack, token_head
from edgelm.compress.batches import Batch, Share
from edgelm.compress.distillation.chunked_rows import chunked_sum
from edgelm.compress.distillation.layer_matching import dynamic_pairs, layer_pairs, matched_layers
from edgelm.compress.distillation.token_teacher import Lesson, TokenTeacher
from edgelm.data.encoding import NO_CLASS
from edgelm.training_settings import DistillLoss

Rewrite = Callable[[PreTrainedModel, Batch], Batch]


def token_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each row, (rows,); rows without a target have none."""
    return functional.cross_entropy(logits.float(), targets, ignore_index=NO_CLASS, reduction="none")


def row_weights(counted: torch.Tensor) -> torch.Tensor:
    """What each row weighs, (rows,): a sample weighs the same however many rows it has, as `Rows.mean` has it.

    Args:
        counted: (batch, tokens), 1 for each row.
    """
    owner = counted.bool().nonzero()[:, 0]
    counts = torch.bincount(owner, minlength=len(counted))
    return 1.0 / (counts[owner] * len(counted))


def writing_label_loss(learner: TaskModel, model: PreTrainedModel, batch: Batch, share: Share) -> torch.Tensor:
    """The mean cross-entropy of the targets of a batch, by its share."""
    states, _ = learner.with_model(model).states(batch)
    targets = learner.targets(batch)
    found = chunked_sum(
        states,
        token_head(model),
        lambda logits, rows: token_losses(logits, targets[rows]),
        row_weights(batch["counted"]),
    )
    return share.rows * found


def writing_loss(
    learner: TaskModel,
    loss: DistillLoss,
    teacher: TokenTeacher,
    *,
    projections: nn.ModuleList | None = None,
    rewrite: Rewrite | None = None,
) -> Callable[[PreTrainedModel, Batch, Share], torch.Tensor]:
    """The weighted sum of the losses on logits, labels and hidden states, as a function of the student, a batch and its
    share.

    Args:
        learner: how a model is asked: tokenizer, task and length.
        projections: for each stack of layers, what takes the student's hidden states to the teacher's width; None: they
            are compared as they are.
        rewrite: makes a batch in which the student has written; labels that it loses count no more.
    """

    def compute(model: PreTrainedModel, batch: Batch, share: Share) -> torch.Tensor:
        given = batch if rewrite is None else rewrite(model, batch)
        lesson = teacher(given)
        states, stacks = learner.with_model(model).states(given, hidden_states=loss.hidden > 0)
        targets = learner.targets(given) if loss.hard > 0 and "labels" in given else None

        def rows_of(logits: torch.Tensor, rows: slice) -> torch.Tensor:
            total = torch.zeros(len(logits), device=logits.device)
            if loss.soft > 0:
                total = total + loss.soft * lesson.losses(logits, rows)
            return total if targets is None else total + loss.hard * token_losses(logits, targets[rows])

        total = share.rows * chunked_sum(states, token_head(model), rows_of, row_weights(given["counted"]))
        if loss.hidden > 0:
            total = total + loss.hidden * stacks_loss(stacks, lesson, loss.matching, projections, share)
        return total

    return compute


def stacks_loss(
    student: Sequence[Stack], lesson: Lesson, matching: str, projections: nn.ModuleList | None, share: Share = Share()
) -> torch.Tensor:
    """How far hidden states are from the teacher's at real tokens: squared differences by the mean square of the
    teacher's, averaged over pairs of layers and stacks. The residual stream of a decoder grows by orders of magnitude
    with its depth; so every layer counts the same.

    Args:
        matching: uniform or dynamic, as `DistillLoss` has it.
    """
    found = []
    for number, (own, wanted) in enumerate(zip(student, lesson.stacks, strict=True)):
        mapped = list(own.states) if projections is None else [projections[number](states) for states in own.states]
        depths = len(wanted.states) - 1, len(mapped) - 1
        if matching == "uniform":
            pairs = layer_pairs(*depths)
        else:
            pairs = dynamic_pairs(mapped, wanted.states, matched_layers(*depths), own.mask, share)
        found += [_relative_distance(mapped[s], wanted.states[t], own.mask) for t, s in pairs]
    return share.tokens * torch.stack(found).mean()


def _relative_distance(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    real = mask.bool()
    wanted = teacher[real]
    return (student[real] - wanted).square().mean() / wanted.square().mean().clamp(min=1e-12)
