"""Losses of a generator's rows without the logits of a whole batch: a few rows at a time go through the head, which
gives loss and gradient at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from edgelm.anatomy.token_head import TokenHead

CHUNK = 1 << 25  # logits at a time: 128 MiB in FP32, of which a loss needs some four

RowLoss = Callable[[torch.Tensor, slice], torch.Tensor]  # logits (rows, vocabulary), which rows -> (rows,) losses


def chunked_sum(
    states: torch.Tensor, head: TokenHead, loss: RowLoss, weights: torch.Tensor, *, chunk: int = CHUNK
) -> torch.Tensor:
    """The weighted sum of the losses of all rows.

    Memory holds the logits of one chunk of rows, whatever the batch. The gradients of a chunk are taken while its
    logits are there, so that nothing is computed twice; they wait for the backward pass as one tensor of the states'
    size and one of the head's.

    Args:
        states: (rows, hidden), what the head reads.
        loss: the losses of some rows by their logits; gradients reach the logits alone.
        weights: (rows,) of the losses.
        chunk: logits at a time at most, but for a single row.
    """
    total: torch.Tensor = _ChunkedSum.apply(states, head, loss, weights, chunk, *head.weights)
    return total


class _ChunkedSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        head: TokenHead,
        loss: RowLoss,
        weights: torch.Tensor,
        chunk: int,
        *trained: torch.Tensor,
    ) -> torch.Tensor:
        size = max(1, chunk // head.vocabulary)
        total = torch.zeros((), device=states.device)
        wanted = any(ctx.needs_input_grad)
        ctx.scale = max(1, len(states))  # gradients of single rows are too small for FP16
        of_states = torch.zeros_like(states) if wanted else None
        of_head: list[torch.Tensor | None] = [None] * len(trained)
        for start in range(0, len(states), size):
            rows = slice(start, start + size)
            with torch.set_grad_enabled(wanted):
                piece = states[rows].detach().requires_grad_(wanted)
                part = (loss(head(piece), rows) * weights[rows]).sum() * ctx.scale
            total += part.detach()
            if of_states is not None:
                found = torch.autograd.grad(part, [piece, *trained])
                of_states[rows] = found[0]
                of_head = [new if old is None else old.add_(new) for old, new in zip(of_head, found[1:], strict=True)]
        ctx.save_for_backward(of_states, *of_head)
        return total / ctx.scale

    @staticmethod
    def backward(ctx: Any, *given: torch.Tensor) -> Any:
        of_states, *of_head = ctx.saved_tensors
        factor = given[0] / ctx.scale
        return (
            None if of_states is None else of_states * factor,
            None,
            None,
            None,
            None,
            *(None if gradient is None else gradient * factor for gradient in of_head),
        )
