"""Which of several cuts learns best: all train for some steps, the better half goes on, and so on until one is left.

What a cut loses before any training says little about what it will have learnt afterwards: many layers with almost
nothing in them begin nearest to the teacher, and then lag behind. So they are tried. Source: successive halving
(Jamieson and Talwalkar 2016, arXiv:1502.07943).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from transformers import PreTrainedModel

from edgelm import distributed as processes
from edgelm.anatomy import TaskModel, model_layers
from edgelm.compress.distillation.distill import distillation_loss
from edgelm.compress.distillation.teacher_cache import TeacherCache
from edgelm.compress.training.loop import train
from edgelm.data.dataset import Dataset
from edgelm.progress import Progress
from edgelm.recipe import RaceSettings
from edgelm.training_settings import DistillLoss, TrainSettings

_ROWS = 2  # times what is read in the first round


def race(
    models: Sequence[PreTrainedModel],
    settings: RaceSettings,
    *,
    teacher: TaskModel,
    rows: Dataset,
    loss: Callable[[PreTrainedModel], float],
    work: Path,
    seed: int,
    seconds: float | None,
    progress: Progress,
) -> int:
    """Train the models, which are changed, and tell which one wins. Each round has twice as many steps for half as many
    models.

    Args:
        rows: to learn from.
        loss: of a model, on other texts: what they are compared by.
        work: a folder for training states, removed before and afterwards.
        seconds: that all of it may take; trainings are shortened to fit. None: as long as it takes.

    Returns:
        the winner's place in `models`.
    """
    taught = rows.sample(_ROWS * settings.steps * settings.batch_size, seed=seed)
    teacher_cache = TeacherCache(
        teacher, range(len(model_layers(teacher.model)) + 1)
    )  # any layer, for students of any depth
    left, steps = list(range(len(models))), settings.steps
    rounds = max(1, (len(left) - 1).bit_length())
    while len(left) > 1:
        found = {}
        for place in left:
            processes.on_main(lambda: shutil.rmtree(work, ignore_errors=True))
            learning = distillation_loss(teacher, models[place], DistillLoss(), teacher_cache=teacher_cache)
            train(
                teacher.with_model(models[place]),
                taught,
                _train_settings(settings, steps, teacher.max_length),
                work=work,
                seed=seed + len(left),
                loss=learning,
                teacher_cache=teacher_cache,
                seconds=None if seconds is None else seconds / rounds / len(left),
                description=f"race of {len(left)}",
                progress=progress,
            )
            found[place] = processes.same(loss(models[place]))
        left = sorted(left, key=lambda place: found[place])[: len(left) // 2]
        steps *= 2
    processes.on_main(lambda: shutil.rmtree(work, ignore_errors=True))
    return left[0]


def _train_settings(settings: RaceSettings, steps: int, max_length: int) -> TrainSettings:
    return TrainSettings(
        max_steps=steps,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        precision=settings.precision,
        schedule="constant",
        warmup=0.1,
        dropout=0.0,
        max_length=max_length,
    )
