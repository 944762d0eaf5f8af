"""Training of weights in blocks of few bits: the forward pass reads what they are rounded to, the backward pass looks
through the rounding, and at the end the weights are what they were rounded to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from edgelm.anatomy.matrices import layer_matrices, token_tables
from edgelm.compress.training.modes import dropping_out
from edgelm.quantize.blocks import BLOCK, round_blocks


@dataclass(frozen=True)
class BlockGrid:
    """The grid of a matrix: symmetric integers in blocks of input channels, each with a scale that stays.

    Attributes:
        scale: (out, blocks) float32, values of FP16.
        bits: of an integer.
    """

    scale: torch.Tensor
    bits: int

    @classmethod
    def of(cls, weight: torch.Tensor, bits: int) -> BlockGrid:
        """The grid that leaves the least squared error of a weight (out, in), as export chooses it."""
        made = round_blocks(weight.detach().float().cpu().T.numpy(), bits)
        return cls(torch.from_numpy(made.scale.T.astype("float32").copy()), bits)

    def __call__(self, weight: torch.Tensor) -> torch.Tensor:
        """(out, in) on the grid. Gradients pass straight through where nothing is clipped (Bengio et al. 2013,
        arXiv:1308.3432)."""
        rounded: torch.Tensor = _Round.apply(weight, self.scale.to(weight.device), self.bits)
        return rounded


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, scale: torch.Tensor, bits: int) -> torch.Tensor:
        width, half = weight.shape[-1], 2 ** (bits - 1)
        steps = functional.pad(weight.float(), (0, -width % BLOCK)).unflatten(-1, (-1, BLOCK)) / scale.unsqueeze(-1)
        values = steps.round()
        inside = (values >= -half) & (values < half)
        ctx.save_for_backward(inside.flatten(-2)[..., :width])
        rounded = (values.clamp(-half, half - 1) * scale.unsqueeze(-1)).flatten(-2)[..., :width]
        return rounded.to(weight.dtype)

    @staticmethod
    def backward(ctx: Any, *given: torch.Tensor) -> Any:
        (inside,) = ctx.saved_tensors
        return given[0] * inside, None, None


@contextlib.contextmanager
def in_blocks(model: PreTrainedModel, *, bits: int, table_bits: int = 8) -> Iterator[None]:
    """Inside, every matrix of a generator computes as its integers in blocks of `bits` bits will; afterwards its
    weights are these numbers, which export finds again and keeps (`edgelm.quantize.exact_grid`).

    Scales are chosen once, at the beginning: the least squared error of the weights as they come. Nothing is dropped
    out, which would be more noise than rounding is. The table of tokens, and the head with it, are rounded to
    `table_bits` at the end: 8 bits lose nothing that a model would have to learn, with 4 the head is rounded in
    training too.
    """
    tables = [module.get_parameter("weight") for module in token_tables(model).values()]
    grids: list[tuple[nn.Module, BlockGrid]] = [
        (module, BlockGrid.of(_as_linear(module), bits)) for module in layer_matrices(model).values()
    ]
    head = model.get_output_embeddings()
    if table_bits == 4 and head is not None:
        grids.append((head, BlockGrid.of(head.weight, table_bits)))
    with dropping_out(model, 0.0):
        try:
            for module, grid in grids:
                module.forward = _forward_of(module, grid)
            yield
        finally:
            for module, _ in grids:
                module.__dict__.pop("forward", None)
    with torch.no_grad():
        for module, grid in grids:
            if module is not head:
                _as_linear(module).copy_(grid(_as_linear(module)))
        for weight in tables:
            made = round_blocks(weight.detach().float().cpu().T.numpy(), table_bits)
            weight.copy_(torch.from_numpy(made.floats().T.copy()))


def _as_linear(module: Any) -> torch.Tensor:
    """A module's weight as (out, in), a view where transformers keeps it the other way round."""
    weight: torch.Tensor = module.weight
    return weight.T if isinstance(module, Conv1D) else weight


def _forward_of(module: Any, grid: BlockGrid) -> Callable[[torch.Tensor], torch.Tensor]:
    """What the module computes inside. Where no gradients are taken its rounded weight is kept until the weight
    changes: a student that writes reads it once for every token."""
    kept: dict[int, torch.Tensor] = {}

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        weight, version = _as_linear(module), module.weight._version
        if torch.is_grad_enabled():
            kept.clear()
            return functional.linear(inputs, grid(weight), module.bias)
        if version not in kept:
            kept.clear()
            kept[version] = grid(weight)
        return functional.linear(inputs, kept[version], module.bias)

    return forward
