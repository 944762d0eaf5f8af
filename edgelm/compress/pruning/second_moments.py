"""What the output projections of a model are given: second moments of their inputs over real tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers import PreTrainedModel

from edgelm.anatomy import TaskModel, sublayers
from edgelm.compress.batches import Batch, EncodedDataset
from edgelm.compress.pruning.obs import moments_of
from edgelm.data.dataset import Dataset
from edgelm.progress import Progress, silent

_BATCH = 16


def collect_moments(model: TaskModel, rows: Dataset, *, progress: Progress = silent) -> list[torch.Tensor]:
    """(in + 1, in + 1) float64 for each output projection that has inputs: attention, FFN, attention, ... from the
    input on."""
    modules = output_projections(model.model.eval())
    sums: list[torch.Tensor | None] = [None] * len(modules)
    batches = token_batches(model, rows)
    for number, batch in enumerate(batches):
        real = batch["attention_mask"].bool()

        def add(index: int, values: torch.Tensor, real: torch.Tensor = real) -> None:
            found = moments_of(values[real])
            known = sums[index]
            sums[index] = found if known is None else known + found

        with watch_inputs(modules, add), torch.inference_mode():
            model.outputs(batch)
        progress("moments", number + 1, len(batches))
    return [entry for entry in sums if entry is not None]


def output_projections(model: PreTrainedModel) -> list[nn.Module]:
    """Attention output and second FFN matrix of every layer, where units are left."""
    return [sublayer.output.module for _, sublayer in sublayers(model)]


def token_batches(model: TaskModel, rows: Dataset, *, size: int = _BATCH) -> list[Batch]:
    """Rows as batches of like lengths, to be run more than once."""
    return [part.tensors for part in EncodedDataset(rows, model).by_length(size)]


@contextmanager
def watch_inputs(modules: list[nn.Module], seen: Callable[[int, torch.Tensor], None]) -> Iterator[None]:
    """Inside, `seen` is told of every input of these modules, (batch, tokens, in), with the module's place in the
    list."""

    def hook_of(index: int) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        def hook(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            seen(index, inputs[0])

        return hook

    handles = [module.register_forward_pre_hook(hook_of(index)) for index, module in enumerate(modules)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
