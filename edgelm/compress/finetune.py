"""A teacher from a pretrained encoder: a head for the task, and training on labelled rows."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import set_seed

from edgelm import distributed as processes
from edgelm.anatomy import (
    TaskModel,
    family_of,
    find_checkpoint,
    load_backbone,
    load_tokenizer,
    parameter_count,
    save_checkpoint,
)
from edgelm.anatomy.heads import in_head_order
from edgelm.anatomy.sizes import check_length, usable_positions
from edgelm.checkpoint import Record, StageRecord, open_checkpoint
from edgelm.compress.chance import Chance, judge_chance
from edgelm.compress.evaluate import evaluate
from edgelm.compress.lineage import data_origin, digest, model_fingerprint, tool_versions
from edgelm.compress.training.loop import train
from edgelm.data.dataset import Dataset
from edgelm.data.task_rows import task_of_rows
from edgelm.errors import UsageError
from edgelm.files.output import check_output, disk_errors, remove_work, staged_output
from edgelm.files.output_kinds import CHECKPOINT
from edgelm.progress import Progress, silent
from edgelm.recipe import TrainSettings
from edgelm.tasks.table import TASKS
from edgelm.tasks.text import (
    SentenceEmbedding,
)


@dataclass(frozen=True)
class FinetuneResult:
    """What `finetune` made: the checkpoint's folder, its history, and its metrics on the evaluation set, also against
    chance."""

    path: Path
    record: Record
    metrics: dict[str, float]
    parameters: int
    size_mb: float
    seconds: float
    chance: Chance | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: what `edgelm finetune --json` prints."""
        return {
            "path": str(self.path),
            "record": self.record.to_dict(),
            "metrics": self.metrics,
            "parameters": self.parameters,
            "size_mb": self.size_mb,
            "seconds": self.seconds,
            "chance": None if self.chance is None else self.chance.to_dict(),
        }


def finetune(
    backbone: str | Path,
    *,
    dataset: Dataset,
    evaluation: Dataset,
    output: str | Path,
    kind: str = "text-classification",
    settings: TrainSettings = TrainSettings(),
    seed: int = 0,
    log_dir: Path | None = None,
    overwrite: bool = False,
    allow_pickle: bool = False,
    allow_new_head: bool = False,
    progress: Progress = silent,
) -> FinetuneResult:
    """Train a head for a task, and the encoder under it, and write them as a checkpoint.

    The state that did best on `evaluation` is kept. Training states stay in `OUTPUT.work` until the end; the same call,
    after an interruption, goes on from the last one.

    Args:
        backbone: folder or hub id of an encoder, with or without a head.
        dataset: labelled rows; their label names become the model's.
        allow_new_head: make the head anew also where the backbone claims one that is not there, or that has other
            labels; a pretrained encoder gets its head without.

    Raises:
        ModelError, DataError: the input cannot be used.
        UsageError: a task that is not trained on labels.
        OutputExistsError: `output` is there and `overwrite` is not set.
    """
    check_kind(kind)
    output = Path(output)
    check_output(output, overwrite=overwrite, kind=CHECKPOINT)
    checkpoint = find_checkpoint(backbone, allow_pickle=allow_pickle, any_head=True)
    asked = settings.max_length if "max_length" in settings.model_fields_set else None
    check_length(asked, usable_positions(family_of(checkpoint.family), checkpoint.config))
    task = in_head_order(checkpoint, task_of_rows(kind, dataset))
    dataset = dataset.for_task(task)
    evaluation = evaluation.for_task(task)
    set_seed(seed)  # a new head starts from random numbers
    model = load_backbone(checkpoint, task, allow_new_head=allow_new_head)
    tokenizer = load_tokenizer(checkpoint, single_words=task.schema == "words")
    start = time.monotonic()
    work = output.with_name(output.name + ".work")
    key = digest(
        model_fingerprint(checkpoint),
        dataset.fingerprint(),
        evaluation.fingerprint(),
        settings.model_dump_json(),
        str(seed),
    )
    processes.meet(output.parent, lambda: key)
    with disk_errors(output):
        model = train(
            TaskModel(model, tokenizer, task, settings.max_length),
            dataset,
            settings,
            work=work / key[:16],
            seed=seed,
            evaluation=evaluation,
            log_dir=log_dir,
            description="finetune",
            progress=progress,
        )
        metrics, _ = evaluate(TaskModel(model, tokenizer, task, settings.max_length), evaluation, progress=progress)
        seconds = round(time.monotonic() - start, 1)
        stage = StageRecord(
            "finetune", settings.model_dump(mode="json"), seed, {}, metrics, parameter_count(model), seconds
        )
        record = Record(
            task=task,
            source=str(backbone),
            layers=checkpoint.record.layers,
            original_layers=checkpoint.record.original_layers,
            data={"train": data_origin(dataset), "eval": data_origin(evaluation)},
            stages=(stage,),
            tools=tool_versions(),
        )

        def keep() -> None:
            with staged_output(output, overwrite=overwrite, kind=CHECKPOINT) as folder:
                save_checkpoint(folder, model, tokenizer, record)
            remove_work(work, "[0-9a-f]{16}")

        processes.on_main(keep)
    chance = judge_chance(task, metrics, evaluation.labels)
    return FinetuneResult(
        output, record, metrics, parameter_count(model), open_checkpoint(output).size_mb, seconds, chance
    )


def check_kind(kind: str) -> None:
    """Refuse a task that is not trained on labels.

    Raises:
        UsageError: a sentence encoder, or no task at all.
    """
    trained = [name for name, task in TASKS.items() if task.architecture != "Model"]
    if kind not in trained:
        hint = f"Tasks: {', '.join(trained)}."
        if kind == SentenceEmbedding.kind:
            hint = "A sentence encoder needs no head: give it to `edgelm compress` as it is."
        raise UsageError(f"finetune does not train {kind}.", hint=hint)
