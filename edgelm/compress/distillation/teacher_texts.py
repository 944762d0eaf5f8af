"""Targets that the teacher writes: sequence-level distillation (Kim and Rush 2016, arXiv:1606.07947), kept on disk as
they come, so that an interrupted run goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from edgelm import distributed as processes
from edgelm.anatomy import TaskModel
from edgelm.compress.distillation.writer import settings_of, write_ids
from edgelm.data.dataset import Dataset
from edgelm.data.encoding import Encoded
from edgelm.data.written import encode_ids, encode_written, prompts_of
from edgelm.progress import Progress, silent
from edgelm.tasks.generation import Generation, TextGeneration
from edgelm.training_settings import WrittenSettings

_BATCH = 16
_FILE = "written.jsonl"


def encode_taught(
    teacher: TaskModel,
    rows: Dataset,
    asked: WrittenSettings | None,
    *,
    work: Path,
    seed: int,
    progress: Progress = silent,
) -> Encoded:
    """Training rows in tokens, of which the teacher writes the targets that they lack, or all.

    Args:
        asked: how it writes all targets; None: those alone that rows lack, by its own settings. Plain texts are their
            own targets.
        work: folder for what it has written.
        seed: of what it samples.

    Raises:
        DataError: as `prompts_of` and `encode_written`.
    """
    task = teacher.task
    assert isinstance(task, Generation)
    lacking = _lacking(rows, task) if asked is None else list(range(len(rows)))
    known = sorted(set(range(len(rows))) - set(lacking))
    own = None
    if known:
        own = encode_written(rows.take(known), teacher.tokenizer, task, max_length=teacher.max_length)
    if not lacking:
        assert own is not None
        return own
    prompts, written = _write_for(rows.take(lacking), teacher, task, asked, work, seed, progress)
    made = encode_ids(prompts, written, teacher.tokenizer, task)
    return made if own is None else own.join(made)


def with_targets(
    teacher: TaskModel,
    rows: Dataset,
    asked: WrittenSettings | None,
    *,
    work: Path,
    seed: int,
    progress: Progress = silent,
) -> Dataset:
    """Rows for a stage that reads targets before any training: those that have none get what the teacher writes, as
    text. Plain texts are their own targets.

    Args:
        asked: how it writes; None: by its own settings.
        work: folder for what it has written.

    Raises:
        DataError: as `prompts_of`.
    """
    task = teacher.task
    if not isinstance(task, Generation) or not (lacking := _lacking(rows, task)):
        return rows
    _, written = _write_for(rows.take(lacking), teacher, task, asked, work, seed, progress)
    labels: list[Any] = [None] * len(rows) if rows.labels is None else list(rows.labels)
    for row, ids in zip(lacking, written, strict=True):
        text = teacher.tokenizer.decode(ids, skip_special_tokens=True)
        labels[row] = text if rows.schema == "prompts" else (text,)
    return replace(rows, labels=tuple(labels))


def _lacking(rows: Dataset, task: Generation) -> list[int]:
    """The rows that have no target, where they need one."""
    if rows.labels is None:
        return [] if isinstance(task, TextGeneration) else list(range(len(rows)))
    return [number for number, label in enumerate(rows.labels) if label is None]


def _write_for(
    rows: Dataset,
    teacher: TaskModel,
    task: Generation,
    asked: WrittenSettings | None,
    work: Path,
    seed: int,
    progress: Progress,
) -> tuple[list[list[int]], list[list[int]]]:
    """Prompts of these rows and what the teacher writes behind each, as token ids."""
    asked = asked or WrittenSettings()
    prompts = prompts_of(rows, teacher.tokenizer, task, max_length=teacher.max_length, beginning=asked.prompt_tokens)
    return prompts, processes.on_main(lambda: _write(teacher, task, prompts, asked, work, seed, progress))


def _write(
    teacher: TaskModel,
    task: Generation,
    prompts: list[list[int]],
    asked: WrittenSettings,
    work: Path,
    seed: int,
    progress: Progress,
) -> list[list[int]]:
    """What the teacher writes behind each prompt. Batches are of like lengths, and each draws by a seed of its own."""
    order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
    starts = range(0, len(order), _BATCH)
    file = work / _FILE
    work.mkdir(parents=True, exist_ok=True)
    done = _read(file)
    file.write_text("".join(json.dumps(batch) + "\n" for batch in done), encoding="utf-8")  # a line cut off is gone
    settings = settings_of(task, asked)
    if torch.cuda.is_available():
        teacher.model.to("cuda")
    with file.open("a", encoding="utf-8") as kept:
        for number, start in enumerate(starts):
            chosen = order[start : start + _BATCH]
            if number >= len(done):
                done.append(_write_batch(teacher, task, [prompts[row] for row in chosen], settings, seed + number))
                kept.write(json.dumps(done[-1]) + "\n")
                kept.flush()
            progress("write", start + len(chosen), len(order))
    written: list[list[int]] = [[]] * len(prompts)
    for start, batch in zip(starts, done, strict=True):
        for row, ids in zip(order[start : start + _BATCH], batch, strict=True):
            written[row] = ids
    return written


def _write_batch(
    teacher: TaskModel, task: Generation, prompts: list[list[int]], settings: Any, seed: int
) -> list[list[int]]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return write_ids(teacher.model, teacher.tokenizer, task, prompts, settings, max_length=teacher.max_length)


def _read(file: Path) -> list[list[list[int]]]:
    """The batches that are there whole."""
    if not file.is_file():
        return []
    found = []
    for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):
            found.append(json.loads(line))
    return found
