"""Moves the goal of a cost table until what it chooses costs, measured, what is allowed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from edgelm.compress.pruning.constraints import Constraints
from edgelm.shapes import Shapes

_CLOSE = 0.02  # of an allowance: nearer is not worth another search
_CORRECTIONS = 5
_FURTHEST = 1.5  # from one factor to the next, either way
_FLATTEST, _STEEPEST = 0.25, 2.0  # how a share may follow a factor, on logarithmic scales
_INSIDE = 0.2  # how near to an end of a bracket the next factor may be, as a share of it on a logarithmic scale

Maker = Callable[[Constraints, int], list[int] | None]
Measured = Sequence[tuple[float, float]]  # factors of an allowance, and shares of it that the choices then took


def settle(
    goal: Constraints,
    make: Maker,
    shapes_of: Callable[[list[int]], Shapes],
    tries: int,
    *,
    enough: Callable[[], bool] = lambda: False,
) -> list[int] | None:
    """A choice whose cost, where it can be measured, is what is allowed, or nearly is. Of what was measured the dearest
    that holds is taken; where none does, the one that misses least. None: nothing can be made.

    Args:
        make: a choice by the tables of a goal, of so many tries.
        shapes_of: what a choice leaves of the layers.
        enough: whether there is no time to measure a further choice: the best so far is taken then, the first by the
            tables alone.
    """
    picks = make(goal, tries)
    factors = [1.0] * len(goal.bounds)
    timed = [number for number, bound in enumerate(goal.bounds) if bound.measure is not None]
    points: dict[int, list[tuple[float, float]]] = {number: [] for number in timed}
    measured: list[tuple[float, list[int]]] = []  # the largest share of an allowance
    while picks is not None and (measured or not (timed and enough())):
        shapes = shapes_of(picks)
        for number in timed:
            bound = goal.bounds[number]
            points[number].append((factors[number], bound.cost(shapes) / bound.allowed))
        shares = [points[number][-1][1] for number in timed]
        if all(1 - 2 * _CLOSE <= share <= 1 + _CLOSE for share in shares):
            return picks
        measured.append((max(shares), picks))
        if len(measured) > _CORRECTIONS or enough():
            break
        for number in timed:
            factors[number] = next_factor(points[number])
        picks = make(goal.scaled(factors), max(1, tries // 3))
    held = [entry for entry in measured if entry[0] <= 1 + _CLOSE]
    best = max(held, default=None) or min(measured, default=None)
    return picks if best is None else best[1]


def next_factor(points: Measured) -> float:
    """By what to multiply an allowance next, after these factors gave these shares of it: where a line through the
    logarithms of two points has the whole allowance. The two are the nearest that held and the nearest that did not, or
    the last; a single one is taken for proportional. No step is further than 1.5 times: other work on the machine can
    put a measurement further off than a table is."""
    below = max((point for point in points if point[1] <= 1), default=None)
    above = min((point for point in points if point[1] > 1), default=None)
    if below is not None and above is not None and below[0] < above[0]:
        part = math.log(1 / below[1]) / math.log(above[1] / below[1])
        part = min(max(part, _INSIDE), 1 - _INSIDE)
        return below[0] * (above[0] / below[0]) ** part
    factor, share = points[-1]
    slope = 1.0
    if len(points) > 1 and points[-2][0] != factor:
        slope = math.log(share / points[-2][1]) / math.log(factor / points[-2][0])
    step = share ** (-1 / min(max(slope, _FLATTEST), _STEEPEST))
    return factor * min(max(step, 1 / _FURTHEST), _FURTHEST)
