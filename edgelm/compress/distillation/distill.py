"""Distillation: a student learns the teacher's outputs, the labels, the teacher's hidden states and its attention
relations."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from edgelm import distributed as processes
from edgelm.anatomy import blocks, keep_layers, model_outputs
from edgelm.compress.batches import NO_CLASS, Share, model_inputs
from edgelm.compress.distillation.attention_relations import captured, related_blocks, relation_loss
from edgelm.compress.distillation.layer_matching import dynamic_pairs, layer_pairs, masked_distance, matched_layers
from edgelm.compress.distillation.teacher_cache import States, TeacherCache
from edgelm.errors import RecipeError
from edgelm.recipe import DistillLoss
from edgelm.tasks.task import Task
from edgelm.tasks.text import SentenceEmbedding, TextClassification

LossFunction = Callable[[PreTrainedModel, dict[str, torch.Tensor], Share], torch.Tensor]


def student_from_layers(teacher: PreTrainedModel, layers: Sequence[int]) -> PreTrainedModel:
    """A copy of the teacher with only these layers (DistilBERT's initialisation, Sanh et al. 2019).

    Raises:
        RecipeError: a layer that is not there.
    """
    total = len(blocks(teacher))
    if max(layers) >= total:
        raise RecipeError(
            f"distill.layers names layer {max(layers)}, but the teacher has layers 0 to {total - 1}.",
            hint="Count from 0.",
        )
    student = copy.deepcopy(teacher)
    keep_layers(student, sorted(set(layers)))
    return student


def soft_loss(student: torch.Tensor, teacher: torch.Tensor, task: Task, *, temperature: float) -> torch.Tensor:
    """How far the student's outputs are from the teacher's.

    Args:
        student, teacher: (batch, labels) logits or (batch, hidden) sentence vectors.

    Returns:
        T²·KL(teacher‖student) of the softened classes (Hinton et al. 2015); its Bernoulli form for multi-label; mean
        squared error for regression; for embeddings the squared distance of the vectors (2 − 2·cosine where they have
        length one), or, where they differ in width, how far apart the cosines between the batch's texts are (Tung and
        Mori 2019, arXiv:1907.09682).
    """
    if isinstance(task, SentenceEmbedding) and student.shape != teacher.shape:
        return (_cosines(student) - _cosines(teacher)).square().sum(dim=-1).mean()
    if isinstance(task, SentenceEmbedding):
        return (student - teacher).square().sum(dim=-1).mean()
    if task.output == "values":
        return functional.mse_loss(student, teacher)
    scaled_student, scaled_teacher = student / temperature, teacher / temperature
    if task.output == "binary":
        soft = functional.binary_cross_entropy_with_logits(scaled_student, scaled_teacher.sigmoid())
        entropy = functional.binary_cross_entropy_with_logits(scaled_teacher, scaled_teacher.sigmoid())
        return temperature**2 * (soft - entropy)
    log_probabilities = functional.log_softmax(scaled_student, dim=-1)
    return temperature**2 * functional.kl_div(
        log_probabilities, functional.log_softmax(scaled_teacher, dim=-1), log_target=True, reduction="batchmean"
    )


def _cosines(vectors: torch.Tensor) -> torch.Tensor:
    """(rows, hidden) to (rows, rows)."""
    unit = functional.normalize(vectors, dim=-1)
    return unit @ unit.T


def hard_loss(outputs: torch.Tensor, labels: torch.Tensor, task: Task) -> torch.Tensor:
    """The task's own loss on the labels: cross-entropy, its binary form for multi-label, or mean squared error.

    Rows without a label (-100, or NaN) add nothing. The sum is divided by all rows of the batch, so that each label
    weighs the same whatever the batch it comes in.
    """
    if task.output == "classes":
        return functional.cross_entropy(outputs, labels, ignore_index=NO_CLASS, reduction="sum") / len(outputs)
    known = ~labels.isnan()
    targets = labels.nan_to_num().to(outputs.dtype)
    if task.output == "values":
        losses = (outputs.squeeze(-1) - targets).square()
    else:
        losses = functional.binary_cross_entropy_with_logits(outputs, targets, reduction="none")
    return (losses * known).sum() / known.numel()


def label_loss(task: Task) -> LossFunction:
    """`hard_loss` alone, as a function of the model, a batch and its share."""

    def compute(model: PreTrainedModel, batch: dict[str, torch.Tensor], share: Share) -> torch.Tensor:
        outputs, _ = model_outputs(model, task, model_inputs(batch))
        return share.rows * hard_loss(outputs, batch["labels"], task)

    return compute


def hidden_loss(
    student: Sequence[torch.Tensor], teacher: States, pairs: Sequence[tuple[int, int]], mask: torch.Tensor
) -> torch.Tensor:
    """Mean squared difference of hidden states at real tokens, averaged over the pairs of layers.

    Args:
        student, teacher: hidden states, each (batch, tokens, hidden) with equal hidden sizes.
        pairs: (teacher, student) indices.
        mask: (batch, tokens), 1 for real tokens.
    """
    return torch.stack([masked_distance(student[s], teacher[t], mask) for t, s in pairs]).mean()


def taught_layers(teacher: PreTrainedModel, student: PreTrainedModel, loss: DistillLoss) -> list[int]:
    """Which of the teacher's hidden states, the embeddings' output first, the loss may compare with the student's."""
    layers, own = len(blocks(teacher)), len(blocks(student))
    if loss.hidden == 0:
        return []
    if loss.matching == "dynamic":
        return [layer + 1 for layer in matched_layers(layers, own)]
    return [layer for layer, _ in layer_pairs(layers, own)]


def distillation_loss(
    teacher: PreTrainedModel,
    student: PreTrainedModel,
    task: Task,
    loss: DistillLoss,
    *,
    projection: nn.Module | None = None,
    teacher_cache: TeacherCache | None = None,
) -> LossFunction:
    """The weighted sum of the four losses, as a function of the student, a batch and its share.

    Labels count only where the batch has them (sentence embeddings learn from text alone).

    Args:
        projection: takes the student's hidden states to the teacher's width; None: they are compared as they are.
        teacher_cache: of the teacher, with the hidden states of `taught_layers`; None: it is asked for every batch.

    Raises:
        RecipeError: `loss.relation_layer` names a layer that the teacher does not have.
    """
    ask = teacher_cache or TeacherCache(teacher, task, taught_layers(teacher, student, loss))
    related = related_blocks(teacher, student, loss)
    hidden = _hidden_part(len(blocks(teacher)), len(blocks(student)), loss, projection)

    def compute(model: PreTrainedModel, batch: dict[str, torch.Tensor], share: Share) -> torch.Tensor:
        inputs = model_inputs(batch)
        with captured(related.teacher) as wanted_parts:
            wanted, teacher_hidden = ask(batch)
        with captured(related.student) as parts:
            outputs, student_hidden = model_outputs(model, task, inputs, hidden_states=loss.hidden > 0)
        total = loss.soft * _soft_part(outputs, wanted, task, loss.temperature, share)
        if loss.hard > 0 and "labels" in batch and isinstance(task, TextClassification):
            total = total + share.rows * loss.hard * hard_loss(outputs, batch["labels"], task)
        if loss.hidden > 0:
            total = total + loss.hidden * hidden(student_hidden, teacher_hidden, inputs["attention_mask"], share)
        if related.student is not None:
            related_loss = relation_loss(parts, wanted_parts, inputs["attention_mask"], heads=related.heads)
            total = total + share.tokens * loss.relations * related_loss
        return total

    return compute


def _soft_part(
    student: torch.Tensor, teacher: torch.Tensor, task: Task, temperature: float, share: Share
) -> torch.Tensor:
    """`soft_loss` of this process's rows, for what they count.

    Where it looks at all pairs of texts of a batch, the others' texts are constants here: each process has the gradient
    by its own.
    """
    if not isinstance(task, SentenceEmbedding) or student.shape == teacher.shape:
        return share.rows * soft_loss(student, teacher, task, temperature=temperature)
    rows = len(student) if share.rows else 0
    student, teacher = (processes.with_rows_of_others(vectors[:rows]) for vectors in (student, teacher))
    return processes.count() * soft_loss(student, teacher, task, temperature=temperature)


def _hidden_part(
    teacher_layers: int, student_layers: int, loss: DistillLoss, projection: nn.Module | None
) -> Callable[[Sequence[torch.Tensor], States, torch.Tensor, Share], torch.Tensor]:
    """The loss on hidden states as a function of the student's, the teacher's, the mask and the batch's share."""
    uniform = layer_pairs(teacher_layers, student_layers)
    chosen = matched_layers(teacher_layers, student_layers)

    def compute(student: Sequence[torch.Tensor], teacher: States, mask: torch.Tensor, share: Share) -> torch.Tensor:
        mapped = student if projection is None else [projection(states) for states in student]
        pairs = uniform if loss.matching == "uniform" else dynamic_pairs(mapped, teacher, chosen, mask, share)
        return share.tokens * hidden_loss(mapped, teacher, pairs, mask)

    return compute
