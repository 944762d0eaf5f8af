"""One rung of every ladder, or no layer at all, such that the model keeps within a cost: exact for given weights of the errors, which are
searched for.

Source: Frantar and Alistarh, "SPDY" (2022, arXiv:2201.13096), as ZipLM (2023) uses it: errors of modules are measured in units of their
own, so each gets a coefficient; for given coefficients dynamic programming finds the best choice, and the coefficients are found by
trying what the whole model then loses on real texts.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from edgelm import distributed as processes
from edgelm.anatomy import blocks, keep_layers
from edgelm.compress.pruning.levels import ATTENTION, FFN, PARTS, Ladder, Rung
from edgelm.knapsack import least_cost
from edgelm.progress import Progress, silent

_RANDOM = 0.3  # of the tries; the others change the best so far
_CHANGED = 0.25  # of the coefficients in such a change, at the beginning
_SPREAD = 2.0  # standard deviation of the logarithm of a coefficient

_TIGHTENINGS, _TIGHTER = 20, 0.95  # of an allowance, until what else is asked of a choice holds

Loss = Callable[[PreTrainedModel], float]
Cost = Callable[[int, int], float]


def choose(ladders: Sequence[Ladder], cost: Cost, allowance: float, *, coefficients: np.ndarray | None = None) -> list[int]:
    """The rung of each ladder with the least sum of errors within the allowance.

    A layer whose modules are all on their last rung is one that goes. One layer stays.

    Args:
        cost: of a layer, by its heads and channels, in the allowance's unit.
        coefficients: (ladders,) of the errors; None: 1.

    Raises:
        ValueError: even one layer of one unit costs more.
    """
    weights = np.ones(len(ladders)) if coefficients is None else coefficients
    options = _options_by_layer(ladders, weights, cost)
    taken = _take(options, allowance)
    if not any(option.stays for option in taken):
        dear = _dearest(options)
        options[dear] = [option for option in options[dear] if option.stays]
        taken = _take(options, allowance)
    picks = {place: rung for option in taken for place, rung in option.rungs.items()}
    return [picks[place] for place in range(len(ladders))]


def cheapest(ladders: Sequence[Ladder], cost: Cost) -> list[int]:
    """The choice that costs least: of one layer, the one that would be missed most, as little as it can have."""
    options = _options_by_layer(ladders, np.ones(len(ladders)), cost)
    least = [option for option in options[_dearest(options)] if option.stays][-1].rungs
    return [least.get(place, len(ladder.rungs) - 1) for place, ladder in enumerate(ladders)]


class _Option(NamedTuple):
    """What can become of a layer: what it then costs and loses, the rung of each of its ladders, and whether anything is left."""

    cost: float
    error: float
    rungs: dict[int, int]
    stays: bool


def _take(options: Mapping[int, Sequence[_Option]], allowance: float) -> list[_Option]:
    """One option of each layer."""
    found = least_cost([[option[:2] for option in some] for some in options.values()], allowance)
    return [some[pick] for some, pick in zip(options.values(), found, strict=True)]


def _dearest(options: Mapping[int, Sequence[_Option]]) -> int:
    """The layer that would be missed most; going costs nothing, so it comes last."""
    return max(options, key=lambda layer: options[layer][-1].error)


def _options_by_layer(ladders: Sequence[Ladder], weights: np.ndarray, cost: Cost) -> dict[int, list[_Option]]:
    return {layer: _layer_options(ladders, weights, layer, cost) for layer in sorted({ladder.layer for ladder in ladders})}


def _layer_options(ladders: Sequence[Ladder], weights: np.ndarray, layer: int, cost: Cost) -> list[_Option]:
    """Every pair of rungs of a layer that no cheaper one equals, the cheapest last."""
    places = [place for place, ladder in enumerate(ladders) if ladder.layer == layer]
    found = []
    for rungs in product(*(range(len(ladders[place].rungs)) for place in places)):
        chosen = [(place, ladders[place].rungs[rung]) for place, rung in zip(places, rungs, strict=True)]
        units = {ladders[place].kind: len(rung.units) for place, rung in chosen}
        error = sum(float(weights[place]) * rung.error for place, rung in chosen)
        spent = cost(units.get(ATTENTION, 0), units.get(FFN, 0))
        found.append(_Option(spent, error, dict(zip(places, rungs, strict=True)), any(units.values())))
    best: list[_Option] = []
    for option in sorted(found, key=lambda option: (option.stays, *option[:2])):
        if len(best) < 2 or option.error < best[-1].error:  # going, and the least that can stay, are always there
            best.append(option)
    return best[::-1]


def search(
    model: PreTrainedModel,
    ladders: Sequence[Ladder],
    cost: Cost,
    allowance: float,
    loss: Loss,
    *,
    tries: int,
    fits: Callable[[list[int]], bool] = lambda picks: True,
    seed: int = 0,
    progress: Progress = silent,
) -> list[int]:
    """The choice, among those of many coefficients, whose assembled model has the least loss.

    Args:
        fits: whether a choice may be made, beside costing no more than is allowed; what may not is looked for at a lower allowance.
        loss: of a whole model, on calibration texts. Several processes may share its work, so all go the main one's way.
        tries: sets of coefficients; a choice that was there before costs nothing.

    Raises:
        ValueError: even one layer of one unit costs more, or no choice fits.
    """
    cost = functools.cache(cost)  # every try asks for the same pairs of heads and channels
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
        picks = processes.same(_fitting(ladders, cost, allowance, np.exp(candidate), fits))
        progress("search", number + 1, max(1, tries))
        if picks is None:
            continue
        if tuple(picks) not in known:
            known[tuple(picks)] = processes.same(loss(assemble(model, pick_rungs(ladders, picks))))
        if known[tuple(picks)] < least:
            least, best, winner = known[tuple(picks)], candidate, picks
    if not winner:
        raise ValueError("no choice fits")
    return winner


def _fitting(
    ladders: Sequence[Ladder], cost: Cost, allowance: float, coefficients: np.ndarray, fits: Callable[[list[int]], bool]
) -> list[int] | None:
    """The first choice that fits, as the allowance falls; None where none does.

    Raises:
        ValueError: even one layer of one unit costs more than is allowed at first.
    """
    picks = choose(ladders, cost, allowance, coefficients=coefficients)
    for _ in range(_TIGHTENINGS):
        if fits(picks):
            return picks
        allowance *= _TIGHTER
        try:
            picks = choose(ladders, cost, allowance, coefficients=coefficients)
        except ValueError:
            return None
    return picks if fits(picks) else None


def pick_rungs(ladders: Sequence[Ladder], picks: Sequence[int]) -> list[tuple[Ladder, Rung]]:
    """Ladders with their chosen rungs."""
    return [(ladder, ladder.rungs[pick]) for ladder, pick in zip(ladders, picks, strict=True)]


def assemble(model: PreTrainedModel, picks: Sequence[tuple[Ladder, Rung]]) -> PreTrainedModel:
    """A copy of the model with every module on its rung, without the layers in which nothing is left.

    The states of the last layer before a gap become what those of the last layer in it were: they take over its norm.
    """
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
    layers = blocks(model)
    kept = [index for index, block in enumerate(layers) if block.heads or block.ffn]
    for first, last in segments(kept, len(layers)):
        if first != last:
            layers[first].output_norm.load_state_dict(layers[last].output_norm.state_dict())
    keep_layers(model, kept)
    return model


def segments(kept: Sequence[int], total: int) -> list[tuple[int, int]]:
    """For each layer that is kept, itself and the last of those that it stands for: up to the next one, or the model's last."""
    return list(zip(kept, [*(index - 1 for index in kept[1:]), total - 1], strict=True))
