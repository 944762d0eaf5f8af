"""Runs a recipe on a checkpoint: stage after stage, each measured, each kept, so that interrupted work goes on."""

from __future__ import annotations

import functools
import shutil
import time
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from edgelm import distributed as processes
from edgelm import tracking
from edgelm.anatomy import (
    TaskModel,
    find_checkpoint,
    layer_shapes,
    load_checkpoint,
    load_tokenizer,
    parameter_count,
    save_checkpoint,
)
from edgelm.anatomy.hidden import hidden_size
from edgelm.anatomy.sizes import check_length, text_limit
from edgelm.cards.checkpoint import write_checkpoint_card
from edgelm.checkpoint import Record, StageRecord, open_checkpoint
from edgelm.clock import TimeLimitWarning
from edgelm.compress.augmentation.augment import augment
from edgelm.compress.check_stages import check_stages
from edgelm.compress.distillation.missing_targets import asked_targets, with_teachers_targets, without_writing
from edgelm.compress.evaluate import evaluate
from edgelm.compress.lineage import data_origin, digest, model_fingerprint, tool_versions
from edgelm.compress.pruning.allotted import Allotted
from edgelm.compress.pruning.constraints import Constraints
from edgelm.compress.stage import StageContext
from edgelm.compress.stages import STAGES
from edgelm.compress.training.judging_time import judging_seconds
from edgelm.compress.training.loop import check_batches
from edgelm.compress.training.time_limit import Allowance, PaceWatch
from edgelm.compress.vocabulary.choose import kept_tokens, read_alike
from edgelm.compress.vocabulary.corpus import recipe_files
from edgelm.compress.write import write
from edgelm.data.dataset import Dataset
from edgelm.data.task_rows import completed
from edgelm.device import Device
from edgelm.errors import RecipeError
from edgelm.files.output import check_output, disk_errors, staged_output
from edgelm.files.output_kinds import CHECKPOINT
from edgelm.files.work import Work
from edgelm.lengths import DEFAULT_LENGTH
from edgelm.notebook import result_html
from edgelm.progress import Progress, during, silent
from edgelm.recipe import Recipe
from edgelm.training_settings import Settings, WrittenSettings

_WORK_NAMES = r"\d+-[a-z-]+-[0-9a-f]{16}(\.training)?|targets-[0-9a-f]{16}"  # in OUTPUT.work


@dataclass(frozen=True)
class CompressResult:
    """What `compress` made.

    Attributes:
        path: folder of the new checkpoint.
        record: its history, with the metrics of every stage.
        original: metrics and size of the model that it began with.
        parameters: number of weights now.
        size_mb: of the weights on disk, 10^6 bytes.
    """

    path: Path
    record: Record
    original: dict[str, Any]
    parameters: int
    size_mb: float

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return result_html(self)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: what `edgelm compress --json` prints."""
        return asdict(self) | {"path": str(self.path), "record": self.record.to_dict()}


@processes.claims_output
def compress(
    model: str | Path,
    *,
    dataset: Dataset,
    evaluation: Dataset,
    recipe: Recipe,
    output: str | Path,
    device: Device | None = None,
    goal: Constraints | None = None,
    unlabelled: Dataset | None = None,
    time_limit: float | None = None,
    began: float | None = None,
    overwrite: bool = False,
    allow_pickle: bool = False,
    max_length: int = 128,
    kind: str | None = None,
    progress: Progress = silent,
) -> CompressResult:
    """Run a recipe's stages on a model and write the resulting checkpoint.

    Finished stages are kept in `OUTPUT.work` until the end, keyed by a hash of everything that they depend on: the
    same call, after an interruption, goes on from there and ends with the same result.

    Args:
        dataset: training rows, with or without labels. Targets that sources lack are written by the model.
        evaluation: rows to judge by; never trained on. Sources without targets are judged by what the model writes.
        goal: what the recipe's `fit` stages aim at; None: the operations that they name themselves.
        unlabelled: further texts for the stages that learn from the original model, which labels them.
        time_limit: in seconds, from the call on: trainings take fewer steps, in proportion to their epochs, and still
            anneal.
        began: when the limit began to run, by `time.monotonic()`; None: with this call.
        kind: the task that a masked language model is compressed for, such as fill-mask; None: as the folder is read.

    Raises:
        ModelError, DataError, RecipeError: the input cannot be used.
        OutputExistsError: `output` is there and `overwrite` is not set.
        OutputInUseError: another process is making it.
    """
    allowed = Allowance(time_limit, time.monotonic() if began is None else began)
    progress = watch = PaceWatch(progress, allowed)
    output = Path(output)
    check_output(output, overwrite=overwrite, kind=CHECKPOINT)
    goal = goal or Constraints()
    check_batches(*(stage.train for stage in recipe.stages if hasattr(stage, "train")))
    checkpoint = find_checkpoint(model, allow_pickle=allow_pickle, task=kind)
    _check_lengths(recipe, max_length, text_limit(checkpoint.config))
    task = completed(checkpoint.task, dataset)
    check_stages(recipe, checkpoint, pairs=dataset.pairs is not None)
    files = recipe_files(recipe, task.schema)
    dataset, evaluation = (rows.for_task(task) for rows in (dataset, evaluation))
    start = time.monotonic()
    with during(progress, "load the model"):
        teacher, tokenizer = load_checkpoint(checkpoint, allow_pickle=allow_pickle), load_tokenizer(checkpoint)
        fingerprint = model_fingerprint(checkpoint)  # reads all weights
    loading = time.monotonic() - start
    given = [rows for rows in (dataset, evaluation, unlabelled) if rows is not None]
    called = [recipe.model_dump_json(), goal.fingerprint(), str(max_length), *files]
    processes.meet(output.parent, lambda: digest(fingerprint, *(rows.fingerprint() for rows in given), *called))
    further = _further_texts(dataset, unlabelled, recipe, teacher, tokenizer, progress)
    judged = TaskModel(teacher, tokenizer, task, max_length)
    expected = 0.0 if time_limit is None else judging_seconds(judged, evaluation)
    if told := expected > 0 and allowed.check(recipe.stages, expected, loading=loading, original=True):
        watch.hush()
    work = output.with_name(output.name + ".work")
    asked = asked_targets(recipe)
    with disk_errors(output):
        taught = with_teachers_targets(judged, dataset, asked, work, recipe.seed, fingerprint, progress)
    whole = taught is not dataset and dataset.labels is None and "unlabelled" not in further
    written = asked if whole else None  # what no stage needs to ask for again
    dataset = taught
    own = None
    if task.schema == "targets" and evaluation.labels is None:
        own = write(teacher, tokenizer, task, evaluation.texts, max_length=max_length, progress=progress)
        evaluation = replace(evaluation, labels=tuple((text,) for text in own))
    start = time.monotonic()
    metrics, reference = evaluate(judged, evaluation, texts=own, progress=progress)
    judging = time.monotonic() - start
    if not told:
        allowed.check(recipe.stages, judging, loading=loading)
    metrics["agreement"] = 1.0
    original = {"metrics": metrics, "parameters": parameter_count(teacher), "size_mb": checkpoint.size_mb}
    tracking.log("stages", metrics | {"parameters": original["parameters"]})
    record = replace(
        checkpoint.record,
        task=task,
        original_layers=checkpoint.record.original_layers if checkpoint.record.layers else layer_shapes(teacher),
        data={role: data_origin(rows) for role, rows in {"train": dataset, "eval": evaluation, **further}.items()},
        recipe=recipe.name,
        device=None if device is None else device.name,
        tools=tool_versions(),
    )
    prints = [rows.fingerprint() for rows in (dataset, evaluation, *further.values())]
    key = digest(fingerprint, *prints, str(max_length), str(recipe.seed), *files)
    texts = functools.reduce(Dataset.join, further.values()) if further else None
    key = digest(key, goal.fingerprint()) if goal.bounds else key
    key = key if time_limit is None else digest(key, f"within {time_limit:g} s")
    current: PreTrainedModel = teacher
    with disk_errors(output):
        for index, settings in enumerate(recipe.stages):
            key = digest(key, settings.model_dump_json())
            folder = work / f"{index + 1}-{settings.stage}-{key[:16]}"
            if not processes.on_main(folder.is_dir):
                training = folder.with_suffix(".training")
                seconds = allowed.training_seconds(recipe.stages[index:], judging)
                allotted = Allotted(allowed.cutting_seconds(recipe.stages[index:], judging))
                context = StageContext(
                    teacher,
                    tokenizer,
                    record,
                    dataset,
                    texts,
                    training,
                    recipe.seed,
                    progress,
                    goal,
                    seconds,
                    allotted,
                    evaluation,
                )
                with during(progress, f"stage {index + 1} of {len(recipe.stages)}: {settings.stage}"):
                    _run_stage(
                        current,
                        settings,
                        context,
                        folder=folder,
                        evaluation=evaluation,
                        reference=reference,
                        before=metrics,
                        max_length=max_length,
                        written=written,
                    )
            done = open_checkpoint(folder)
            current, record, metrics = load_checkpoint(done), done.record, done.record.stages[-1].after
            teacher, tokenizer = read_alike(teacher, tokenizer, load_tokenizer(done))

        def finish() -> None:
            done = Work(work, _WORK_NAMES)
            with staged_output(output, overwrite=overwrite, kind=CHECKPOINT, work=done) as folder:
                share = 1.0 if record.hidden is None else record.hidden.kept / hidden_size(teacher)
                costs = goal.narrowed(share).costs(layer_shapes(current))
                save_checkpoint(folder, current, tokenizer, replace(record, costs=costs))
                below = checkpoint.base.path if checkpoint.base else None
                write_checkpoint_card(folder, record, name=output.name, source=checkpoint.path, base=below)

        processes.on_main(finish)
    made = open_checkpoint(output)
    return CompressResult(output, made.record, original, parameter_count(current), made.size_mb)


def _check_lengths(recipe: Recipe, max_length: int, limit: int) -> None:
    """Refuse lengths that the model does not take; the one that recipes carry by default is cut to what it takes.

    Raises:
        UsageError: such a length.
    """
    found = {"max_length": max_length}
    for index, stage in enumerate(recipe.stages):
        for part, place in (
            (stage, f"stages[{index}].max_length"),
            (getattr(stage, "train", None), f"stages[{index}].train.max_length"),
        ):
            found[place] = getattr(part, "max_length", DEFAULT_LENGTH)
    for place, length in found.items():
        if length != DEFAULT_LENGTH:
            check_length(length, limit, option=place)


def _further_texts(
    dataset: Dataset,
    unlabelled: Dataset | None,
    recipe: Recipe,
    teacher: PreTrainedModel,
    tokenizer: Any,
    progress: Progress,
) -> dict[str, Dataset]:
    """What the teacher labels besides the training rows, by role: texts of the user's, and changed copies of the
    training rows.

    Raises:
        RecipeError: there are such texts, but no stage of the recipe learns from the teacher.
        DataError: pairs of texts where the training rows are single ones, or the other way round.
    """
    if (unlabelled is not None or recipe.augment is not None) and not any(
        hasattr(stage, "loss") for stage in recipe.stages
    ):
        raise RecipeError(
            f"recipe {recipe.name} trains nothing, so unlabelled texts are of no use to it.",
            hint="Leave out --unlabelled and augment.",
        )
    further: dict[str, Dataset] = {}
    if unlabelled is not None:
        further["unlabelled"] = unlabelled.without_labels()
        dataset.join(further["unlabelled"])  # refuses what does not fit
    if recipe.augment is not None:
        changed = augment(
            dataset, recipe.augment, teacher=teacher, tokenizer=tokenizer, seed=recipe.seed, progress=progress
        )
        further["augmented"] = processes.same(changed)
    return further


def _run_stage(
    model: PreTrainedModel,
    settings: Settings,
    context: StageContext,
    *,
    folder: Path,
    evaluation: Dataset,
    reference: Any,
    before: dict[str, float],
    max_length: int,
    written: WrittenSettings | None,
) -> None:
    """Run one stage, measure its result and keep it in `folder`."""
    start = time.monotonic()
    result = STAGES[type(settings)](model, without_writing(settings, written), context)
    tokenizer, record = context.tokenizer, result.record
    if result.tokenizer is not None:
        tokenizer, tokenizers = result.tokenizer, (context.tokenizer, result.tokenizer)
        record = replace(record, tokens=kept_tokens(record, (model, result.model), tokenizers, evaluation))
    judged = TaskModel(result.model, tokenizer, record.task, max_length)
    after, _ = evaluate(judged, evaluation, reference=reference, progress=context.progress)
    values = settings.model_dump(mode="json")
    stage = StageRecord(
        stage=values.pop("stage"),
        settings=values,
        seed=context.seed,
        before=before,
        after=after,
        parameters=parameter_count(result.model),
        seconds=round(time.monotonic() - start, 1),
        left_out=list(context.allotted.left_out),
    )
    if stage.left_out:
        warnings.warn(
            f"{stage.stage} kept to its part of the time limit and left out: {'; '.join(stage.left_out)}.",
            TimeLimitWarning,
            stacklevel=3,
        )
    tracking.log("stages", after | {"parameters": stage.parameters, "seconds": stage.seconds})

    def keep() -> None:
        with staged_output(folder) as aside:
            save_checkpoint(aside, result.model, tokenizer, record.with_stage(stage))
        shutil.rmtree(context.work, ignore_errors=True)

    processes.on_main(keep)
