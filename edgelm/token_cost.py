"""The noun TokenCost: what a token of a model that writes takes, counted by what is left of its layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
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
        source: where the figures are from.
    """

    unit: str
    rest: float
    units: Mapping[str, Mapping[str, float]]
    vocabulary: int
    source: str = "counted"

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
        return replace(self, rest=self.rest * share, units=units)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    def _sublayers(self, shape: LayerShape) -> dict[str, float]:
        counts = {"attention": shape.heads, "cross": shape.cross or 0, "ffn": shape.ffn}
        return {kind: cost * counts[kind] for kind, cost in self.units[shape.stack].items()}
