"""What the output projections of a model are given: second moments of their inputs over real tokens."""

from __future__ import annotations

import torch

from edgelm.anatomy import TaskModel, sublayers
from edgelm.anatomy.hooks import Watch, watching
from edgelm.compress.batches import Batch, EncodedDataset, real_tokens
from edgelm.compress.pruning.obs import moments_of
from edgelm.data.dataset import Dataset
from edgelm.progress import Progress, silent

_BATCH = 16


def collect_moments(model: TaskModel, rows: Dataset, *, progress: Progress = silent) -> list[torch.Tensor]:
    """(in + 1, in + 1) float64 for each output projection that has inputs: attention, FFN, attention, ... from the
    input on."""
    parts = [sublayer for _, sublayer in sublayers(model.model.eval())]
    sums: dict[int, torch.Tensor] = {}
    real: dict[str, torch.Tensor] = {}

    def add(index: int, stack: str) -> Watch:
        def add_moments(values: torch.Tensor) -> None:
            found = moments_of(values[real[stack]])
            sums[index] = sums[index] + found if index in sums else found

        return add_moments

    batches = token_batches(model, rows)
    watched = [(part.output.module, add(index, part.layer.stack)) for index, part in enumerate(parts)]
    with watching(inputs=watched), torch.inference_mode():
        for number, batch in enumerate(batches):
            real = {stack: real_tokens(batch, stack) for stack in {part.layer.stack for part in parts}}
            model.run(batch)
            progress("moments", number + 1, len(batches))
    return [sums[index] for index in sorted(sums)]


def token_batches(model: TaskModel, rows: Dataset, *, size: int = _BATCH) -> list[Batch]:
    """Rows as batches of like lengths, to be run more than once."""
    return [part.tensors for part in EncodedDataset(rows, model).by_length(size)]
