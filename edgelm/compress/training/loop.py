"""The training loop: Hugging Face Trainer, set up from `TrainSettings`, that goes on where it was interrupted."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, PreTrainedModel, Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.integrations.integration_utils import rewrite_logs

from edgelm import distributed as processes
from edgelm import tracking
from edgelm.anatomy import TaskModel
from edgelm.compress.batches import Collator, EncodedDataset, LengthGroupedSampler, Share
from edgelm.compress.distillation.distill import LossFunction, label_loss
from edgelm.compress.distillation.teacher_cache import TeacherCache
from edgelm.compress.distillation.token_teacher import TokenTeacher
from edgelm.compress.evaluate import evaluate
from edgelm.compress.training.modes import dropping_out, only_read_weights, recomputing
from edgelm.compress.training.time_limit import EndInTime
from edgelm.data.dataset import Dataset
from edgelm.errors import UsageError
from edgelm.hardware.machine import describe_machine
from edgelm.progress import Progress, during, silent
from edgelm.tasks.task import Task
from edgelm.training_settings import TrainSettings

# Trainer's names of our optimizers; fused steps take a tenth of the time. `adam` is AdamW without its decay: see
# `_arguments`.
_OPTIMIZERS = {
    "adamw": "adamw_torch_fused",
    "adam": "adamw_torch_fused",
    "sgd": "sgd",
    "adagrad": "adagrad",
    "rmsprop": "rmsprop",
}
_SAVES = 10  # training states kept in reach during a run: at most a tenth of the work is lost
_WHOLE = "whole"  # a training state without this file was cut off while it was written


def train(
    model: TaskModel,
    dataset: Dataset | EncodedDataset,
    settings: TrainSettings,
    *,
    work: Path,
    seed: int,
    evaluation: Dataset | None = None,
    loss: LossFunction | None = None,
    teacher_cache: TeacherCache | TokenTeacher | None = None,
    seconds: float | None = None,
    description: str = "train",
    progress: Progress = silent,
) -> PreTrainedModel:
    """Train a model in place and return it, in eval mode; it is given `settings.max_length` tokens.

    Args:
        dataset: rows; or as they were encoded for this model, numbered where there is a teacher cache.
        work: folder for training states; a run that was interrupted goes on from the last one there, with the same
            result.
        evaluation: judged `settings.evaluations` times an epoch; the best state wins. Needed for early stopping.
        loss: takes the model, a batch and its share; None: the task's own loss on the labels.
        teacher_cache: what the loss asks of a teacher, to be had for all rows at once.
        seconds: that the training may take; its schedule is shortened to fit. None: as long as it takes.

    Raises:
        UsageError: fp16 was asked for where there is no GPU, batches that cannot be split among the processes, or
            gradient checkpointing of a model that has none.

    Several processes train as one would: each takes its rows of every batch of `settings.batch_size`, and the main one
    writes.
    """
    check_batches(settings)
    if settings.precision == "fp16" and not torch.cuda.is_available():
        raise UsageError("training in fp16 needs a GPU, and there is none here.", hint="Use bf16 or fp32.")
    set_seed(seed)
    start = time.monotonic()
    model = model.with_length(settings.max_length)
    data = dataset
    if not isinstance(data, EncodedDataset):
        with during(progress, f"{description}: read rows"):
            data = EncodedDataset(data, model, numbered=teacher_cache is not None)
    arguments = _arguments(settings, model.task, rows=len(data), work=work, seed=seed, judge=evaluation is not None)

    def judge(trained: PreTrainedModel) -> dict[str, float]:
        assert evaluation is not None
        metrics, _ = evaluate(model.with_model(trained), evaluation, written=False)
        return metrics

    callbacks: list[TrainerCallback] = [
        _KeepWhole(),
        _OwnNoise(),
        _Report(description, progress),
        _Tracked(description),
    ]
    if settings.early_stopping is not None and evaluation is not None:
        callbacks.append(EarlyStoppingCallback(early_stopping_patience=settings.early_stopping))
    if teacher_cache is not None:
        batch = settings.batch_size * settings.gradient_accumulation
        passes = settings.epochs if settings.max_steps is None else settings.max_steps * batch / len(data)
        teacher_cache.prepare(
            data,
            passes=passes,
            half=computes_in_bf16(settings),
            seconds=seconds,
            progress=progress,
        )
    if seconds is not None:
        callbacks.append(EndInTime(max(1.0, seconds - (time.monotonic() - start))))
    with (
        _quiet(),
        only_read_weights(model.model, model.task),
        dropping_out(model.model, settings.dropout),
        recomputing(model.model, settings.gradient_checkpointing),
    ):
        trainer = _Trainer(
            loss=loss or label_loss(model),
            batch_size=settings.batch_size,
            collate=Collator(model.tokenizer, process=processes.index(), processes=processes.count()),
            model=model.model,
            args=arguments,
            train_dataset=data,
            eval_dataset=evaluation,
            data_collator=data.collate,
            judge=judge,
            callbacks=callbacks,
        )
        trainer.train(resume_from_checkpoint=processes.on_main(lambda: _state_to_resume(work)))
    return trainer.model.to("cpu").eval()


class _Trainer(Trainer):
    """Trainer with a loss of our own, and batches of like lengths in an order that only seed and epoch decide."""

    def __init__(
        self,
        *,
        loss: LossFunction,
        batch_size: int,
        collate: Collator,
        judge: Callable[[PreTrainedModel], dict[str, float]],
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.judge = judge
        self.model_accepts_loss_kwargs = (
            False  # losses are means over a batch, and the loop divides them by the batches of a step
        )
        self.loss = loss
        self.batch_size = batch_size
        self.collate = collate

    def get_train_dataloader(self) -> Any:
        """Every process draws the same whole batches, and collates its own rows of each: no row is left out or seen
        twice."""
        sampler = LengthGroupedSampler(
            self.train_dataset.lengths, self.batch_size * self.args.gradient_accumulation_steps, seed=self.args.seed
        )
        pin = self.args.dataloader_pin_memory
        loader = DataLoader(
            self.train_dataset, batch_size=self.batch_size, sampler=sampler, collate_fn=self.collate, pin_memory=pin
        )
        return prepare_data_loader(loader, self.args.device, num_processes=1, process_index=0, put_on_device=True)

    def compute_loss(
        self,
        model: PreTrainedModel,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        share = inputs.pop("share", Share())
        return self.loss(model, inputs, share)

    def evaluate(self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval") -> Any:
        """The task's metrics, by the same code that judges every model here."""
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in self.judge(self.model).items()}
        self.log(metrics)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class _KeepWhole(TrainerCallback):
    """Marks a training state as whole once everything of it is on disk, and only then removes those that it replaces:
    transformers' own limit removes them before, and a run that is killed in between has none to go on from."""

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        processes.wait()  # each writes the state of its random numbers
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero and folder.is_dir():
            (folder / _WHOLE).touch()
            kept = {folder.name, Path(state.best_model_checkpoint or folder).name}
            for older in folder.parent.glob("checkpoint-*"):
                if older.name not in kept:
                    (older / _WHOLE).unlink(missing_ok=True)  # one that is removed in part must not be gone on from
                    shutil.rmtree(older, ignore_errors=True)


class _OwnNoise(TrainerCallback):
    """Lets every process drop out units of its own."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if args.process_index > 0:
            torch.manual_seed(args.seed + args.process_index)


class _Report(TrainerCallback):
    """Passes the steps on to the caller's progress."""

    def __init__(self, description: str, progress: Progress) -> None:
        self.description = description
        self.progress = progress

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.progress(self.description, state.global_step, state.max_steps)


class _Tracked(TrainerCallback):
    """Passes losses, rates and scores on to the trackers of this run."""

    def __init__(self, description: str) -> None:
        self.description = description

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        tracking.next_part()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        tracking.log(self.description, rewrite_logs(logs or {}), step=state.global_step)


def last_state(work: Path) -> str | None:
    """The newest whole training state under `work`, or None."""
    states = sorted(work.glob("checkpoint-*"), key=lambda folder: int(folder.name.rpartition("-")[2]))
    whole = [state for state in states if (state / _WHOLE).is_file()]
    return str(whole[-1]) if whole else None


def computes_in_bf16(settings: TrainSettings) -> bool:
    """Whether products are taken in bfloat16: if asked for, or by `auto` where the GPU or the processor has
    instructions for them."""
    if settings.precision != "auto":
        return settings.precision == "bf16"
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(describe_machine().instructions))


def check_batches(*settings: TrainSettings) -> None:
    """Check that batches can be split evenly among the processes.

    Raises:
        UsageError: they cannot.
    """
    for each in settings:
        if each.batch_size % processes.count():
            raise UsageError(
                f"batches of {each.batch_size} rows cannot be split evenly among {processes.count()} processes.",
                hint="batch_size is of the whole batch: choose a multiple of the number of processes.",
            )


def _state_to_resume(work: Path) -> str | None:
    """The last whole training state; broken ones are removed."""
    for state in work.glob("checkpoint-*"):
        if not (state / _WHOLE).is_file():
            shutil.rmtree(state)
    return last_state(work)


def _arguments(
    settings: TrainSettings, task: Task, *, rows: int, work: Path, seed: int, judge: bool
) -> TrainingArguments:
    per_epoch = max(1, -(-rows // (settings.batch_size * settings.gradient_accumulation)))
    steps = settings.max_steps or max(1, round(per_epoch * settings.epochs))
    interval = max(1, per_epoch // settings.evaluations) if judge else max(1, steps // _SAVES)
    on_cpu = not torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(work),
        max_steps=settings.max_steps or -1,
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size // processes.count(),
        per_device_eval_batch_size=64,
        gradient_accumulation_steps=settings.gradient_accumulation,
        learning_rate=settings.learning_rate,
        optim=_OPTIMIZERS[settings.optimizer],
        lr_scheduler_type=settings.schedule if settings.schedule != "constant" else "constant_with_warmup",
        warmup_steps=round(steps * settings.warmup),
        weight_decay=0.0 if settings.optimizer == "adam" else settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=computes_in_bf16(settings),
        fp16=settings.precision == "fp16",
        use_cpu=on_cpu,
        eval_strategy="steps" if judge else "no",
        eval_steps=interval if judge else None,
        save_strategy="steps",
        save_steps=interval,
        load_best_model_at_end=judge,
        metric_for_best_model=task.selection if judge else None,
        greater_is_better=True if judge else None,
        logging_strategy="steps",
        logging_steps=max(1, steps // 100),
        report_to=[],  # `_Tracked` reports: a run of edgelm has several trainings, and is one run to its trackers
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=not on_cpu,
        seed=seed,
        data_seed=seed,
        disable_tqdm=True,
        ddp_find_unused_parameters=False,  # see `only_read_weights`
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the loop's chatter off stdout, which belongs to results."""
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity(logging.ERROR)
    try:
        with (
            Path(os.devnull).open("w", encoding="utf-8") as sink,
            contextlib.redirect_stdout(sink),
            warnings.catch_warnings(),
        ):
            # peft, when it saves a state: the model it adapts is in memory, and no token was added to it.
            warnings.filterwarnings("ignore", "Could not find a config file in None")
            warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
            yield
    finally:
        transformers.logging.set_verbosity(level)
