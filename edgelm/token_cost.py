"""The noun TokenCost: what a model that writes takes (time, weights, bytes), by what is left of its layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from edgelm.shapes import LayerShape, Shapes


@dataclass(frozen=True)
class TokenCost:
    """Costs of sublayers that grow with their units.

    Attributes:
        unit: of all costs.
        rest: what the model takes without any layer: its head.
        units: by stack and kind of sublayer, what one head, group of heads or channel takes.
        vocabulary: tokens that the head names.
        source: where the figures are from: counted, estimated or measured.
        fixed: by stack and kind, what a sublayer takes as soon as it has a unit: its norm, its calls.
        beside: what of `rest` does not depend on the model's width.
        band: of an estimate: from so many times it to so many times it a measurement is expected; None: not known.
    """

    unit: str
    rest: float
    units: Mapping[str, Mapping[str, float]]
    vocabulary: int
    source: str = "counted"
    fixed: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    beside: float = 0.0
    band: tuple[float, float] | None = None

    def shape_cost(self, shape: LayerShape) -> float:
        """What a layer of this shape adds."""
        return sum(self._sublayers(shape).values())

    def predict(self, shapes: Shapes) -> float:
        """The cost of a whole model of these shapes."""
        return self.rest + sum(self.shape_cost(shape) for shape in shapes)

    def layer_costs(self, shapes: Shapes) -> dict[str, list[float]]:
        """What each sublayer of each layer adds, by kind; 0 where a layer has none of the kind."""
        kinds = sorted({kind for known in self.units.values() for kind in known})
        return {kind: [self._sublayers(shape).get(kind, 0.0) for shape in shapes] for kind in kinds}

    def with_vocabulary(self, tokens: int, per_token: float) -> TokenCost:
        """For a model of so many tokens, each of which takes `per_token`."""
        return replace(self, rest=self.rest - per_token * (self.vocabulary - tokens), vocabulary=tokens)

    def narrowed(self, share: float) -> TokenCost:
        """For a model whose hidden states are `share` as wide: every matrix reads or writes them."""
        units = {stack: {kind: cost * share for kind, cost in known.items()} for stack, known in self.units.items()}
        return replace(self, rest=self.beside + (self.rest - self.beside) * share, units=units)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TokenCost:
        """The inverse of `to_dict`."""
        band = values.get("band")
        return cls(**values | {"band": None if band is None else (float(band[0]), float(band[1]))})

    def _sublayers(self, shape: LayerShape) -> dict[str, float]:
        counts = shape.units
        fixed = self.fixed.get(shape.stack, {})
        return {
            kind: cost * counts[kind] + fixed.get(kind, 0.0) if counts[kind] else 0.0
            for kind, cost in self.units[shape.stack].items()
        }
