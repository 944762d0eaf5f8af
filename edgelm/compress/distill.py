"""Distillation: a student learns the teacher's outputs, the labels, and the teacher's hidden states."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from edgelm.anatomy import blocks, keep_layers, model_outputs
from edgelm.errors import RecipeError
from edgelm.recipe import DistillLoss
from edgelm.task import Task


def spread_layers(total: int, kept: int) -> list[int]:
    """Which `kept` of `total` layers make a student: evenly spread, the last one always among them.

    Raises:
        RecipeError: more layers than there are.
    """
    if kept > total:
        raise RecipeError(f"distill.layers is {kept}, but the teacher has {total} layers.", hint=f"Use 1 to {total}.")
    return [round((index + 1) * total / kept) - 1 for index in range(kept)]


def student_from_layers(teacher: PreTrainedModel, layers: Sequence[int]) -> PreTrainedModel:
    """A copy of the teacher with only these layers (DistilBERT's initialisation, Sanh et al. 2019).

    Raises:
        RecipeError: a layer that is not there.
    """
    total = len(blocks(teacher))
    if max(layers) >= total:
        raise RecipeError(f"distill.layers names layer {max(layers)}, but the teacher has layers 0 to {total - 1}.", hint="Count from 0.")
    student = copy.deepcopy(teacher)
    keep_layers(student, sorted(set(layers)))
    return student


def layer_pairs(teacher_layers: int, student_layers: int) -> list[tuple[int, int]]:
    """Hidden states to compare, as (teacher, student) indices into `hidden_states`: the embeddings' output and each student layer.

    Student layer m learns from teacher layer m·N/M (TinyBERT, Jiao et al. 2020).
    """
    if student_layers > teacher_layers:
        return [(0, 0), (teacher_layers, student_layers)]
    return [(0, 0)] + [(teacher + 1, student + 1) for student, teacher in enumerate(spread_layers(teacher_layers, student_layers))]


def soft_loss(student: torch.Tensor, teacher: torch.Tensor, task: Task, *, temperature: float) -> torch.Tensor:
    """How far the student's outputs are from the teacher's.

    Args:
        student, teacher: (batch, labels) logits or (batch, hidden) sentence vectors.

    Returns:
        T²·KL(teacher‖student) of the softened classes (Hinton et al. 2015); its Bernoulli form for multi-label; mean squared
        error for regression; for embeddings the squared distance of the vectors (2 − 2·cosine where they have length one).
    """
    if task.kind == "sentence-embedding":
        return (student - teacher).square().sum(dim=-1).mean()
    if task.problem == "regression":
        return functional.mse_loss(student, teacher)
    scaled_student, scaled_teacher = student / temperature, teacher / temperature
    if task.problem == "multi-label":
        soft = functional.binary_cross_entropy_with_logits(scaled_student, scaled_teacher.sigmoid())
        entropy = functional.binary_cross_entropy_with_logits(scaled_teacher, scaled_teacher.sigmoid())
        return temperature**2 * (soft - entropy)
    log_probabilities = functional.log_softmax(scaled_student, dim=-1)
    return temperature**2 * functional.kl_div(
        log_probabilities, functional.log_softmax(scaled_teacher, dim=-1), log_target=True, reduction="batchmean"
    )


def hard_loss(outputs: torch.Tensor, labels: torch.Tensor, task: Task) -> torch.Tensor:
    """The task's own loss on the labels: cross-entropy, its binary form for multi-label, or mean squared error."""
    if task.problem == "regression":
        return functional.mse_loss(outputs.squeeze(-1), labels.to(outputs.dtype))
    if task.problem == "multi-label":
        return functional.binary_cross_entropy_with_logits(outputs, labels.to(outputs.dtype))
    return functional.cross_entropy(outputs, labels)


def hidden_loss(
    student: Sequence[torch.Tensor], teacher: Sequence[torch.Tensor], pairs: Sequence[tuple[int, int]], mask: torch.Tensor
) -> torch.Tensor:
    """Mean squared difference of hidden states at real tokens, averaged over the pairs of layers.

    Args:
        student, teacher: hidden states, each (batch, tokens, hidden) with equal hidden sizes.
        pairs: (teacher, student) indices.
        mask: (batch, tokens), 1 for real tokens.
    """
    weights = mask.unsqueeze(-1).to(student[0].dtype)
    count = weights.sum() * student[0].shape[-1]
    return torch.stack([((student[s] - teacher[t]).square() * weights).sum() / count for t, s in pairs]).mean()


def distillation_loss(
    teacher: PreTrainedModel, student: PreTrainedModel, task: Task, loss: DistillLoss
) -> Callable[[PreTrainedModel, dict[str, torch.Tensor]], torch.Tensor]:
    """The weighted sum of the three losses, as a function of the student and a batch.

    Hidden states count only where teacher and student are equally wide; labels only where the batch has them
    (sentence embeddings learn from text alone).
    """
    teacher = teacher.eval().requires_grad_(False)
    use_hidden = loss.hidden > 0 and teacher.config.hidden_size == student.config.hidden_size
    pairs = layer_pairs(len(blocks(teacher)), len(blocks(student))) if use_hidden else []

    def compute(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        with torch.no_grad():
            teacher.to(inputs["input_ids"].device)
            wanted, teacher_hidden = model_outputs(teacher, task, inputs, hidden_states=use_hidden)
        outputs, student_hidden = model_outputs(model, task, inputs, hidden_states=use_hidden)
        total = loss.soft * soft_loss(outputs, wanted, task, temperature=loss.temperature)
        if loss.hard > 0 and "labels" in batch and task.kind == "text-classification":
            total = total + loss.hard * hard_loss(outputs, batch["labels"], task)
        if use_hidden:
            total = total + loss.hidden * hidden_loss(student_hidden, teacher_hidden, pairs, inputs["attention_mask"])
        return total

    return compute
