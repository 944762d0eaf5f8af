"""The training loop: Hugging Face Trainer, set up from `TrainSettings`, that goes on where it was interrupted."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import EarlyStoppingCallback, PreTrainedModel, Trainer, TrainerCallback, TrainingArguments, set_seed

from edgelm.compress.encode import Collator, EncodedDataset, LengthGroupedSampler
from edgelm.dataset import Dataset
from edgelm.errors import UsageError
from edgelm.metrics import score
from edgelm.progress import Progress, silent
from edgelm.recipe import TrainSettings
from edgelm.task import Task

# Trainer's names of our optimizers. `adam` is AdamW without its decay: see `_arguments`.
_OPTIMIZERS = {"adamw": "adamw_torch", "adam": "adamw_torch", "sgd": "sgd", "adagrad": "adagrad", "rmsprop": "rmsprop"}
_SAVES = 10  # training states kept in reach during a run: at most a tenth of the work is lost
_WHOLE = "whole"  # a training state without this file was cut off while it was written

LossFunction = Callable[[PreTrainedModel, dict[str, torch.Tensor]], torch.Tensor]


def train(
    model: PreTrainedModel,
    tokenizer: Any,
    task: Task,
    dataset: Dataset,
    settings: TrainSettings,
    *,
    work: Path,
    seed: int,
    evaluation: Dataset | None = None,
    loss: LossFunction | None = None,
    log_dir: Path | None = None,
    description: str = "train",
    progress: Progress = silent,
) -> PreTrainedModel:
    """Train `model` in place and return it, in eval mode.

    Args:
        work: folder for training states; a run that was interrupted goes on from the last one there, with the same result.
        evaluation: judged `settings.evaluations` times an epoch; the best state wins. Needed for early stopping.
        loss: takes the model and a batch; None: the model's own loss on the labels.
        log_dir: write TensorBoard logs there.

    Raises:
        UsageError: fp16 was asked for where there is no GPU.
    """
    if settings.precision == "fp16" and not torch.cuda.is_available():
        raise UsageError("training in fp16 needs a GPU, and there is none here.", hint="Use bf16 or fp32.")
    set_seed(seed)
    data = EncodedDataset(dataset, tokenizer, task, max_length=settings.max_length)
    judged = None if evaluation is None else EncodedDataset(evaluation, tokenizer, task, max_length=settings.max_length)
    arguments = _arguments(settings, rows=len(data), work=work, seed=seed, judge=task.metric if judged is not None else None, log_dir=log_dir)
    callbacks: list[TrainerCallback] = [_MarkWhole(), _Report(description, progress)]
    if settings.early_stopping is not None and judged is not None:
        callbacks.append(EarlyStoppingCallback(early_stopping_patience=settings.early_stopping))
    with _quiet(log_dir):
        trainer = _Trainer(
            model=model,
            args=arguments,
            train_dataset=data,
            eval_dataset=judged,
            data_collator=Collator(tokenizer),
            compute_metrics=_metrics_of(task) if judged is not None else None,
            callbacks=callbacks,
        )
        trainer.loss = loss
        trainer.model_accepts_loss_kwargs = False  # our losses are means of their batch: accumulated ones must be averaged
        _drop_broken_states(work)
        trainer.train(resume_from_checkpoint=last_state(work))
    return trainer.model.to("cpu").eval()


class _Trainer(Trainer):
    """Trainer with a loss of our own, and batches of like lengths in an order that only seed and epoch decide."""

    loss: LossFunction | None = None

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return LengthGroupedSampler(self.train_dataset.lengths, batch, seed=self.args.seed)

    def compute_loss(self, model: PreTrainedModel, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        if self.loss is None or not model.training:
            return super().compute_loss(model, inputs, return_outputs=return_outputs)
        return self.loss(model, inputs)


class _MarkWhole(TrainerCallback):
    """Marks a training state as whole once everything of it is on disk."""

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero and folder.is_dir():
            (folder / _WHOLE).touch()


class _Report(TrainerCallback):
    """Passes the steps on to the caller's progress."""

    def __init__(self, description: str, progress: Progress) -> None:
        self.description = description
        self.progress = progress

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.progress(self.description, state.global_step, state.max_steps)


def last_state(work: Path) -> str | None:
    """The newest whole training state under `work`, or None."""
    states = sorted(work.glob("checkpoint-*"), key=lambda folder: int(folder.name.rpartition("-")[2]))
    whole = [state for state in states if (state / _WHOLE).is_file()]
    return str(whole[-1]) if whole else None


def _drop_broken_states(work: Path) -> None:
    for state in work.glob("checkpoint-*"):
        if not (state / _WHOLE).is_file():
            shutil.rmtree(state)


def _arguments(settings: TrainSettings, *, rows: int, work: Path, seed: int, judge: str | None, log_dir: Path | None) -> TrainingArguments:
    per_epoch = max(1, -(-rows // (settings.batch_size * settings.gradient_accumulation)))
    steps = settings.max_steps or max(1, round(per_epoch * settings.epochs))
    interval = max(1, per_epoch // settings.evaluations) if judge else max(1, steps // _SAVES)
    if log_dir is not None:
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(log_dir)
    on_cpu = not torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(work),
        max_steps=settings.max_steps or -1,
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=64,
        gradient_accumulation_steps=settings.gradient_accumulation,
        learning_rate=settings.learning_rate,
        optim=_OPTIMIZERS[settings.optimizer],
        lr_scheduler_type=settings.schedule if settings.schedule != "constant" else "constant_with_warmup",
        warmup_steps=round(steps * settings.warmup),
        weight_decay=0.0 if settings.optimizer == "adam" else settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=settings.precision == "bf16",
        fp16=settings.precision == "fp16",
        use_cpu=on_cpu,
        eval_strategy="steps" if judge else "no",
        eval_steps=interval if judge else None,
        save_strategy="steps",
        save_steps=interval,
        save_total_limit=2 if judge else 1,
        load_best_model_at_end=judge is not None,
        metric_for_best_model=judge,
        greater_is_better=True if judge else None,
        logging_strategy="steps",
        logging_steps=max(1, steps // 100),
        report_to=["tensorboard"] if log_dir is not None else [],
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=not on_cpu,
        seed=seed,
        data_seed=seed,
        disable_tqdm=True,
    )


def _metrics_of(task: Task) -> Callable[[Any], dict[str, float]]:
    def metrics(prediction: Any) -> dict[str, float]:
        outputs = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
        return score(task, np.asarray(outputs), prediction.label_ids)

    return metrics


@contextlib.contextmanager
def _quiet(log_dir: Path | None) -> Iterator[None]:
    """Keep the loop's chatter off stdout, which belongs to results."""
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity(logging.ERROR)
    try:
        with Path(os.devnull).open("w", encoding="utf-8") as sink, contextlib.redirect_stdout(sink):
            yield
    finally:
        transformers.logging.set_verbosity(level)
        if log_dir is not None:
            os.environ.pop("TENSORBOARD_LOGGING_DIR", None)
