"""Quantization-aware training: the forward pass rounds as INT8 will, the backward pass looks through the rounding."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from edgelm import tracking
from edgelm.anatomy import TaskModel
from edgelm.anatomy.hooks import Watch, watching
from edgelm.compress.batches import EncodedDataset
from edgelm.data.dataset import Dataset
from edgelm.progress import Progress, silent
from edgelm.quantize.blocks import BLOCK
from edgelm.quantize.embeddings import SMALLEST_TABLE
from edgelm.quantize.grid import unsigned_grid
from edgelm.quantize.matmuls import SMALLEST
from edgelm.quantize.ranges import range_of
from edgelm.quantize.statistics import Statistics

Interval = tuple[float, float]


def integer_modules(model: PreTrainedModel) -> dict[str, nn.Linear]:
    """The linear modules that export puts in integers, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.weight.numel() >= SMALLEST
    }


def calibrate(
    model: TaskModel, rows: Dataset, *, method: str, symmetric: bool, progress: Progress = silent
) -> dict[str, Interval]:
    """The interval of each integer module's input on these rows, by `edgelm.quantize.ranges`."""
    modules = integer_modules(model.model.eval())
    statistics = {name: Statistics() for name in modules}
    encoded = EncodedDataset(rows, model)
    watched = [(module, _noted_in(statistics[name])) for name, module in modules.items()]
    with watching(inputs=watched), torch.inference_mode():
        for index in range(len(encoded)):
            model.outputs(encoded.batch([index]))
            progress("calibrate", index + 1, len(encoded))
    for name, entry in statistics.items():
        tracking.log_histogram(f"calibration/{name}", entry.histogram)
    return {name: range_of(entry, method, symmetric=symmetric) for name, entry in statistics.items()}


def _noted_in(statistics: Statistics) -> Watch:
    return lambda values: statistics.add(values.numpy())


@contextlib.contextmanager
def fake_quantized(
    model: PreTrainedModel, intervals: Mapping[str, Interval], *, pair: int | None = None
) -> Iterator[None]:
    """Inside, these modules round their inputs to UINT8 over fixed intervals and their weights to symmetric INT8 by
    column, of which two neighbours sum to `pair` at most (see `edgelm.quantize.grid.pair_sums`; None: to anything).

    Gradients pass straight through where nothing is clipped (Jacob et al. 2018; Bengio et al. 2013): the weights learn
    to stay on the grid and within the intervals. Nothing is dropped out: that noise is many times what rounding does,
    and would be learnt instead. Afterwards the model is as it was, but for its weights if they were trained.
    """
    modules = integer_modules(model)
    dropouts = [(module, module.p) for module in model.modules() if isinstance(module, nn.Dropout)]
    try:
        for dropout, _ in dropouts:
            dropout.p = 0.0
        for name, interval in intervals.items():
            modules[name].forward = _forward_of(modules[name], interval, pair)  # type: ignore[method-assign]
        yield
    finally:
        for name in intervals:
            modules[name].__dict__.pop("forward", None)
        for dropout, share in dropouts:
            dropout.p = share


@contextlib.contextmanager
def fake_quantized_embeddings(model: PreTrainedModel, bits: int) -> Iterator[None]:
    """Inside, training looks embeddings up as an integer bundle will that keeps them in 4 bits; gradients pass straight
    through.

    With 8 bits nothing changes: such tables lose nothing that a model would have to learn. Evaluation sees the floats.
    """
    tables = [
        module
        for module in model.modules()
        if isinstance(module, nn.Embedding) and module.weight.numel() >= SMALLEST_TABLE
    ]
    with watching(outputs=[(table, _rounding(table)) for table in tables] if bits == 4 else ()):
        yield


def _rounding(table: nn.Embedding) -> Watch:
    return lambda rows: fake_blocks(rows) if table.training else None


def fake_blocks(rows: torch.Tensor) -> torch.Tensor:
    """(..., width) in 4 bits by blocks of 32 along the last axis, with straight-through gradients; the grid of
    `edgelm.quantize.blocks` that has each block's extreme at its end."""
    width = rows.shape[-1]
    blocks = functional.pad(rows.detach().float(), (0, -width % BLOCK)).unflatten(-1, (-1, BLOCK))
    extreme = blocks.gather(-1, blocks.abs().argmax(dim=-1, keepdim=True))
    scale = (extreme / -8).half().float()
    scale = torch.where(scale == 0, 1.0, scale)
    rounded = ((blocks / scale).round().clamp(-8, 7) * scale).flatten(-2)[..., :width]
    return rows + (rounded.to(rows.dtype) - rows.detach())


def _forward_of(module: nn.Linear, interval: Interval, pair: int | None) -> Any:
    scale, zero = (float(value) for value in unsigned_grid(*interval))

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        rounded = torch.fake_quantize_per_tensor_affine(inputs.float(), scale, int(zero), 0, 255)
        return functional.linear(rounded, fake_weight(module.weight, pair), module.bias)

    return forward


def fake_weight(weight: torch.Tensor, pair: int | None = None) -> torch.Tensor:
    """(out, in) as symmetric INT8 with one scale an output stands for it, with straight-through gradients; the scales
    are those of `edgelm.quantize.grid.column_scales`."""
    scale = weight.detach().abs().amax(dim=1) / 127
    if pair is not None:
        filled = functional.pad(weight.detach(), (0, weight.shape[1] % 2)).unflatten(1, (-1, 2))
        sums = torch.maximum(filled.clamp_min(0).sum(dim=2), (-filled).clamp_min(0).sum(dim=2))
        scale = torch.maximum(scale, sums.amax(dim=1) / pair)
    scale = scale.clamp_min(1e-12).float()
    zero = torch.zeros_like(scale, dtype=torch.int32)
    result: torch.Tensor = torch.fake_quantize_per_channel_affine(weight.float(), scale, zero, 0, -127, 127)
    return result
