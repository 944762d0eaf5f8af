"""Cuts a model to a goal: ladders for every module, the best choice of rungs, and a check of what it really costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import PreTrainedModel

from edgelm.anatomy import layer_shapes
from edgelm.compress.choose import Loss, assemble, pick_rungs, search
from edgelm.compress.distill import soft_loss
from edgelm.compress.evaluate import predict
from edgelm.compress.goal import Goal
from edgelm.compress.ladders import Ladder, fisher_ladders, surgeon_ladders
from edgelm.compress.prune import measure_importance
from edgelm.dataset import Dataset
from edgelm.latency import Shapes
from edgelm.progress import Progress, silent
from edgelm.recipe import FitSettings
from edgelm.task import Task

_TEMPERATURE = 2.0
_CLOSE = 0.02  # of an allowance: nearer is not worth another search
_CORRECTIONS = 3
_BALANCES = 6  # halvings in the search for the weights of two bounds


@dataclass(frozen=True)
class Material:
    """A model's teacher and what it reads."""

    teacher: PreTrainedModel
    tokenizer: Any
    task: Task
    rows: Dataset
    seed: int
    progress: Progress = silent


def cut_to_goal(model: PreTrainedModel, settings: FitSettings, goal: Goal, material: Material) -> tuple[PreTrainedModel, list[tuple[Ladder, Any]]]:
    """The model within the goal whose outputs stay nearest to the teacher's, before any training.

    Returns:
        the smaller model, and the rung of every ladder.

    A goal that no cut reaches is approached: every module keeps its smallest rung that has units.
    """
    ladders = make_ladders(model, settings, material)
    loss = teacher_loss(settings, material)

    def attempt(allowed: Goal, tries: int) -> list[int]:
        return _within(model, ladders, allowed, loss, tries=tries, material=material)

    picks = attempt(goal, settings.tries)
    factors = [1.0] * len(goal.bounds)
    for _ in range(_CORRECTIONS):
        shapes = shapes_of(model, ladders, picks)
        off = [bound.cost(shapes) / bound.allowed for bound in goal.bounds]
        timed = [bound.measure is not None for bound in goal.bounds]
        if all(1 - 2 * _CLOSE <= share <= 1 + _CLOSE for share, measured in zip(off, timed, strict=True) if measured):
            break
        factors = [factor / share if measured else factor for factor, share, measured in zip(factors, off, timed, strict=True)]
        picks = attempt(goal.scaled(factors), max(1, settings.tries // 3))
    chosen = pick_rungs(ladders, picks)
    return assemble(model, chosen), chosen


def make_ladders(model: PreTrainedModel, settings: FitSettings, material: Material) -> list[Ladder]:
    """By the method that the settings name."""
    rows = material.rows.sample(settings.samples, seed=material.seed)
    common: dict[str, Any] = {"max_length": settings.max_length, "progress": material.progress}
    if settings.method == "obs":
        return surgeon_ladders(model, material.tokenizer, material.task, rows, multiple=settings.multiple, **common)
    importance = measure_importance(model, material.tokenizer, material.task, rows, seed=material.seed, **common)
    return fisher_ladders(model, importance, multiple=settings.multiple)


def teacher_loss(settings: FitSettings, material: Material) -> Loss:
    """How far a model's outputs are from the teacher's, on texts of their own."""
    rows = material.rows.sample(settings.judged, seed=material.seed + 1)

    def outputs(model: PreTrainedModel) -> torch.Tensor:
        return torch.from_numpy(predict(model, material.tokenizer, material.task, rows, max_length=settings.max_length))

    wanted = outputs(material.teacher)
    return lambda model: float(soft_loss(outputs(model), wanted, material.task, temperature=_TEMPERATURE))


def shapes_of(model: PreTrainedModel, ladders: Sequence[Ladder], picks: Sequence[int]) -> Shapes:
    """Heads and channels of each layer after a choice, without making the model."""
    units = {(ladder.layer, ladder.kind): len(rung.units) for ladder, rung in pick_rungs(ladders, picks)}
    return tuple(
        replace(shape, heads=units.get((layer, "attention"), shape.heads), ffn=units.get((layer, "ffn"), shape.ffn))
        for layer, shape in enumerate(layer_shapes(model))
    )


def _within(model: PreTrainedModel, ladders: Sequence[Ladder], goal: Goal, loss: Loss, *, tries: int, material: Material) -> list[int]:
    """The best choice within all bounds: for two, their weights are balanced until both hold."""

    def find(weights: Sequence[float], tries: int) -> list[int]:
        cost, allowance = goal.joined(weights)
        try:
            return search(model, ladders, cost, allowance, loss, tries=tries, seed=material.seed, progress=material.progress)
        except ValueError:  # even without units it costs more
            return [len(ladder.rungs) - 2 for ladder in ladders]

    return find(_balance(goal, lambda weights: shapes_of(model, ladders, find(weights, 1))), tries)


def _balance(goal: Goal, shapes_for: Callable[[Sequence[float]], Shapes]) -> Sequence[float]:
    """Weights of the bounds under which all hold: the first alone, if that is enough, else by bisection between it and the others."""
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
