"""A stage's training of a model that writes, taught by the model that compression began with."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, set_seed

from edgelm.anatomy import TaskModel
from edgelm.compress.batches import EncodedDataset
from edgelm.compress.distillation.divergence import Divergence
from edgelm.compress.distillation.on_policy import student_writes
from edgelm.compress.distillation.projection import attached
from edgelm.compress.distillation.stack_projections import stack_projections
from edgelm.compress.distillation.teacher_texts import encode_taught
from edgelm.compress.distillation.token_teacher import TokenTeacher
from edgelm.compress.distillation.writing_loss import writing_loss
from edgelm.compress.training.loop import train
from edgelm.compress.training.lora import merged, refuse_projections, with_lora
from edgelm.data.dataset import Dataset
from edgelm.errors import RecipeError
from edgelm.progress import Progress
from edgelm.training_settings import DistillLoss, TrainSettings


def teach_writer(
    student: PreTrainedModel,
    teacher: TaskModel,
    rows: Dataset,
    loss: DistillLoss,
    settings: TrainSettings,
    *,
    work: Path,
    seed: int,
    seconds: float | None,
    description: str,
    progress: Progress,
) -> PreTrainedModel:
    """Train a student that writes in place, and return it.

    Args:
        teacher: with the length that is read in training.
        rows: texts, prompts or sources; the teacher writes the targets that are lacking, or all if asked to.
        work: folder for training states, and for what the teacher has said and written.

    Raises:
        RecipeError: settings that are not for models that write.
        DataError: as `encode_taught`.
    """
    check_loss(loss)
    start = time.monotonic()
    teacher.model.eval()
    encoded = encode_taught(teacher, rows, loss.written, work=work, seed=seed, progress=progress)
    data = EncodedDataset(rows, teacher, numbered=True, encoded=encoded)
    projections = stack_projections(student, teacher, loss, data)
    refuse_projections(settings, projections)
    divergence = Divergence(loss.divergence, loss.temperature, loss.mixture)
    lessons = TokenTeacher(teacher, divergence, folder=work, top_k=loss.top_k, hidden_states=loss.hidden > 0)
    rewrite = None if loss.on_policy is None else student_writes(teacher, loss.on_policy)
    set_seed(seed)  # thin matrices start from random numbers
    learner: Any = student if settings.lora is None else with_lora(student, teacher.task, settings.lora)
    with attached(student, projections):
        taught = train(
            teacher.with_model(learner),
            data,
            settings,
            work=work,
            seed=seed,
            loss=writing_loss(teacher, loss, lessons, projections=projections, rewrite=rewrite),
            teacher_cache=lessons if loss.soft > 0 else None,
            seconds=None if seconds is None else max(1.0, seconds - (time.monotonic() - start)),
            description=description,
            progress=progress,
        )
    return taught if settings.lora is None else merged(taught)


def check_loss(loss: DistillLoss) -> None:
    """Refuse settings that are for encoders.

    Raises:
        RecipeError: attention relations.
    """
    if loss.relations > 0:
        raise RecipeError(
            "loss.relations compares what every token of an encoder sees; models that write learn from logits and "
            "hidden states.",
            hint="Set loss.relations to 0.",
        )
