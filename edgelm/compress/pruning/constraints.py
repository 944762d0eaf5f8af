"""What a cut aims at: bounds on costs that add up over modules, and how to make sure of the one that is time."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from edgelm import distributed as processes
from edgelm.anatomy import TaskModel, layer_shapes
from edgelm.anatomy.sizes import sizes_of
from edgelm.compress.pruning.token_weights import count_weights
from edgelm.data.dataset import Dataset
from edgelm.data.encoding import median_length
from edgelm.errors import RecipeError
from edgelm.latency_table import count_operations
from edgelm.shapes import LayerShape, Shapes
from edgelm.token_cost import TokenCost

Measure = Callable[[Shapes], float]


@runtime_checkable
class MeasureOfWriters(Protocol):
    """A `Measure` of models whose cost depends on more than the shapes of layers."""

    def with_vocabulary(self, tokens: int) -> Measure:
        """For models of so many tokens."""

    def narrowed(self, share: float) -> Measure:
        """For models whose hidden states are `share` as wide."""


class CostTable(Protocol):
    """Costs that add up over layers."""

    @property
    def unit(self) -> str:
        """Of all costs."""

    @property
    def rest(self) -> float:
        """What a model costs without any layer."""

    def shape_cost(self, shape: LayerShape) -> float:
        """What a layer of this shape adds."""

    def predict(self, shapes: Shapes) -> float:
        """The cost of a whole model of these shapes."""

    def layer_costs(self, shapes: Shapes) -> dict[str, list[float]]:
        """What parts of each layer add, by their names."""

    def with_vocabulary(self, tokens: int, per_token: float) -> CostTable:
        """For a model of so many tokens, each of which costs `per_token`."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""


@dataclass(frozen=True)
class Constraint:
    """A cost and how much of it is allowed, in the table's unit.

    Attributes:
        measure: the true cost of a whole model, where it can be had.
        per_token: what one token of the vocabulary costs; a stage before may have dropped some.
    """

    name: str
    table: CostTable
    allowed: float
    measure: Measure | None = None
    per_token: float = 0.0

    def with_vocabulary(self, tokens: int) -> Constraint:
        """The bound for a model of so many tokens."""
        measure = self.measure
        if isinstance(measure, MeasureOfWriters):
            measure = measure.with_vocabulary(tokens)
        return replace(self, table=self.table.with_vocabulary(tokens, self.per_token), measure=measure)

    def narrowed(self, share: float) -> Constraint:
        """The bound for a model that writes whose hidden states are `share` as wide."""
        if share == 1 or not isinstance(self.table, TokenCost):
            return self
        measure = self.measure
        if isinstance(measure, MeasureOfWriters):
            measure = measure.narrowed(share)
        return replace(self, table=self.table.narrowed(share), measure=measure, per_token=self.per_token * share)

    def cost(self, shapes: Shapes) -> float:
        """The cost of a model: measured where that is possible, on the main process for all."""
        measure = self.measure
        return self.table.predict(shapes) if measure is None else processes.on_main(lambda: measure(shapes))


@dataclass(frozen=True)
class Constraints:
    """All bounds that hold at once; none: a recipe must say how far to go."""

    bounds: tuple[Constraint, ...] = ()

    def fingerprint(self) -> str:
        """Equal for goals that cut alike."""
        return json.dumps([[bound.name, bound.allowed, bound.table.to_dict()] for bound in self.bounds], sort_keys=True)

    def partway(self, share: float, start: Shapes, tokens: int) -> Constraints:
        """The goal of a step: from what a model of these shapes costs now, `share` of the way to each bound, on a
        logarithmic scale."""
        moved = []
        for bound in (bound.with_vocabulary(tokens) for bound in self.bounds):
            now = max(bound.table.predict(start), bound.allowed)
            moved.append(replace(bound, allowed=now * (bound.allowed / now) ** share))
        return Constraints(tuple(moved))

    def narrowed(self, share: float) -> Constraints:
        """For a model that writes whose hidden states are `share` as wide, within the same allowances."""
        return Constraints(tuple(bound.narrowed(share) for bound in self.bounds))

    def costs(self, shapes: Shapes) -> dict[str, Any]:
        """What each layer's attention and FFN cost by the first bound's table; empty without one."""
        if not self.bounds:
            return {}
        table = self.bounds[0].table
        return {"unit": table.unit} | table.layer_costs(shapes)

    def scaled(self, factors: Sequence[float]) -> Constraints:
        """With every allowance multiplied."""
        return Constraints(
            tuple(
                replace(bound, allowed=bound.allowed * factor)
                for bound, factor in zip(self.bounds, factors, strict=True)
            )
        )

    def joined(self, weights: Sequence[float]) -> tuple[Callable[[LayerShape], float], float]:
        """One cost of a layer, by what is left of it, and what is allowed of it: bounds in units of what they allow,
        weighed."""

        def cost(shape: LayerShape) -> float:
            return sum(
                weight * bound.table.shape_cost(shape) / bound.allowed
                for bound, weight in zip(self.bounds, weights, strict=True)
            )

        rest = sum(
            weight * bound.table.rest / bound.allowed for bound, weight in zip(self.bounds, weights, strict=True)
        )
        return cost, sum(weights) - rest


def operations_goal(
    teacher: TaskModel, rows: Dataset, speedup: float | None, *, keep: float | None = None
) -> Constraints:
    """Where no device was measured.

    An encoder: `speedup` times fewer multiply-accumulates than the teacher's, at the rows' median length. A model that
    writes: `speedup` times fewer weights for a token, or the share `keep` of those in its layers.

    Raises:
        RecipeError: the recipe names neither.
    """
    if speedup is None and keep is None:
        raise RecipeError(
            "the recipe cuts to a budget, and none was given.",
            hint="Give --max-latency, --speedup, --max-size or --max-memory, or --set fit.speedup=2 (in operations).",
        )
    if teacher.task.generates:
        counted = count_weights(teacher.model)
        whole = counted.predict(layer_shapes(teacher.model))
        allowed = [] if speedup is None else [whole / speedup]
        allowed += [] if keep is None else [counted.rest + keep * (whole - counted.rest)]
        return Constraints((Constraint("weights", counted, min(allowed)),))
    if speedup is None:
        raise RecipeError(
            "fit.keep is a share of the weights in layers, which is meant for models that write.",
            hint="Give fit.speedup for an encoder.",
        )
    length = median_length(teacher.tokenizer, teacher.task, rows, max_length=teacher.max_length)
    table = count_operations(sizes_of(teacher.model.config), length)
    return Constraints((Constraint("operations", table, table.predict(table.sizes.full()) / speedup),))
