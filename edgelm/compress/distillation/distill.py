"""Distillation: a student learns the teacher's outputs, the labels, the teacher's hidden states and its attention
relations."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence

import torch
from torch import nn
from transformers import PreTrainedModel

from edgelm import distributed as processes
from edgelm.anatomy import Rows, TaskModel, keep_layers, model_layers
from edgelm.anatomy.exits import exits_heard
from edgelm.compress.batches import Share
from edgelm.compress.distillation.attention_relations import captured, related_layers, relation_loss
from edgelm.compress.distillation.layer_matching import dynamic_pairs, layer_pairs, masked_distance, matched_layers
from edgelm.compress.distillation.losses import hard_loss, soft_loss
from edgelm.compress.distillation.teacher_cache import States, TeacherCache
from edgelm.compress.distillation.writing_loss import writing_label_loss
from edgelm.errors import RecipeError
from edgelm.tasks.task import Output, Task
from edgelm.training_settings import DistillLoss

LossFunction = Callable[[PreTrainedModel, dict[str, torch.Tensor], Share], torch.Tensor]


def student_from_layers(teacher: PreTrainedModel, layers: Sequence[int]) -> PreTrainedModel:
    """A copy of the teacher with only these layers (DistilBERT's initialisation, Sanh et al. 2019).

    Raises:
        RecipeError: a layer that is not there.
    """
    total = len(model_layers(teacher))
    if max(layers) >= total:
        raise RecipeError(
            f"distill.layers names layer {max(layers)}, but the teacher has layers 0 to {total - 1}.",
            hint="Count from 0.",
        )
    student = copy.deepcopy(teacher)
    keep_layers(student, sorted(set(layers)))
    return student


def label_loss(learner: TaskModel) -> LossFunction:
    """`hard_loss` alone, as a function of the model, a batch and its share; of a generator without the logits of a
    whole batch."""
    if learner.task.generates:
        return functools.partial(writing_label_loss, learner)

    def compute(model: PreTrainedModel, batch: dict[str, torch.Tensor], share: Share) -> torch.Tensor:
        rows = learner.with_model(model).rows(batch)
        return share.rows * hard_loss(rows, learner.targets(batch), learner.task.output)

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
    layers, own = len(model_layers(teacher)), len(model_layers(student))
    if loss.hidden == 0:
        return []
    if loss.matching == "dynamic":
        return [layer + 1 for layer in matched_layers(layers, own)]
    return [layer for layer, _ in layer_pairs(layers, own)]


def distillation_loss(
    teacher: TaskModel,
    student: PreTrainedModel,
    loss: DistillLoss,
    *,
    projection: nn.Module | None = None,
    teacher_cache: TeacherCache | None = None,
) -> LossFunction:
    """The weighted sum of the four losses, as a function of the student, a batch and its share.

    Labels count only where the batch has them (sentence embeddings learn from text alone). Where texts may leave early,
    each head on the way learns the outputs and the labels too, all together.

    Args:
        projection: takes the student's hidden states to the teacher's width; None: they are compared as they are.
        teacher_cache: of the teacher, with the hidden states of `taught_layers`; None: it is asked for every batch.

    Raises:
        RecipeError: `loss.relation_layer` names a layer that the teacher does not have; another divergence than
            forward-kl where outputs are no distributions; settings of models that write.
    """
    _check(loss, teacher.task)
    ask = teacher_cache or TeacherCache(teacher, taught_layers(teacher.model, student, loss))
    related = related_layers(teacher.model, student, loss)
    hidden = _hidden_part(len(model_layers(teacher.model)), len(model_layers(student)), loss, projection)
    output = teacher.task.output

    def compute(model: PreTrainedModel, batch: dict[str, torch.Tensor], share: Share) -> torch.Tensor:
        with captured(related.teacher) as wanted_parts:
            taught, teacher_hidden = ask(batch)
        with captured(related.student) as parts, exits_heard(model) as early:
            outputs, student_hidden = teacher.with_model(model).outputs(batch, hidden_states=loss.hidden > 0)
        wanted = teacher.counted(taught, batch)
        total = torch.zeros((), device=outputs.device)
        for said in (outputs, *early):
            rows = teacher.counted(said, batch)
            total = total + loss.soft * _soft_part(rows, wanted.values, output, loss, share)
            if loss.hard > 0 and "labels" in batch and output != "vectors":
                total = total + share.rows * loss.hard * hard_loss(rows, teacher.targets(batch), output)
        if loss.hidden > 0:
            total = total + loss.hidden * hidden(student_hidden, teacher_hidden, batch["attention_mask"], share)
        if related.student is not None:
            related_loss = relation_loss(parts, wanted_parts, batch["attention_mask"], heads=related.heads)
            total = total + share.tokens * loss.relations * related_loss
        return total

    return compute


def _check(loss: DistillLoss, task: Task) -> None:
    if loss.divergence != "forward-kl" and task.output in ("values", "vectors"):
        raise RecipeError(
            f"loss.divergence is {loss.divergence}, which compares distributions; {task.kind} gives {task.output}.",
            hint="Leave it at forward-kl.",
        )
    given = [name for name in ("written", "on_policy") if getattr(loss, name) is not None]
    if given:
        raise RecipeError(f"loss.{given[0]} is for models that write; {task.kind} does not.", hint="Set it to null.")


def _soft_part(student: Rows, teacher: torch.Tensor, output: Output, loss: DistillLoss, share: Share) -> torch.Tensor:
    """`soft_loss` of this process's rows, for what they count.

    Where it looks at all pairs of texts of a batch, the others' texts are constants here: each process has the gradient
    by its own.
    """
    if output != "vectors" or student.values.shape == teacher.shape:
        found = soft_loss(
            student, teacher, output, temperature=loss.temperature, kind=loss.divergence, mixture=loss.mixture
        )
        return share.rows * found
    rows = student.samples if share.rows else 0
    values, teacher = (processes.with_rows_of_others(vectors[:rows]) for vectors in (student.values, teacher))
    return processes.count() * soft_loss(Rows(values, None, len(values)), teacher, output, temperature=loss.temperature)


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
