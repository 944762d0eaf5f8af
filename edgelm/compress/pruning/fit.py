"""Cuts a model to constraints: pruning levels of every module, the best choice of levels and layers, and a check of
what it really costs."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from edgelm import distributed as processes
from edgelm.anatomy import Rows, TaskModel, layer_shapes, model_layers
from edgelm.anatomy.layer import ATTENTION, CROSS, FFN
from edgelm.anatomy.layers import require_own_weights
from edgelm.compress.distillation.layer_matching import spread_layers
from edgelm.compress.distillation.losses import soft_loss
from edgelm.compress.evaluate import predict
from edgelm.compress.pruning.constraints import Constraints
from edgelm.compress.pruning.levels import ModuleLevels, fisher_levels, obs_levels, take_level
from edgelm.compress.pruning.mask_scores import measure_importance
from edgelm.compress.pruning.reconstruct import reconstruct
from edgelm.compress.pruning.spdy import Loss, assemble, cheapest, pick_levels, search, segments
from edgelm.compress.pruning.successive_halving import race
from edgelm.data.dataset import Dataset
from edgelm.errors import RecipeError
from edgelm.progress import Progress, silent
from edgelm.recipe import FitSettings, RaceSettings
from edgelm.shapes import LayerShape, Shapes

_TEMPERATURE = 2.0
_CLOSE = 0.02  # of an allowance: nearer is not worth another search
_CORRECTIONS = 3
_FURTHEST = 1.5  # from what the table says, either way
_SMALLEST, _FINER = 0.02, 0.95  # share of the units that a layer keeps at least; from one share to the next
_RACE_JUDGED = 1024  # texts, at least, on which trained cuts are compared: they differ by less
_EXACT = 1 + 1e-9  # sums of floats differ by their order
_LEAST_MISSED = 1e-3  # of what the most needed module is missed: nothing is free
_BALANCES = 6  # halvings in the search for the weights of two bounds

Maker = Callable[[Constraints, int], list[int] | None]


@dataclass(frozen=True)
class Material:
    """A model's teacher, what it reads, and a folder for the states of a training, which may take so many seconds."""

    teacher: TaskModel
    rows: Dataset
    seed: int
    work: Path
    seconds: float | None = None
    progress: Progress = silent


@dataclass(frozen=True)
class Cut:
    """A smaller model, its loss (how far its outputs are from the teacher's or, of a model that writes, how unlikely it
    finds the texts), and which layers and heads of the larger one it has."""

    model: PreTrainedModel
    loss: float
    layers: tuple[int, ...]
    heads: tuple[tuple[int, ...], ...]


def cut_to_goal(model: PreTrainedModel, settings: FitSettings, goal: Constraints, material: Material) -> Cut:
    """The model within the goal whose outputs stay nearest to the teacher's: before any training, or after that of a
    race.

    A goal that no cut reaches is approached: one layer stays, with the least that it can have.

    Raises:
        UnsupportedFamily: the layers share their weights.
        RecipeError: a race of models that write.
    """
    require_own_weights(model, "they cannot be fitted to a budget one by one")
    if settings.race is not None and material.teacher.task.generates:
        raise RecipeError(
            "fit.race trains cuts of encoders against each other; models that write are not raced.",
            hint="Leave fit.race out: --set fit.race=null.",
        )
    loss = teacher_loss(settings.judged, material)
    cuts: dict[tuple[LayerShape, ...], Cut] = {}
    for method in ("obs", "fisher") if settings.method == "both" else (settings.method,):
        module_levels = make_levels(model, method, settings, material)

        start = None
        if material.teacher.task.generates:
            start = _missed(model, module_levels, loss, material.progress)
        searched = functools.partial(_searched, model, module_levels, loss, start, material)
        makers: list[Maker] = [searched]
        if settings.race is not None:
            makers += [_even_maker(model, module_levels, count) for count in range(1, len(model_layers(model)) + 1)]
        for make in makers:
            picks = _settle(model, module_levels, goal, make, settings.tries)
            if picks is not None and (shapes := tuple(shapes_of(model, module_levels, picks))) not in cuts:
                cuts[shapes] = _cut(model, module_levels, picks, settings, material, loss)
    found = list(cuts.values())
    if settings.race is None or len(found) == 1:
        return min(found, key=lambda cut: cut.loss)
    return found[_race([cut.model for cut in found], settings, settings.race, material)]


def _settle(
    model: PreTrainedModel, module_levels: Sequence[ModuleLevels], goal: Constraints, make: Maker, tries: int
) -> list[int] | None:
    """A choice whose cost, where it can be measured, is what is allowed: the goal of the table is moved until it is, or
    nearly is. Of what was measured the dearest that holds is taken; where none does, the one that misses least."""
    picks = make(goal, tries)
    factors = [1.0] * len(goal.bounds)
    timed = [bound.measure is not None for bound in goal.bounds]
    measured: list[tuple[float, list[int]]] = []  # the largest share of an allowance
    while picks is not None:
        shapes = shapes_of(model, module_levels, picks)
        off = [bound.cost(shapes) / bound.allowed for bound in goal.bounds]
        shares = [share for share, known in zip(off, timed, strict=True) if known]
        if all(1 - 2 * _CLOSE <= share <= 1 + _CLOSE for share in shares):
            return picks
        measured.append((max(shares), picks))
        if len(measured) > _CORRECTIONS:
            break
        factors = [
            _believable(factor / share) if known else factor
            for factor, share, known in zip(factors, off, timed, strict=True)
        ]
        picks = make(goal.scaled(factors), max(1, tries // 3))
    held = [entry for entry in measured if entry[0] <= 1 + _CLOSE]
    best = max(held, default=None) or min(measured, default=None)
    return None if best is None else best[1]


def _even_maker(model: PreTrainedModel, module_levels: Sequence[ModuleLevels], count: int) -> Maker:
    """Makes choices of so many layers, evenly spread, that keep about the same share of their units: as much as the
    goal allows."""
    layers = spread_layers(len(model_layers(model)), count)

    def nearest(module: ModuleLevels, share: float) -> int:
        wanted = share * len(module.levels[0].units)
        return min(range(len(module.levels) - 1), key=lambda level: abs(len(module.levels[level].units) - wanted))

    def make(goal: Constraints, _: int) -> list[int] | None:
        share = 1.0
        while share > _SMALLEST:
            picks = [
                nearest(module, share) if module.layer in layers else len(module.levels) - 1 for module in module_levels
            ]
            shapes = shapes_of(model, module_levels, picks)
            if all(bound.table.predict(shapes) <= bound.allowed for bound in goal.bounds):
                return picks
            share *= _FINER
        return None

    return make


def _cut(
    model: PreTrainedModel,
    module_levels: Sequence[ModuleLevels],
    picks: Sequence[int],
    settings: FitSettings,
    material: Material,
    loss: Loss,
) -> Cut:
    chosen = pick_levels(module_levels, picks)
    smaller, layers = assemble(model, chosen), _kept_layers(model, module_levels, picks)
    if settings.reconstruct:
        rows = material.rows.sample(settings.samples, seed=material.seed)
        stacks = [layer.stack for layer in model_layers(model)]
        sources, original = segments(layers, stacks), material.teacher.with_model(model)
        smaller = reconstruct(
            smaller,
            original,
            rows,
            sources=sources,
            new_biases=_new_biases(settings, material),
            progress=material.progress,
        )
    heads = {module.layer: level.units for module, level in chosen if module.kind == ATTENTION}
    return Cut(smaller, processes.same(loss(smaller)), tuple(layers), tuple(heads.get(layer, ()) for layer in layers))


def _race(models: Sequence[PreTrainedModel], settings: FitSettings, asked: RaceSettings, material: Material) -> int:
    return race(
        models,
        asked,
        teacher=material.teacher,
        rows=material.rows,
        loss=teacher_loss(max(settings.judged, _RACE_JUDGED), material),
        work=material.work,
        seed=material.seed,
        seconds=material.seconds,
        progress=material.progress,
    )


def _believable(factor: float) -> float:
    """A table is not further off than that; a measurement on a machine that other work comes and goes on may be."""
    return min(max(factor, 1 / _FURTHEST), _FURTHEST)


def make_levels(model: PreTrainedModel, method: str, settings: FitSettings, material: Material) -> list[ModuleLevels]:
    """By optimal brain surgeon (`obs`) or by the Fisher information of masks (`fisher`)."""
    rows = material.rows.sample(settings.samples, seed=material.seed)
    asked = material.teacher.with_model(model)
    if method == "obs":
        new_biases = _new_biases(settings, material)
        return obs_levels(asked, rows, multiple=settings.multiple, new_biases=new_biases, progress=material.progress)
    importance = measure_importance(asked, rows, seed=material.seed, progress=material.progress)
    return fisher_levels(model, importance, multiple=settings.multiple)


def _new_biases(settings: FitSettings, material: Material) -> bool:
    """Configurations of models that write cannot say that output projections alone have biases."""
    return not material.teacher.task.generates if settings.new_biases is None else settings.new_biases


def teacher_loss(judged: int, material: Material) -> Loss:
    """How far a model's outputs are from the teacher's, on so many texts; of a model that writes how unlikely it finds
    each token of them, the mean negative logarithm of its probability."""
    rows = material.rows.sample(judged, seed=material.seed + 1)
    if material.teacher.task.generates:  # whose logits would not fit into memory

        def mean_loss(model: PreTrainedModel) -> float:
            return float(predict(material.teacher.with_model(model), rows).rows[:, 1].mean())

        return mean_loss

    def outputs(model: PreTrainedModel) -> torch.Tensor:
        return torch.from_numpy(predict(material.teacher.with_model(model), rows).rows)

    wanted = outputs(material.teacher.model)

    def loss(model: PreTrainedModel) -> float:
        found = outputs(model)
        output = material.teacher.task.output
        return float(soft_loss(Rows(found, None, len(found)), wanted, output, temperature=_TEMPERATURE))

    return loss


def shapes_of(model: PreTrainedModel, module_levels: Sequence[ModuleLevels], picks: Sequence[int]) -> Shapes:
    """What a choice leaves of the layers, without making the model."""
    return tuple(shape for shape in _all_shapes(model, module_levels, picks) if not shape.empty)


def _kept_layers(model: PreTrainedModel, module_levels: Sequence[ModuleLevels], picks: Sequence[int]) -> list[int]:
    return [layer for layer, shape in enumerate(_all_shapes(model, module_levels, picks)) if not shape.empty]


def _all_shapes(
    model: PreTrainedModel, module_levels: Sequence[ModuleLevels], picks: Sequence[int]
) -> list[LayerShape]:
    units = {(module.layer, module.kind): len(level.units) for module, level in pick_levels(module_levels, picks)}
    return [
        replace(
            shape,
            heads=units.get((layer, ATTENTION), shape.heads),
            cross=units.get((layer, CROSS), shape.cross),
            ffn=units.get((layer, FFN), shape.ffn),
        )
        for layer, shape in enumerate(layer_shapes(model))
    ]


def _missed(
    model: PreTrainedModel, module_levels: Sequence[ModuleLevels], loss: Loss, progress: Progress
) -> np.ndarray:
    """(module_levels,) what the whole model loses without each module alone, in its loss on real texts: errors of
    modules in one unit, for the search to begin with."""
    whole, costs = processes.same(loss(model)), []
    for number, module in enumerate(module_levels):
        smaller = copy.deepcopy(model)
        take_level(smaller, module, module.levels[-1])
        costs.append(processes.same(loss(smaller)) - whole)
        progress("without each", number + 1, len(module_levels))
    return np.maximum(costs, _LEAST_MISSED * max(*costs, _LEAST_MISSED))


def _searched(
    model: PreTrainedModel,
    module_levels: Sequence[ModuleLevels],
    loss: Loss,
    start: np.ndarray | None,
    material: Material,
    goal: Constraints,
    tries: int,
) -> list[int]:
    return _within(model, module_levels, goal, loss, tries=tries, material=material, start=start)


def _within(
    model: PreTrainedModel,
    module_levels: Sequence[ModuleLevels],
    goal: Constraints,
    loss: Loss,
    *,
    tries: int,
    material: Material,
    start: np.ndarray | None = None,
) -> list[int]:
    """The best choice within all bounds: for two, their weights are balanced until both hold, or nearly do; what is
    chosen keeps to both."""

    def holds(picks: list[int]) -> bool:
        shapes = shapes_of(model, module_levels, picks)
        return all(bound.table.predict(shapes) <= bound.allowed * _EXACT for bound in goal.bounds)

    def find(weights: Sequence[float], tries: int, **more: Any) -> list[int]:
        cost, allowance = goal.joined(weights)
        try:
            return search(
                model,
                module_levels,
                cost,
                allowance,
                loss,
                tries=tries,
                start=start,
                seed=material.seed,
                progress=material.progress,
                **more,
            )
        except ValueError:  # even one layer of one unit costs more
            return cheapest(module_levels, cost)

    return find(_balance(goal, lambda weights: shapes_of(model, module_levels, find(weights, 1))), tries, fits=holds)


def _balance(goal: Constraints, shapes_for: Callable[[Sequence[float]], Shapes]) -> Sequence[float]:
    """Weights of the bounds under which all hold: the first alone, if that is enough, else by bisection between it and
    the others."""
    count = len(goal.bounds)
    if count == 1:
        return [1.0]
    low, high = 0.0, 1.0
    for step in range(_BALANCES + 1):
        middle = 0.0 if step == 0 else (low + high) / 2
        weights = [1 - middle] + [middle / (count - 1)] * (count - 1)
        shapes = shapes_for(weights)
        broken = [bound.table.predict(shapes) > bound.allowed for bound in goal.bounds]
        if not any(broken):
            return weights
        low, high = (low, middle) if broken[0] else (middle, high)
    return [1 - high] + [high / (count - 1)] * (count - 1)
