"""The nouns LayerShape, KeptHidden and ModelSizes: how large a model is, as a whole and layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class LayerShape:
    """How wide one layer is, which of the original heads are left, and which of the original layers it is.

    Attributes:
        heads: of the attention to the own sequence; where several queries share a key, groups of them.
        ffn: channels of the feed-forward network.
        kept_heads: which of the original heads, or groups, are left.
        origin: number of the layer in the model that it all began with.
        cross: heads of a decoder's attention to the encoder's output; None: it has no such attention.
        stack: encoder or decoder.
        halves: whether it gives on half as many tokens as it reads: means of two neighbours, but for the first.
        leaves: how far the largest logit of the head behind it must be above the next, or further, for a text to leave
            there; None: there is no such head.
        left: of the texts that the threshold was chosen on, the share that left there.
    """

    heads: int
    ffn: int
    kept_heads: tuple[int, ...] | None = None
    origin: int | None = None
    cross: int | None = None
    stack: str = "encoder"
    halves: bool = False
    leaves: float | None = None
    left: float | None = None

    @property
    def marked(self) -> bool:
        """Whether anything but its sizes is unlike those of an uncut model."""
        return self.halves or self.leaves is not None

    @property
    def empty(self) -> bool:
        """Whether nothing is left of it."""
        return not any(self.units.values())

    @property
    def units(self) -> dict[str, int]:
        """By kind of sublayer, how many heads, groups or channels it has; 0 where there is none."""
        return {"attention": self.heads, "cross": self.cross or 0, "ffn": self.ffn}


@dataclass(frozen=True)
class KeptHidden:
    """How wide the hidden states of a model are now, and were in the model that it all began with."""

    kept: int
    original: int


Shapes = Sequence[LayerShape]


def token_shares(halves: Sequence[bool]) -> list[float]:
    """Of the tokens of a long text, the share that each layer reads, by which of them give on half."""
    shares, left = [], 1.0
    for each in halves:
        shares.append(left)
        left /= 1 + each
    return shares


def reached_shares(left: Sequence[float]) -> list[float]:
    """Of all texts, the share that gets to each layer, by the shares of them that leave behind it."""
    return [1 - sum(left[:number]) for number in range(len(left))]


def by_origin(shapes: Shapes) -> dict[int, LayerShape]:
    """Layers by their number in the model that it all began with."""
    return {index if shape.origin is None else shape.origin: shape for index, shape in enumerate(shapes)}


def shape_of(units: Mapping[str, int], stack: str) -> LayerShape:
    """The shape of a layer by the units of its sublayers (attention, cross, ffn), of which those that are not named
    have none left."""
    return LayerShape(units.get("attention", 0), units.get("ffn", 0), cross=units.get("cross"), stack=stack)


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
        types: token types that an export looks up; 0: there are none, or single texts have all the same one.
        outputs: width of the head; 0: there is none.
        every_token: whether the head reads every token, not the first one behind a pooler.
        gated: whether every channel has a gate: a third matrix of the feed-forward network.
        position_table: whether there is an embedding for each position.
    """

    layers: int
    hidden: int
    heads: int
    ffn: int
    vocabulary: int
    positions: int = 512
    types: int = 2
    outputs: int = 2
    gated: bool = False
    position_table: bool = True
    every_token: bool = False

    @property
    def ffn_matrices(self) -> int:
        """Matrices of one feed-forward network, all of them as large."""
        return 3 if self.gated else 2

    @property
    def head_size(self) -> int:
        """Width of one head."""
        return self.hidden // self.heads

    def full(self) -> tuple[LayerShape, ...]:
        """The shapes of all layers, uncut."""
        return (LayerShape(self.heads, self.ffn),) * self.layers
