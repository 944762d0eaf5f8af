"""Targets that training rows lack: who writes them, and when they need not be written again."""

from __future__ import annotations

from pathlib import Path

from edgelm.anatomy import TaskModel
from edgelm.compress.distillation.teacher_texts import with_targets
from edgelm.compress.lineage import digest
from edgelm.data.dataset import Dataset
from edgelm.progress import Progress
from edgelm.recipe import Recipe
from edgelm.training_settings import Settings, WrittenSettings


def asked_targets(recipe: Recipe) -> WrittenSettings | None:
    """How the first stage that learns targets of the teacher's wants them written."""
    losses = [stage.loss for stage in recipe.stages if hasattr(stage, "loss")]
    return next((loss.written for loss in losses if loss.written is not None), None)


def with_teachers_targets(
    teacher: TaskModel,
    rows: Dataset,
    asked: WrittenSettings | None,
    work: Path,
    seed: int,
    fingerprint: str,
    progress: Progress,
) -> Dataset:
    """The training rows, with what the teacher writes where they have no target: all stages read targets, not those
    alone that train."""
    how = "" if asked is None else asked.model_dump_json()
    key = digest(fingerprint, rows.fingerprint(), how, str(teacher.max_length), str(seed))
    return with_targets(teacher, rows, asked, work=work / f"targets-{key[:16]}", seed=seed, progress=progress)


def without_writing(settings: Settings, written: WrittenSettings | None) -> Settings:
    """A stage's settings, where the training rows have the targets that it would ask the teacher for."""
    loss = getattr(settings, "loss", None)
    if written is None or loss is None or loss.written != written:
        return settings
    return settings.model_copy(update={"loss": loss.model_copy(update={"written": None})})
