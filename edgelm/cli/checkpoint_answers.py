"""A checkpoint that answers as its bundle would: what a report compares bundles with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from edgelm.anatomy import TaskModel, find_checkpoint, load_checkpoint, load_tokenizer
from edgelm.compress.write import write
from edgelm.export.tokenization import tokenization_of
from edgelm.progress import Progress
from edgelm.report.answers import Answerer, check_same_task, goes_on
from edgelm.report.continuations import continuing
from edgelm.runtime.answers.table import read_outputs
from edgelm.runtime.graph_spec import ROLES, TensorSpec
from edgelm.runtime.inputs.text import TextProcessor, make_encoder
from edgelm.runtime.manifest import Manifest
from edgelm.tasks.text import MultipleChoice

_BATCH = 16  # samples of one call, of about one length


def checkpoint_answerer(path: Path, manifest: Manifest, *, progress: Progress, name: str) -> Answerer:
    """What asks a model in PyTorch.

    Its own tokenizer reads the samples, cut as the bundle cuts them, and the bundle's runtime reads its outputs: what
    differs is the model.

    Args:
        manifest: of the bundle that it is compared with.
        name: of the model, for the progress.

    Raises:
        ModelError: it cannot be read, or is for another task or has other labels.
    """
    checkpoint = find_checkpoint(path, task=manifest.task.kind)
    check_same_task(path, manifest.task, checkpoint.task)
    if goes_on(manifest.task):
        return continuing(checkpoint.path, partial(progress, f"ask {name}"))
    longest = manifest.tokenization.max_length
    source = TaskModel(load_checkpoint(checkpoint), load_tokenizer(checkpoint), checkpoint.task, longest)
    source.model.eval()
    return (_writer if checkpoint.task.generates else _reader)(source, manifest, progress, name)


def _writer(source: TaskModel, manifest: Manifest, progress: Progress, name: str) -> Answerer:
    """Writes a text for each source, by the settings of the bundle."""

    def answer(samples: Sequence[Any]) -> list[dict[str, Any]]:
        def told(description: str, done: int, total: int) -> None:
            progress(f"ask {name}", done, total)

        texts = write(
            source.model, source.tokenizer, manifest.task, samples, max_length=source.max_length, progress=told
        )
        return [{"text": text, "finish": "stop"} for text in texts]

    return answer


def _reader(source: TaskModel, manifest: Manifest, progress: Progress, name: str) -> Answerer:
    encoder = _encoder(source, manifest)

    def answer(samples: Sequence[Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = [{}] * len(samples)
        order = sorted(range(len(samples)), key=lambda number: len(str(samples[number])))
        size = 1 if isinstance(source.task, MultipleChoice) else _BATCH  # which may have as many endings as it likes
        for start in range(0, len(order), size):
            numbers = order[start : start + size]
            for number, each in zip(numbers, _answers(source, encoder, [samples[at] for at in numbers]), strict=True):
                found[number] = each
            progress(f"ask {name}", min(start + size, len(order)), len(order))
        return found

    return answer


def _encoder(source: TaskModel, manifest: Manifest) -> TextProcessor:
    """What reads samples as the bundle does, by the checkpoint's own tokenizer."""
    names = [name for name in source.tokenizer.model_input_names if name in ROLES]
    inputs = tuple(TensorSpec(name, "int64", ("batch", "sequence"), ROLES[name]) for name in names)
    graph = replace(manifest.graph(), inputs=inputs)
    settings = tokenization_of(source.tokenizer, source.max_length)
    own = replace(manifest, task=source.task, tokenization=settings, graphs=(graph,))
    return make_encoder(own, Tokenizer.from_str(source.tokenizer.backend_tokenizer.to_str()))


def _answers(source: TaskModel, encoder: TextProcessor, samples: Sequence[Any]) -> list[dict[str, Any]]:
    batch = encoder(samples)
    inputs = {name: torch.from_numpy(values) for name, values in batch.items()}
    asked, choices = source, isinstance(source.task, MultipleChoice)
    if isinstance(source.task, MultipleChoice):
        asked = replace(source, task=replace(source.task, choices=len(batch.context.sequences)))
    with torch.inference_mode():
        outputs = asked.outputs(inputs)[0].float().numpy()
    return read_outputs(source.task, outputs.T if choices else outputs, batch)
