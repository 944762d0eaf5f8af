"""A student of a stage is taught by the model that compression began with."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedModel, set_seed

from edgelm.anatomy import TaskModel
from edgelm.compress.distillation.distill import distillation_loss, taught_layers
from edgelm.compress.distillation.projection import attached, fitted_projection, identity_projection
from edgelm.compress.distillation.teach_writers import teach_writer
from edgelm.compress.distillation.teacher_cache import TeacherCache
from edgelm.compress.stage import StageContext
from edgelm.compress.training.fake_quantize import fake_quantized_embeddings
from edgelm.compress.training.loop import train
from edgelm.compress.training.lora import merged, refuse_projections, with_lora
from edgelm.training_settings import DistillLoss, TrainSettings


def teach(
    student: PreTrainedModel, loss: DistillLoss, settings: TrainSettings, context: StageContext, description: str
) -> PreTrainedModel:
    """Let the teacher of a stage teach a student on the stage's rows, in place, and return it in eval mode.

    Raises:
        RecipeError: settings that do not go together, or hidden states of a student without layers.
    """
    teacher = context.asked(context.teacher, settings.max_length)
    rows = context.dataset if context.unlabelled is None else context.dataset.join(context.unlabelled)
    options: dict[str, Any] = {
        "work": context.work,
        "seed": context.seed,
        "seconds": context.seconds,
        "description": description,
        "progress": context.progress,
    }
    if teacher.task.generates:
        with fake_quantized_embeddings(student, context.record.embedding_bits):
            return teach_writer(student, teacher, rows, loss, settings, **options)
    projection = _projection(student, teacher, loss, context)
    teacher_cache = TeacherCache(teacher, taught_layers(teacher.model, student, loss))
    taught = distillation_loss(teacher, student, loss, projection=projection, teacher_cache=teacher_cache)
    refuse_projections(settings, projection)
    set_seed(context.seed)  # thin matrices start from random numbers
    learner = student if settings.lora is None else with_lora(student, teacher.task, settings.lora)
    with attached(student, projection), fake_quantized_embeddings(student, context.record.embedding_bits):
        trained = train(
            teacher.with_model(learner),
            rows,
            settings,
            loss=taught,
            teacher_cache=None if loss.relations else teacher_cache,
            **options,
        )
    return trained if settings.lora is None else merged(trained)


def _projection(
    student: PreTrainedModel, teacher: TaskModel, loss: DistillLoss, context: StageContext
) -> nn.Linear | None:
    """What takes the student's hidden states to the teacher's: needed where widths differ, and a part of dynamic
    matching."""
    if loss.hidden == 0:
        return None
    width = teacher.model.config.hidden_size
    if student.config.hidden_size != width:
        return fitted_projection(teacher, student, context.dataset, seed=context.seed)
    return identity_projection(width) if loss.matching == "dynamic" else None
