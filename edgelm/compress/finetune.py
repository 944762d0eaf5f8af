"""A teacher from a pretrained model: an encoder with a head for the task, or a generator, trained on rows."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import set_seed

from edgelm import distributed as processes
from edgelm import tracking
from edgelm.anatomy import TaskModel, find_checkpoint, load_backbone, load_tokenizer, parameter_count, save_checkpoint
from edgelm.anatomy.heads import in_head_order
from edgelm.anatomy.sizes import check_length, text_limit
from edgelm.cards.checkpoint import write_checkpoint_card
from edgelm.checkpoint import Checkpoint, Record, StageRecord, open_checkpoint
from edgelm.compress.chance import Chance, judge_chance
from edgelm.compress.evaluate import evaluate
from edgelm.compress.lineage import data_origin, digest, model_fingerprint, tool_versions
from edgelm.compress.training.loop import train
from edgelm.compress.training.lora import merged, with_lora
from edgelm.data.dataset import Dataset
from edgelm.data.task_rows import task_of_rows
from edgelm.data.written import with_ends
from edgelm.errors import UsageError
from edgelm.files.output import check_output, disk_errors, staged_output
from edgelm.files.output_kinds import CHECKPOINT
from edgelm.files.work import Work
from edgelm.notebook import html_view, lineage_tables
from edgelm.progress import Progress, during, silent
from edgelm.tasks.generation import Generation, Rewriting
from edgelm.tasks.table import TASKS
from edgelm.tasks.task import Task
from edgelm.tasks.text import SentenceEmbedding
from edgelm.training_settings import TrainSettings


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

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        facts = {"weights": f"{self.parameters / 1e6:.2f}M, {self.size_mb:.1f} MB", "seconds": f"{self.seconds:.0f}"}
        return html_view(f"Fine-tuned: {self.path}", facts, *lineage_tables(self.record.to_dict()))

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


@processes.claims_output
def finetune(
    backbone: str | Path,
    *,
    dataset: Dataset,
    evaluation: Dataset,
    output: str | Path,
    kind: str = "text-classification",
    settings: TrainSettings = TrainSettings(),
    seed: int = 0,
    overwrite: bool = False,
    allow_pickle: bool = False,
    allow_new_head: bool = False,
    lora: int | None = None,
    prefix: str | None = None,
    progress: Progress = silent,
) -> FinetuneResult:
    """Train a model for a task and write it as a checkpoint: a head and the encoder under it, or a whole generator.

    The state that did best on `evaluation` is kept. Training states stay in `OUTPUT.work` until the end; the same call,
    after an interruption, goes on from the last one.

    Args:
        backbone: folder or hub id of an encoder, with or without a head, or of a generator.
        dataset: labelled rows, whose label names become the model's; texts, prompts, conversations, or sources with
            targets for generators.
        allow_new_head: make the head anew also where the backbone claims one that is not there, or that has other
            labels; a pretrained encoder gets its head without.
        lora: train thin matrices of this rank beside the model's own, which they are added to in the end; None: as
            `settings` say, or all weights.
        prefix: what stands before every source of a translation or summary; None: as the model says.

    Raises:
        ModelError, DataError: the input cannot be used.
        UsageError: a task that is not trained on labels, or a prefix for one that has none.
        OutputExistsError: `output` is there and `overwrite` is not set.
        OutputInUseError: another process is making it.
    """
    check_kind(kind)
    lora = settings.lora if lora is None else lora
    _check_options(kind, lora, prefix)
    output = Path(output)
    check_output(output, overwrite=overwrite, kind=CHECKPOINT)
    checkpoint = find_checkpoint(backbone, allow_pickle=allow_pickle, any_head=True)
    length = settings.max_length if "max_length" in settings.model_fields_set else None
    check_length(length, text_limit(checkpoint.config))
    tokenizer = load_tokenizer(checkpoint, single_words=TASKS[kind].schema == "words")
    if length is not None:  # it holds beyond what the folder reads, such as the texts of a sentence encoder
        tokenizer.model_max_length = max(length, tokenizer.model_max_length)
    task = in_head_order(checkpoint, task_of_rows(kind, dataset))
    if isinstance(task, Generation):
        task = _writer(checkpoint, kind, dataset, tokenizer, prefix)
    dataset = dataset.for_task(task)
    evaluation = evaluation.for_task(task)
    set_seed(seed)  # a new head starts from random numbers
    with during(progress, "load the model"):
        model = load_backbone(checkpoint, task, allow_new_head=allow_new_head)
    asked = TaskModel(model, tokenizer, task, settings.max_length)
    start = time.monotonic()
    work = output.with_name(output.name + ".work")
    key = digest(
        model_fingerprint(checkpoint),
        dataset.fingerprint(),
        evaluation.fingerprint(),
        settings.model_dump_json(),
        str(seed),
        *([] if lora is None else [f"lora {lora}"]),
        *([] if prefix is None else [f"prefix {prefix}"]),
    )
    processes.meet(output.parent, lambda: key)
    with disk_errors(output):
        model = train(
            asked.with_model(model if lora is None else with_lora(model, task, lora)),
            dataset,
            settings,
            work=work / key[:16],
            seed=seed,
            evaluation=evaluation,
            description="finetune",
            progress=progress,
        )
        model = model if lora is None else merged(model)
        metrics, _ = evaluate(asked.with_model(model), evaluation, progress=progress)
        seconds = round(time.monotonic() - start, 1)
        used = settings.model_dump(mode="json") | {"lora": lora}
        stage = StageRecord("finetune", used, seed, {}, metrics, parameter_count(model), seconds)
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
            done = Work(work, "[0-9a-f]{16}")
            with staged_output(output, overwrite=overwrite, kind=CHECKPOINT, work=done) as folder:
                save_checkpoint(folder, model, tokenizer, record)
                below = checkpoint.base.path if checkpoint.base else None
                write_checkpoint_card(folder, record, name=output.name, source=checkpoint.path, base=below)

        processes.on_main(keep)
    chance = judge_chance(task, metrics, evaluation.labels)
    result = FinetuneResult(
        output, record, metrics, parameter_count(model), open_checkpoint(output).size_mb, seconds, chance
    )
    found = {"parameters": result.parameters, "size_mb": result.size_mb, "seconds": seconds}
    tracking.log("result", metrics | found)
    return result


def _writer(checkpoint: Checkpoint, kind: str, rows: Dataset, tokenizer: Any, prefix: str | None) -> Task:
    """The task of a generator: as its folder has it, and ending where the rows do."""
    task = checkpoint.for_task(kind).task
    if prefix is not None and isinstance(task, Rewriting):
        task = replace(task, prefix=prefix)
    return with_ends(task, rows, tokenizer) if isinstance(task, Generation) else task


def _check_options(kind: str, lora: int | None, prefix: str | None) -> None:
    if prefix is not None and not issubclass(TASKS[kind], Rewriting):
        raise UsageError(
            f"--prefix says nothing about {kind}.", hint="It stands before the sources of translations and summaries."
        )
    if lora is not None and lora < 1:
        raise UsageError(f"--lora is {lora}.", hint="Give the rank of its matrices, such as 8 or 16.")


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
