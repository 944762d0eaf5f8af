"""One rung of every ladder such that the model keeps within a cost: exact for given weights of the errors, which are searched for.

Source: Frantar and Alistarh, "SPDY" (2022, arXiv:2201.13096), as ZipLM (2023) uses it: errors of modules are measured in units of their
own, so each gets a coefficient; for given coefficients dynamic programming finds the best choice, and the coefficients are found by
trying what the whole model then loses on real texts.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from edgelm.anatomy import blocks
from edgelm.compress import processes
from edgelm.compress.ladders import ATTENTION, PARTS, Ladder, Rung
from edgelm.knapsack import least_cost
from edgelm.progress import Progress, silent

_RANDOM = 0.3  # of the tries; the others change the best so far
_CHANGED = 0.25  # of the coefficients in such a change, at the beginning
_SPREAD = 2.0  # standard deviation of the logarithm of a coefficient

Loss = Callable[[PreTrainedModel], float]
Cost = Callable[[str, int], float]


def choose(ladders: Sequence[Ladder], cost: Cost, allowance: float, *, coefficients: np.ndarray | None = None) -> list[int]:
    """The rung of each ladder with the least sum of errors within the allowance.

    Args:
        cost: of a module, by kind and number of units, in the allowance's unit.
        coefficients: (ladders,) of the errors; None: 1.

    Raises:
        ValueError: even without any unit the cost is higher.
    """
    weights = np.ones(len(ladders)) if coefficients is None else coefficients
    options = [
        [(cost(ladder.kind, len(rung.units)), float(weight) * rung.error) for rung in ladder.rungs]
        for ladder, weight in zip(ladders, weights, strict=True)
    ]
    return least_cost(options, allowance)


def search(
    model: PreTrainedModel,
    ladders: Sequence[Ladder],
    cost: Cost,
    allowance: float,
    loss: Loss,
    *,
    tries: int,
    seed: int = 0,
    progress: Progress = silent,
) -> list[int]:
    """The choice, among those of many coefficients, whose assembled model has the least loss.

    Args:
        loss: of a whole model, on calibration texts. Several processes may share its work, so all go the main one's way.
        tries: sets of coefficients; a choice that was there before costs nothing.

    Raises:
        ValueError: even without any unit the cost is higher.
    """
    draw = np.random.default_rng(seed)
    known: dict[tuple[int, ...], float] = {}
    best = np.zeros(len(ladders))  # logarithms
    least = np.inf
    winner: list[int] = []
    for number in range(max(1, tries)):
        if number == 0:
            candidate = best
        elif number <= _RANDOM * tries:
            candidate = draw.normal(scale=_SPREAD, size=len(ladders))
        else:
            share = max(_CHANGED * (1 - number / tries), 1 / len(ladders))
            candidate = np.where(draw.random(len(ladders)) < share, draw.normal(scale=_SPREAD, size=len(ladders)), best)
        picks = processes.same(choose(ladders, cost, allowance, coefficients=np.exp(candidate)))
        if tuple(picks) not in known:
            known[tuple(picks)] = processes.same(loss(assemble(model, pick_rungs(ladders, picks))))
        if known[tuple(picks)] < least:
            least, best, winner = known[tuple(picks)], candidate, picks
        progress("search", number + 1, max(1, tries))
    return winner


def pick_rungs(ladders: Sequence[Ladder], picks: Sequence[int]) -> list[tuple[Ladder, Rung]]:
    """Ladders with their chosen rungs."""
    return [(ladder, ladder.rungs[pick]) for ladder, pick in zip(ladders, picks, strict=True)]


def assemble(model: PreTrainedModel, picks: Sequence[tuple[Ladder, Rung]]) -> PreTrainedModel:
    """A copy of the model with every module on its rung."""
    model = copy.deepcopy(model)
    for ladder, rung in picks:
        block = blocks(model)[ladder.layer]
        if ladder.kind == ATTENTION:
            block.cut(heads=rung.units)
        else:
            block.cut(ffn=rung.units)
        if rung.weight is not None and rung.bias is not None:
            linear = block.module(PARTS[ladder.kind])
            with torch.no_grad():
                linear.weight = nn.Parameter(rung.weight.clone())
                linear.bias = nn.Parameter(rung.bias.clone())
    return model
