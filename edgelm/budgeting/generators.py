"""Budgets of models that write: so far so many times fewer weights for a token, which decide its speed where memory
does."""

from __future__ import annotations

from typing import Any

from edgelm.anatomy import layer_shapes, load_checkpoint
from edgelm.anatomy.hidden import hidden_size
from edgelm.budget import Budget
from edgelm.budgeting.targets import Outcome, Verdict
from edgelm.checkpoint import Checkpoint, open_checkpoint
from edgelm.compress.pipeline import CompressResult
from edgelm.compress.pruning.constraints import Constraint, Constraints
from edgelm.compress.pruning.token_weights import count_weights
from edgelm.errors import UsageError
from edgelm.shapes import LayerShape, Shapes
from edgelm.token_cost import TokenCost

GENERATOR_RECIPE = "generator-one-shot"  # where none is named
_CLOSE = 1.02  # of what is allowed


class WeightTargets:
    """What a budget asks of a model that writes, and the judgement of what came of it."""

    def __init__(self, budget: Budget, checkpoint: Checkpoint, *, allow_pickle: bool = False) -> None:
        """Count the weights of a model.

        Raises:
            UsageError: a bound that is not counted in weights.
            ModelError: as `load_checkpoint`.
        """
        bounds = (budget.max_latency_ms, budget.max_size_mb, budget.max_memory_mb, budget.max_drop)
        if any(bound is not None for bound in bounds):
            raise UsageError(
                "models that write keep to --speedup alone so far: so many times fewer weights for a token.",
                hint="Give --speedup, or the share of the weights in layers that stays: --set fit.keep=0.5.",
            )
        model = load_checkpoint(checkpoint, allow_pickle=allow_pickle)
        self._shapes: Shapes = layer_shapes(model)
        self._cost: TokenCost = count_weights(model)
        self._hidden = hidden_size(model)
        self._speedup = budget.speedup

    @property
    def goal(self) -> Constraints | None:
        """What the recipe's `fit` stages aim at; None: what they name themselves."""
        if self._speedup is None:
            return None
        allowed = self._cost.predict(self._shapes) / self._speedup
        return Constraints((Constraint("weights", self._cost, allowed),))

    def outcome(self, result: CompressResult) -> Outcome:
        """The result with its verdict, and what each sublayer costs."""
        shapes = open_checkpoint(result.path).record.layers or self._shapes
        left = result.record.hidden
        cost = self._cost if left is None else self._cost.narrowed(left.kept / self._hidden)
        verdicts = []
        for bound in () if self.goal is None else self.goal.bounds:
            got = cost.predict(shapes)
            met = got <= _CLOSE * bound.allowed
            advice = "" if met else "Lower fit.multiple, or ask for less."
            verdicts.append(Verdict(bound.name, self._cost.unit, bound.allowed, got, self._cost.source, met, advice))
        return Outcome(result, tuple(verdicts), tuple(self._rows(shapes, cost)), cost.unit)

    def _rows(self, shapes: Shapes, cost: TokenCost) -> list[dict[str, Any]]:
        """For each layer of the original what is left, of how much, and what that costs."""
        left = {index if shape.origin is None else shape.origin: shape for index, shape in enumerate(shapes)}
        rows = []
        for number, before in enumerate(self._shapes):
            shape = left.get(number, LayerShape(0, 0, cross=None if before.cross is None else 0, stack=before.stack))
            costs = {kind: values[0] for kind, values in cost.layer_costs([shape]).items()}
            row = {"layer": number, "stack": before.stack, "norms_cost": 0.0}
            for kind, name in (("attention", "heads"), ("cross", "cross"), ("ffn", "ffn")):
                if getattr(before, name) is not None:
                    row |= {name: getattr(shape, name), f"{name}_before": getattr(before, name)}
                    row[f"{kind}_cost"] = costs[kind]
            rows.append(row)
        return rows
