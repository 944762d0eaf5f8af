"""Batches in which the student writes and the teacher corrects (GKD, Agarwal et al. 2024, arXiv:2306.13649)."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from edgelm.anatomy import TaskModel
from edgelm.compress.batches import Batch, EncodedDataset
from edgelm.compress.distillation.writer import settings_of, write_ids
from edgelm.compress.distillation.writing_loss import Rewrite
from edgelm.data.dataset import Dataset
from edgelm.data.written import DECODED, encode_ids
from edgelm.tasks.generation import Generation, TextGeneration
from edgelm.training_settings import OnPolicySettings


def student_writes(learner: TaskModel, asked: OnPolicySettings) -> Rewrite:
    """What turns a share of the batches into the student's own texts behind the same prompts, without labels.

    Draws from torch's random numbers, whose state is kept with the training's.
    """
    task = learner.task
    assert isinstance(task, Generation)
    settings = settings_of(task, asked)

    def rewrite(model: PreTrainedModel, batch: Batch) -> Batch:
        if float(torch.rand(())) >= asked.share:
            return batch
        inner: Any = getattr(model, "module", model)
        prompts = prompts_in(batch, task, asked.prompt_tokens)
        written = write_ids(inner, learner.tokenizer, task, prompts, settings, max_length=learner.max_length)
        encoded = encode_ids(prompts, written, learner.tokenizer, task)
        rows = EncodedDataset(Dataset("student", ()), learner, encoded=encoded)
        made = rows.batch(range(len(rows)))
        device = batch["input_ids"].device
        return {name: tensor.to(device) for name, tensor in made.items() if name != "labels"}

    return rewrite


def prompts_in(batch: Batch, task: Generation, beginning: int) -> list[list[int]]:
    """The prompts of a batch: sources; what stands before the first target; or, where a text is its own target from the
    second token on, its first tokens."""
    ids, mask = batch["input_ids"].cpu(), batch["attention_mask"].cpu().bool()
    rows = [row[real].tolist() for row, real in zip(ids, mask, strict=True)]
    if not isinstance(task, TextGeneration) or DECODED in batch:
        return rows
    first = batch["counted"].cpu().int().argmax(dim=1).tolist()  # the output there is the first target
    return [
        row[: place + 1] if place > 1 else row[: max(1, min(beginning, len(row) - 1))]
        for row, place in zip(rows, first, strict=True)
    ]
