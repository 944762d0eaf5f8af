"""What is known of trials before the first of them: whether a time limit holds one at all."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from edgelm.clock import Clock, TimeLimitWarning
from edgelm.data.dataset import Dataset
from edgelm.data.task_rows import completed
from edgelm.recipe import Recipe
from edgelm.search.trial import Job
from edgelm.tasks.task import Task


def warn_of_fixed(
    job: Job, task: Task, dataset: Dataset, evaluation: Dataset, recipes: Iterable[Recipe], clock: Clock
) -> None:
    """Warn where the limit does not hold what is fixed in every trial: imports and reading, as long as they took here;
    to load and judge the original, as a few rows tell, and as often again as the shortest recipe has stages.

    Args:
        job: of any trial.
    """
    from edgelm.anatomy import TaskModel, find_checkpoint, load_checkpoint, load_tokenizer
    from edgelm.compress.training.judging_time import judging_seconds

    reading = clock.spent_s
    stages = min(len(recipe.stages) for recipe in recipes)
    checkpoint = find_checkpoint(job.model, allow_pickle=job.allow_pickle, task=job.kind)
    model = load_checkpoint(checkpoint, allow_pickle=job.allow_pickle)
    judged = TaskModel(model, load_tokenizer(checkpoint), completed(task, dataset), job.max_length)
    loading = clock.spent_s - reading
    fixed = reading + (1 + stages) * (loading + judging_seconds(judged, evaluation))
    if fixed > clock.left_s:
        warnings.warn(
            f"a time limit of {clock.limit_s:.0f} s holds no trial: {clock.spent_s:.0f} s have passed, and to import, "
            f"read, load and judge the original and what its stages leave takes about {fixed:.0f} s of each trial, "
            f"before anything is trained, exported or measured. Give --time-limit {clock.spent_s + 2 * fixed:.0f}s or "
            "more, or fewer rows with --eval.",
            TimeLimitWarning,
            stacklevel=2,
        )
