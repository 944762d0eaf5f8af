"""The nouns LayerShape and ModelSizes: how large a model is, as a whole and layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class LayerShape:
    """How wide one encoder layer is, which of the original heads are left, and which of the original layers it is."""

    heads: int
    ffn: int
    kept_heads: tuple[int, ...] | None = None
    origin: int | None = None


Shapes = Sequence[LayerShape]


@dataclass(frozen=True)
class ModelSizes:
    """The sizes of a model that decide what it costs.

    Attributes:
        layers: number of layers.
        hidden: width of the hidden states.
        heads: attention heads of one layer.
        ffn: channels of one layer's feed-forward network.
        vocabulary: tokens in the embedding table.
        positions: longest text in tokens.
        types: token types; 0: the model has no embedding of them.
        outputs: width of the head; 0: there is none.
    """

    layers: int
    hidden: int
    heads: int
    ffn: int
    vocabulary: int
    positions: int = 512
    types: int = 2
    outputs: int = 2

    @property
    def head_size(self) -> int:
        """Width of one head."""
        return self.hidden // self.heads

    def full(self) -> tuple[LayerShape, ...]:
        """The shapes of all layers, uncut."""
        return (LayerShape(self.heads, self.ffn),) * self.layers
