"""Cuts a model to constraints: pruning levels of every module, the best choice of levels and layers, and a check of
what it really costs."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from edgelm import distributed as processes
from edgelm.anatomy import Rows, TaskModel, model_layers
from edgelm.anatomy.layer import ATTENTION
from edgelm.anatomy.layers import require_own_weights
from edgelm.compress.distillation.layer_matching import spread_layers
from edgelm.compress.distillation.losses import soft_loss
from edgelm.compress.evaluate import predict
from edgelm.compress.pruning.allotted import Allotted, Entry, gradient_rows, race_within, surgery_rows
from edgelm.compress.pruning.choices import even_choice, kept_layers, shapes_of
from edgelm.compress.pruning.constraints import Constraints
from edgelm.compress.pruning.exchange import exchange
from edgelm.compress.pruning.levels import ModuleLevels, fisher_levels, obs_levels, take_level
from edgelm.compress.pruning.mask_scores import measure_importance
from edgelm.compress.pruning.reconstruct import reconstruct
from edgelm.compress.pruning.settle import Maker, settle
from edgelm.compress.pruning.spdy import Loss, assemble, cheapest, pick_levels, search, segments
from edgelm.compress.pruning.successive_halving import race
from edgelm.data.dataset import Dataset
from edgelm.errors import RecipeError
from edgelm.progress import Progress, silent
from edgelm.recipe import FitSettings, RaceSettings
from edgelm.shapes import LayerShape, Shapes

_TEMPERATURE = 2.0
_RACE_JUDGED = 1024  # texts, at least, on which trained cuts are compared: they differ by less
_EXACT = 1 + 1e-9  # sums of floats differ by their order
_LEAST_MISSED = 1e-3  # of what the most needed module is missed: nothing is free
_LEVELLED, _TRIED, _SEARCHED = 0.4, 0.55, 0.7  # shares of the time: levels, the search, and all shapes are there
_BALANCES = 6  # halvings in the search for the weights of two bounds


@dataclass(frozen=True)
class Material:
    """A model's teacher, what it reads, a folder for the states of a training, which may take so many seconds, and the
    time that all of the cutting has."""

    teacher: TaskModel
    rows: Dataset
    seed: int
    work: Path
    seconds: float | None = None
    allotted: Allotted = field(default_factory=Allotted)
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
            start = _missed(model, module_levels, loss, material)
        searched = functools.partial(_searched, model, module_levels, loss, start, material)
        makers: list[Maker] = [searched]
        if settings.race is not None:
            counts = range(1, len(model_layers(model)) + 1)
            makers += [functools.partial(_even, model, module_levels, count) for count in counts]
        for number, make in enumerate(makers):
            if number and material.allotted.over(_SEARCHED):
                material.allotted.leave_out(f"{len(makers) - number} of {len(makers)} shapes that race")
                break
            enough = functools.partial(material.allotted.over, _part(number, len(makers)))
            layers_of = functools.partial(shapes_of, model, module_levels)
            picks = settle(goal, make, layers_of, settings.tries, enough=enough)
            if picks is not None and (shapes := tuple(shapes_of(model, module_levels, picks))) not in cuts:
                cuts[shapes] = _cut(model, module_levels, picks, settings, material, loss)
    found = list(cuts.values())
    if settings.race is None or len(found) == 1:
        return min(found, key=lambda cut: cut.loss)
    return found[_race(found, settings, settings.race, material)]


def _even(
    model: PreTrainedModel, module_levels: Sequence[ModuleLevels], count: int, goal: Constraints, tries: int
) -> list[int] | None:
    """A choice of so many layers that keep about the same share of their units, whatever is tried."""
    layers = spread_layers(len(model_layers(model)), count)
    return even_choice(module_levels, layers, _fits(model, module_levels, goal))


def _fits(
    model: PreTrainedModel, module_levels: Sequence[ModuleLevels], goal: Constraints
) -> Callable[[list[int]], bool]:
    """Whether a choice keeps within all bounds, by their tables."""

    def fits(picks: list[int]) -> bool:
        shapes = shapes_of(model, module_levels, picks)
        return all(bound.table.predict(shapes) <= bound.allowed * _EXACT for bound in goal.bounds)

    return fits


def _cut(
    model: PreTrainedModel,
    module_levels: Sequence[ModuleLevels],
    picks: Sequence[int],
    settings: FitSettings,
    material: Material,
    loss: Loss,
) -> Cut:
    chosen = pick_levels(module_levels, picks)
    smaller, layers = assemble(model, chosen), kept_layers(model, module_levels, picks)
    least = processes.same(loss(smaller))
    if settings.reconstruct:
        rows = material.rows.sample(settings.samples, seed=material.seed)
        stacks = [layer.stack for layer in model_layers(model)]
        sources, original = segments(layers, stacks), material.teacher.with_model(model)
        solved = reconstruct(
            smaller,
            original,
            rows,
            sources=sources,
            new_biases=_new_biases(settings, material),
            progress=material.progress,
        )
        solved_loss = processes.same(loss(solved))
        if solved_loss < least:  # few tokens, or some of them far larger than all others, can lead it astray
            smaller, least = solved, solved_loss
    heads = {module.layer: level.units for module, level in chosen if module.kind == ATTENTION}
    return Cut(smaller, least, tuple(layers), tuple(heads.get(layer, ()) for layer in layers))


def _part(number: int, count: int) -> float:
    """The share of the time after which nothing more is tried for a shape, the one that is searched for first."""
    return _TRIED + (_SEARCHED - _TRIED) * (number + 1) / count


def _race(cuts: Sequence[Cut], settings: FitSettings, asked: RaceSettings, material: Material) -> int:
    judged = max(settings.judged, _RACE_JUDGED)
    entry = race_within(
        Entry(len(cuts), judged, material.seconds), material.teacher, material.rows, material.allotted, settings.judged
    )
    if entry is None:
        return min(range(len(cuts)), key=lambda place: cuts[place].loss)
    return race(
        [cut.model for cut in cuts[: entry.models]],
        asked,
        teacher=material.teacher,
        rows=material.rows,
        loss=teacher_loss(entry.judged, material),
        work=material.work,
        seed=material.seed,
        seconds=entry.seconds,
        progress=material.progress,
    )


def make_levels(model: PreTrainedModel, method: str, settings: FitSettings, material: Material) -> list[ModuleLevels]:
    """By optimal brain surgeon (`obs`) or by the Fisher information of masks (`fisher`), which also stands in for the
    surgeon where there is no time for it."""
    rows = material.rows.sample(settings.samples, seed=material.seed)
    asked = material.teacher.with_model(model)
    allowed = surgery_rows(asked, rows, material.allotted, share=_LEVELLED) if method == "obs" else None
    if allowed is not None:
        rows = allowed
        new_biases = _new_biases(settings, material)
        return obs_levels(asked, rows, multiple=settings.multiple, new_biases=new_biases, progress=material.progress)
    rows = gradient_rows(asked, rows, material.allotted, share=_LEVELLED)
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


def _missed(
    model: PreTrainedModel, module_levels: Sequence[ModuleLevels], loss: Loss, material: Material
) -> np.ndarray | None:
    """(module_levels,) what the whole model loses without each module alone, in its loss on real texts: errors of
    modules in one unit, for the search to begin with. None: there is no time to ask."""
    whole, costs = processes.same(loss(model)), []
    for number, module in enumerate(module_levels):
        if material.allotted.over(_LEVELLED):
            material.allotted.leave_out("what the whole model loses without each module")
            return None
        smaller = copy.deepcopy(model)
        take_level(smaller, module, module.levels[-1])
        costs.append(processes.same(loss(smaller)) - whole)
        material.progress("without each", number + 1, len(module_levels))
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
    """The best choice that a search by coefficients finds. Such a search believes sums of errors over modules; where a
    model that writes loses less by the even choice, it was wrong, and that one is bettered instead."""
    picks = _within(model, module_levels, goal, loss, tries=tries, material=material, start=start)
    even = None if start is None else _even(model, module_levels, len(model_layers(model)), goal, tries)
    if even is None:
        return picks
    lost = [processes.same(loss(assemble(model, pick_levels(module_levels, each)))) for each in (picks, even)]
    if lost[0] <= lost[1]:
        return picks
    return exchange(
        model,
        module_levels,
        even,
        lost[1],
        loss,
        _fits(model, module_levels, goal),
        tries=tries,
        seed=material.seed,
        progress=material.progress,
    )


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

    enough = functools.partial(material.allotted.over, _TRIED)

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
                enough=enough,
                progress=material.progress,
                **more,
            )
        except ValueError:  # even one layer of one unit costs more
            return cheapest(module_levels, cost)

    return find(
        _balance(goal, lambda weights: shapes_of(model, module_levels, find(weights, 1))),
        tries,
        fits=_fits(model, module_levels, goal),
    )


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
