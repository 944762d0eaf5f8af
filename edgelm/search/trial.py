"""One trial, all but its latency: a recipe run on the model, the result exported and judged."""

from __future__ import annotations

import json
import math
import traceback
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from edgelm.data.dataset import Dataset
from edgelm.errors import EdgelmError
from edgelm.progress import Progress
from edgelm.recipe import Recipe
from edgelm.search.steps import StepNotes
from edgelm.tasks.generation import TextGeneration
from edgelm.tasks.task import Task
from edgelm.tasks.text import SentenceEmbedding
from edgelm.training_settings import TrainSettings

ERROR_FILE = "error.txt"
COMPRESSED_FILE = "compress.json"
BYTES = "byte_log_likelihood"  # mean of a byte's, nats


@dataclass(frozen=True)
class Job:
    """What a worker needs to know; every path is seen by all workers.

    Attributes:
        folder: of the trial.
        rows: folder of the data sets, see `edgelm.search.rows`.
        locks: folder in which workers wait for each other, see `edgelm.search.timing_lock`.
        model: folder of the model.
        recipe, device: as JSON.
        kind: the task that a masked language model is compressed for; None: as the folder is read.
    """

    folder: str
    rows: str
    locks: str
    model: str
    recipe: dict[str, Any]
    device: dict[str, Any]
    precision: str
    max_length: int
    allow_pickle: bool
    kind: str | None = None

    @property
    def compressed(self) -> bool:
        """Whether the checkpoint is made: what is left takes no training."""
        return (Path(self.folder) / COMPRESSED_FILE).is_file()


def shorten(recipe: Recipe, share: float) -> Recipe:
    """The recipe with a share of its training steps; learning rates rise and fall in that time."""
    if share == 1:
        return recipe
    stages = []
    for stage in recipe.stages:
        train: TrainSettings | None = getattr(stage, "train", None)
        if train is not None:
            steps = None if train.max_steps is None else max(1, round(train.max_steps * share))
            stage = stage.model_copy(
                update={"train": train.model_copy(update={"epochs": train.epochs * share, "max_steps": steps})}
            )
        stages.append(stage)
    return recipe.model_copy(update={"stages": tuple(stages)})


def recipe_text(recipe: Recipe) -> str:
    """A recipe as YAML, for `--recipe`."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, width=140)


def run_job(values: dict[str, Any]) -> dict[str, Any]:
    """Make a trial's checkpoint and bundle, and judge the bundle. Runs in a worker, which may be on another machine.

    Args:
        values: of a `Job`.

    Returns:
        quality, metrics, parameters and size_mb; or error, hint and class. Whatever goes wrong is this trial's alone.
    """
    job = Job(**values)
    try:
        from edgelm import distributed as processes
        from edgelm.search.timing_lock import shared

        with processes.alone(), shared(Path(job.locks)) as progress:
            return _make(job, StepNotes(Path(job.folder), progress))
    except EdgelmError as error:
        return {"error": error.message, "hint": error.hint, "class": type(error).__name__}
    except Exception as error:
        (Path(job.folder) / ERROR_FILE).write_text(traceback.format_exc(), encoding="utf-8")
        return {"error": f"{type(error).__name__}: {error}", "hint": "", "class": "EdgelmError"}


def _make(job: Job, progress: Progress) -> dict[str, Any]:
    from edgelm.anatomy import find_checkpoint
    from edgelm.compress.pipeline import compress
    from edgelm.device import Device
    from edgelm.export.pipeline import export
    from edgelm.search.folder import write_json
    from edgelm.search.rows import read_rows

    folder, device = Path(job.folder), Device.model_validate(job.device)
    dataset, evaluation = (read_rows(Path(job.rows) / f"{name}.json") for name in ("train", "eval"))
    options: dict[str, Any] = {"allow_pickle": job.allow_pickle, "overwrite": True, "progress": progress}
    if not job.compressed:  # what an interrupted worker left is gone on with
        result = compress(
            job.model,
            dataset=dataset,
            evaluation=evaluation,
            recipe=Recipe.model_validate(job.recipe),
            output=folder / "checkpoint",
            device=device,
            max_length=job.max_length,
            kind=job.kind,
            **options,
        )
        write_json(folder / COMPRESSED_FILE, result.to_dict())
    parameters = json.loads((folder / COMPRESSED_FILE).read_text(encoding="utf-8"))["parameters"]
    task = find_checkpoint(job.model, allow_pickle=job.allow_pickle, task=job.kind).task
    bundle = export(
        folder / "checkpoint",
        output=folder / "bundle",
        device=device,
        precision=job.precision,
        calibration=dataset,
        evaluation=evaluation,
        max_length=None if task.generates else job.max_length,  # which is of the texts that it is judged on
        **options,
    )
    write_json(folder / "manifest.json", bundle.manifest.to_dict())
    metrics = (
        bundle.manifest.quality["bundle"]
        if bundle.manifest.quality
        else {"agreement": _agreement(job, evaluation, progress)}
    )
    metrics = with_bytes(metrics)
    return {
        "quality": metrics[quality_name(task, evaluation)],
        "metrics": metrics,
        "parameters": parameters,
        "size_mb": bundle.size_mb,
    }


def quality_name(task: Task, evaluation: Dataset) -> str:
    """The metric that trials are judged by: the task's; of texts that go on, how likely a byte of them is, since trials
    may have other tokens; without labels, agreement with the original model."""
    if isinstance(task, TextGeneration):
        return BYTES
    return "agreement" if evaluation.for_task(task).labels is None else str(task.metric)


def with_bytes(metrics: dict[str, float]) -> dict[str, float]:
    """Metrics of texts that go on with how likely a byte of them is, whatever the tokens are; others as they are."""
    if "byte_perplexity" not in metrics:
        return metrics
    return metrics | {BYTES: -math.log(metrics["byte_perplexity"])}


def single_texts(task: Task, rows: Dataset) -> Dataset:
    """The rows as a bundle reads them: an encoder reads the first text of a pair, which is there for the metric
    alone."""
    return replace(rows, pairs=None, labels=None) if isinstance(task, SentenceEmbedding) else rows


def _agreement(job: Job, evaluation: Dataset, progress: Progress) -> float:
    """How closely the bundle's outputs agree with the original model's, on rows without labels."""
    from edgelm.anatomy import TaskModel, find_checkpoint, load_checkpoint, load_tokenizer
    from edgelm.compress.evaluate import predict
    from edgelm.export.samples import encode, graph_rows
    from edgelm.metrics.judge import Predictions, agree
    from edgelm.runtime import load

    folder = Path(job.folder)
    original = find_checkpoint(job.model, allow_pickle=job.allow_pickle, task=job.kind)
    model = load_checkpoint(original, allow_pickle=job.allow_pickle)
    bundle = load(folder / "bundle")
    task = bundle.manifest.task
    rows = single_texts(task, evaluation)
    reference = predict(TaskModel(model, load_tokenizer(original), task, job.max_length), rows, progress=progress)
    tokenizer = load_tokenizer(find_checkpoint(folder / "checkpoint"))
    samples = encode(tokenizer, task, rows.inputs(), max_length=bundle.manifest.tokenization.max_length)
    return agree(task, Predictions(graph_rows(bundle.session, samples), samples.encoded), reference, rows)


def as_values(job: Job) -> dict[str, Any]:
    """A job as JSON, for a worker."""
    return asdict(job)
