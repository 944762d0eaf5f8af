"""SPDY search: one pruning level per module, or no layer, with the least summed error under a cost limit; exact for
given error coefficients, which a random search finds.

Source: Frantar and Alistarh, "SPDY" (2022, arXiv:2201.13096), as ZipLM (2023) uses it: errors of modules are measured
in units of their own, so each gets a coefficient; for given coefficients dynamic programming finds the best choice, and
the coefficients are found by trying what the whole model then loses on real texts.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedModel

from edgelm import distributed as processes
from edgelm.anatomy import keep_layers, model_layers
from edgelm.compress.pruning.levels import Level, ModuleLevels, take_level
from edgelm.compress.pruning.stack_walk import stack_ranges
from edgelm.knapsack import least_cost
from edgelm.progress import Progress, silent
from edgelm.shapes import LayerShape, shape_of

_RANDOM = 0.3  # of the tries; the others change the best so far
_CHANGED = 0.25  # of the coefficients in such a change, at the beginning
_SPREAD = 2.0  # standard deviation of the logarithm of a coefficient

_TIGHTENINGS, _TIGHTER = 20, 0.95  # of an allowance, until what else is asked of a choice holds

Loss = Callable[[PreTrainedModel], float]
Cost = Callable[[LayerShape], float]


def least_error(
    module_levels: Sequence[ModuleLevels], cost: Cost, allowance: float, *, coefficients: np.ndarray | None = None
) -> list[int]:
    """The level of each module with the least sum of errors within the allowance.

    A layer whose modules are all on their last level is one that goes. One layer of each stack stays.

    Args:
        cost: of a layer, by what is left of it, in the allowance's unit.
        coefficients: (module_levels,) of the errors; None: 1.

    Raises:
        ValueError: even one layer of one unit costs more.
    """
    weights = np.ones(len(module_levels)) if coefficients is None else coefficients
    options = _options_by_layer(module_levels, weights, cost)
    taken = _take(options, allowance)
    while gone := [stack for stack in _layers_of(module_levels).values() if not _any_stays(taken, options, stack)]:
        dear = _dearest({layer: options[layer] for layer in gone[0]})
        options[dear] = [option for option in options[dear] if option.stays]
        taken = _take(options, allowance)
    picks = {place: level for option in taken for place, level in option.levels.items()}
    return [picks[place] for place in range(len(module_levels))]


def cheapest(module_levels: Sequence[ModuleLevels], cost: Cost) -> list[int]:
    """The choice that costs least: of one layer a stack, the one that would be missed most, as little as it can
    have."""
    options = _options_by_layer(module_levels, np.ones(len(module_levels)), cost)
    least: dict[int, int] = {}
    for layers in _layers_of(module_levels).values():
        dear = _dearest({layer: options[layer] for layer in layers})
        least |= [option for option in options[dear] if option.stays][-1].levels
    return [least.get(place, len(module.levels) - 1) for place, module in enumerate(module_levels)]


def _layers_of(module_levels: Sequence[ModuleLevels]) -> dict[str, list[int]]:
    """The layers of each stack."""
    found: dict[str, list[int]] = {}
    for module in module_levels:
        if module.layer not in found.setdefault(module.stack, []):
            found[module.stack].append(module.layer)
    return found


def _any_stays(taken: Sequence[_Option], options: Mapping[int, object], layers: Sequence[int]) -> bool:
    """Whether an option was taken that leaves something of one of these layers."""
    return any(option.stays for layer, option in zip(options, taken, strict=True) if layer in layers)


class _Option(NamedTuple):
    """What can become of a layer: what it then costs and loses, the level of each of its modules, and whether anything
    is left."""

    cost: float
    error: float
    levels: dict[int, int]
    stays: bool


def _take(options: Mapping[int, Sequence[_Option]], allowance: float) -> list[_Option]:
    """One option of each layer."""
    found = least_cost([[option[:2] for option in some] for some in options.values()], allowance)
    return [some[pick] for some, pick in zip(options.values(), found, strict=True)]


def _dearest(options: Mapping[int, Sequence[_Option]]) -> int:
    """The layer that would be missed most; going costs nothing, so it comes last."""
    return max(options, key=lambda layer: options[layer][-1].error)


def _options_by_layer(
    module_levels: Sequence[ModuleLevels], weights: np.ndarray, cost: Cost
) -> dict[int, list[_Option]]:
    return {
        layer: _layer_options(module_levels, weights, layer, cost)
        for layer in sorted({module.layer for module in module_levels})
    }


def _layer_options(module_levels: Sequence[ModuleLevels], weights: np.ndarray, layer: int, cost: Cost) -> list[_Option]:
    """Every pair of levels of a layer that no cheaper one equals, the cheapest last."""
    places = [place for place, module in enumerate(module_levels) if module.layer == layer]
    found = []
    for levels in product(*(range(len(module_levels[place].levels)) for place in places)):
        chosen = [(place, module_levels[place].levels[level]) for place, level in zip(places, levels, strict=True)]
        units = {module_levels[place].kind: len(level.units) for place, level in chosen}
        shape = shape_of(units, module_levels[places[0]].stack)
        error = sum(float(weights[place]) * level.error for place, level in chosen)
        spent = 0.0 if shape.empty else cost(shape)
        found.append(_Option(spent, error, dict(zip(places, levels, strict=True)), any(units.values())))
    best: list[_Option] = []
    for option in sorted(found, key=lambda option: (option.stays, *option[:2])):
        if len(best) < 2 or option.error < best[-1].error:  # going, and the least that can stay, are always there
            best.append(option)
    return best[::-1]


def search(
    model: PreTrainedModel,
    module_levels: Sequence[ModuleLevels],
    cost: Cost,
    allowance: float,
    loss: Loss,
    *,
    tries: int,
    fits: Callable[[list[int]], bool] = lambda picks: True,
    start: np.ndarray | None = None,
    seed: int = 0,
    enough: Callable[[], bool] = lambda: False,
    progress: Progress = silent,
) -> list[int]:
    """The choice, among those of many coefficients, whose assembled model has the least loss.

    Args:
        fits: whether a choice may be made, beside costing no more than is allowed; what may not is looked for at a
            lower allowance.
        loss: of a whole model, on calibration texts. Several processes may share its work, so all go the main one's
            way.
        start: (module_levels,) coefficients to begin with, which the random ones are around; None: 1.
        tries: sets of coefficients; a choice that was there before costs nothing.
        enough: whether the best so far must do, asked before each further try.

    Raises:
        ValueError: even one layer of one unit costs more, or no choice fits.
    """
    cost = functools.cache(cost)  # every try asks for the same shapes
    draw = np.random.default_rng(seed)
    known: dict[tuple[int, ...], float] = {}
    best = np.zeros(len(module_levels)) if start is None else np.log(start)  # logarithms
    first, least = best, np.inf
    winner: list[int] = []
    for number in range(max(1, tries)):
        if winner and enough():
            break
        if number == 0:
            candidate = best
        elif number <= _RANDOM * tries:
            candidate = first + draw.normal(scale=_SPREAD, size=len(module_levels))
        else:
            share = max(_CHANGED * (1 - number / tries), 1 / len(module_levels))
            candidate = np.where(
                draw.random(len(module_levels)) < share,
                first + draw.normal(scale=_SPREAD, size=len(module_levels)),
                best,
            )
        picks = processes.same(_fitting(module_levels, cost, allowance, np.exp(candidate), fits))
        progress("search", number + 1, max(1, tries))
        if picks is None:
            continue
        if tuple(picks) not in known:
            known[tuple(picks)] = processes.same(loss(assemble(model, pick_levels(module_levels, picks))))
        if known[tuple(picks)] < least:
            least, best, winner = known[tuple(picks)], candidate, picks
    if not winner:
        raise ValueError("no choice fits")
    return winner


def _fitting(
    module_levels: Sequence[ModuleLevels],
    cost: Cost,
    allowance: float,
    coefficients: np.ndarray,
    fits: Callable[[list[int]], bool],
) -> list[int] | None:
    """The first choice that fits, as the allowance falls; None where none does.

    Raises:
        ValueError: even one layer of one unit costs more than is allowed at first.
    """
    picks = least_error(module_levels, cost, allowance, coefficients=coefficients)
    for _ in range(_TIGHTENINGS):
        if fits(picks):
            return picks
        allowance *= _TIGHTER
        try:
            picks = least_error(module_levels, cost, allowance, coefficients=coefficients)
        except ValueError:
            return None
    return picks if fits(picks) else None


def pick_levels(module_levels: Sequence[ModuleLevels], picks: Sequence[int]) -> list[tuple[ModuleLevels, Level]]:
    """Modules with their chosen levels."""
    return [(module, module.levels[pick]) for module, pick in zip(module_levels, picks, strict=True)]


def assemble(model: PreTrainedModel, picks: Sequence[tuple[ModuleLevels, Level]]) -> PreTrainedModel:
    """A copy of the model with every module on its level, without the layers in which nothing is left.

    The states of the last layer before a gap become what those of the last layer in it were: they take over its norm.
    """
    model = copy.deepcopy(model)
    for module, level in picks:
        take_level(model, module, level)
    layers = model_layers(model)
    kept = [index for index, layer in enumerate(layers) if not layer.shape.empty]
    for first, last in segments(kept, [layer.stack for layer in layers]):
        norm, taken = layers[first].output_norm, layers[last].output_norm
        if first != last and norm is not None and taken is not None:
            norm.load_state_dict(taken.state_dict())
    keep_layers(model, kept)
    return model


def segments(kept: Sequence[int], stacks: Sequence[str]) -> list[tuple[int, int]]:
    """For each layer that is kept, itself and the last of those that it stands for: up to the next one, or the last of
    its stack.

    Args:
        stacks: of every layer, the name of the stack.
    """
    found = []
    for layers in stack_ranges(stacks):
        own = [index for index in kept if index in layers]
        found += list(zip(own, [*(index - 1 for index in own[1:]), layers[-1]], strict=True))
    return found
