"""Optimal-brain-surgeon pruning of one linear layer's inputs: what goes is chosen, and what stays takes over, by least
squares.

Source: Hassibi and Stork, "Second order derivatives for network pruning" (1993); for structures Kurtic, Frantar and
Alistarh, "ZipLM" (2023, arXiv:2302.04089), equations 1 and 2. Here the bias is one more input that never goes: it takes
over the means; a layer that has none stays without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

_DAMPING = 0.01
_SHRINK = 128  # removals after which the matrices are made smaller


@dataclass(frozen=True)
class Level:
    """A layer with some of its input units.

    Attributes:
        units: those that are left, sorted.
        error: squared error of the outputs, relative to that of the best constant (without a bias, of zero): 0 for all
            units, 1 for none.
        weight: (out, inputs left), float32.
        bias: (out,), float32; None: there is none.
    """

    units: tuple[int, ...]
    error: float
    weight: torch.Tensor
    bias: torch.Tensor | None


def moments_of(inputs: torch.Tensor) -> torch.Tensor:
    """(in + 1, in + 1) float64: the sum of x xᵀ over tokens (tokens, in), with a one behind each x for the bias."""
    ones = torch.cat([inputs, inputs.new_ones(len(inputs), 1)], dim=1)
    return (ones.T @ ones).double()


def remove_units(
    weight: torch.Tensor, bias: torch.Tensor | None, moments: torch.Tensor, *, width: int, counts: Sequence[int]
) -> list[Level]:
    """Remove input units one by one, each time the one that costs the outputs least, the others adjusted; keep the
    asked-for states.

    A unit S costs tr(Wₛᵀ [H⁻¹ₛₛ]⁻¹ Wₛ); removing it changes W by -H⁻¹[:,S] [H⁻¹ₛₛ]⁻¹ Wₛ. One at a time: of two units
    that say the same, only one may go.

    Args:
        weight, bias: (out, in) and (out,) of the layer; None: no bias takes anything over.
        moments: of its inputs, by `moments_of`, summed over all tokens.
        width: inputs of one unit: a head's size, or 1.
        counts: of units, whose states are wanted.

    Returns:
        one Level for each count, most units first.
    """
    total = weight.shape[1] // width
    matrix = _damped(moments if bias is not None else _without_constant(moments))
    inverse = torch.linalg.inv(matrix)
    constant = weight.new_zeros(len(weight)) if bias is None else bias
    work = torch.cat([weight, constant[:, None]], dim=1).T.double().contiguous()  # (in + 1, out)
    left = torch.arange(total, device=weight.device)
    alive = torch.ones(total, dtype=torch.bool, device=weight.device)
    wanted = set(counts)
    spent, states = 0.0, []

    def keep_state() -> None:
        rows = _rows(torch.nonzero(alive).flatten(), width)
        states.append((tuple(left[alive].tolist()), spent, work[rows].T.float().contiguous(), work[-1].float().clone()))

    if total in wanted:
        keep_state()
    for count in range(total - 1, -1, -1):
        cost = _costs(work, inverse, width)
        cost[~alive] = torch.inf
        unit = int(cost.argmin())
        rows = slice(unit * width, (unit + 1) * width)
        spent += max(float(cost[unit]), 0.0)
        gain = torch.linalg.solve(inverse[rows, rows], inverse[rows])  # (width, in + 1)
        work -= gain.T @ work[rows].clone()
        inverse -= inverse[:, rows].clone() @ gain
        alive[unit] = False
        work[rows] = 0
        inverse[rows] = 0
        inverse[:, rows] = 0
        inverse[rows, rows] = torch.eye(width, dtype=inverse.dtype, device=inverse.device)  # keeps the block invertible
        if count in wanted:
            keep_state()
        if count and int(alive.numel()) - count >= _SHRINK:
            kept = torch.nonzero(alive).flatten()
            rows_kept = torch.cat([_rows(kept, width), torch.tensor([len(work) - 1], device=weight.device)])
            work, inverse, left = (
                work[rows_kept].contiguous(),
                inverse[rows_kept][:, rows_kept].contiguous(),
                left[kept],
            )
            alive = torch.ones(count, dtype=torch.bool, device=weight.device)
    whole = spent or 1.0
    return [
        Level(units, error / whole, left_weight, None if bias is None else left_bias)
        for units, error, left_weight, left_bias in states
    ]


def _without_constant(moments: torch.Tensor) -> torch.Tensor:
    """Moments by which the bias has nothing to do with any input, and so stays what it is."""
    matrix = moments.clone()
    matrix[-1, :-1] = 0
    matrix[:-1, -1] = 0
    return matrix


def _damped(moments: torch.Tensor) -> torch.Tensor:
    """The mean of x xᵀ with 1 % of its mean diagonal added to the inputs (not to the bias); inputs that are always zero
    get 1."""
    matrix = moments / moments[-1, -1]
    diagonal = matrix.diagonal()[:-1]
    added = torch.full_like(diagonal, _DAMPING * float(diagonal.mean()))
    added[diagonal <= 0] += 1
    matrix = matrix.clone()
    matrix.diagonal()[:-1] += added
    return matrix


def _costs(work: torch.Tensor, inverse: torch.Tensor, width: int) -> torch.Tensor:
    """(units,) what removing each unit would add to the squared error."""
    units = (len(work) - 1) // width
    if width == 1:
        return work[:-1].square().sum(dim=1) / inverse.diagonal()[:-1]
    blocks = torch.stack(
        [inverse[unit * width : (unit + 1) * width, unit * width : (unit + 1) * width] for unit in range(units)]
    )
    rows = work[:-1].view(units, width, -1)
    return (rows * torch.linalg.solve(blocks, rows)).sum(dim=(1, 2))


def _rows(units: torch.Tensor, width: int) -> torch.Tensor:
    return (units[:, None] * width + torch.arange(width, device=units.device)).flatten()
