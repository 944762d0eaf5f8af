"""From the parameters of an Optuna trial to a recipe with overrides."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from edgelm.recipe import Recipe
from edgelm.search.space import Axis, SearchSpace, as_override, value_in

RECIPE = "recipe"  # the parameter that chooses among the recipes
_DIGITS = 4  # significant digits of a number that is drawn: more cannot be told apart, and people read and type them


class Suggests(Protocol):
    """The part of `optuna.trial.Trial` that is used here."""

    def suggest_categorical(self, name: str, choices: list[str]) -> Any: ...
    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int: ...
    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float: ...


def draw(trial: Suggests, space: SearchSpace, recipes: Mapping[str, Recipe]) -> tuple[str, tuple[str, ...]]:
    """Choose a recipe of the space and a value for each of its settings that vary.

    Returns:
        the recipe's name, and overrides as `edgelm.recipe.override` takes them.
    """
    name = trial.suggest_categorical(RECIPE, list(space.recipes))
    values = {path: _suggest(trial, path, axis) for path, axis in space.axes_of(recipes[name]).items()}
    return name, tuple(as_override(path, value) for path, value in values.items())


def starting_points(space: SearchSpace, recipes: Mapping[str, Recipe]) -> list[dict[str, Any]]:
    """Parameters of the recipes as they are, each setting at its own value or the nearest that the space allows."""
    points = []
    for name in space.recipes:
        point: dict[str, Any] = {RECIPE: name}
        for path, axis in space.axes_of(recipes[name]).items():
            value = axis.nearest(value_in(recipes[name], path))
            if value is not None:
                point[path] = value if axis.choices is None else json.dumps(value)
        points.append(point)
    return points


def every_point(
    space: SearchSpace, recipes: Mapping[str, Recipe]
) -> Iterator[tuple[dict[str, Any], str, tuple[str, ...]]]:
    """Every point of a space, with the recipe and the overrides that it stands for; of recipes with settings that have
    no end of values, none."""
    for name in space.recipes:
        axes = space.axes_of(recipes[name])
        grids = [grid for axis in axes.values() if (grid := axis.grid()) is not None]
        if len(grids) < len(axes):
            continue
        for values in itertools.product(*grids):
            point = {path: _rounded(value, axis) for (path, axis), value in zip(axes.items(), values, strict=True)}
            parameters = {
                path: value if axes[path].choices is None else json.dumps(value) for path, value in point.items()
            }
            yield {RECIPE: name} | parameters, name, tuple(as_override(path, value) for path, value in point.items())


def _suggest(trial: Suggests, path: str, axis: Axis) -> Any:
    if axis.choices is not None:  # as texts: Optuna takes no lists, and `distill.layers` may be one
        return json.loads(trial.suggest_categorical(path, [json.dumps(choice) for choice in axis.choices]))
    low, high = axis.extremes()
    if axis.whole:
        return trial.suggest_int(path, low, high, step=int(axis.step or 1), log=axis.log)
    return _rounded(trial.suggest_float(path, low, high, step=axis.step, log=axis.log), axis)


def _rounded(value: Any, axis: Axis) -> Any:
    if axis.choices is not None or axis.whole or axis.low is None or axis.high is None:
        return value
    return min(max(float(f"{value:.{_DIGITS}g}"), axis.low), axis.high)
