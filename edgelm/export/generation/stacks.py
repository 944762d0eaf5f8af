"""What encoders and decoders of encoder-decoders are made of: values that know no family."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgelm.export.generation.builder import Norm
from edgelm.export.generation.products import Product


@dataclass(frozen=True)
class AttentionParts:
    """The projections of one attention.

    Attributes:
        name: of the module.
        scale: of the products of queries and keys, before the softmax.
        columns: which heads of the uncut model there are, where a table of all heads is added; empty: all.
    """

    name: str
    query: Product
    key: Product
    value: Product
    output: Product
    head_size: int
    scale: float
    columns: tuple[int, ...] = ()

    @property
    def heads(self) -> int:
        """How many there are: a layer that was cut has fewer than its model's configuration says."""
        return self.query.weight.shape[1] // self.head_size


@dataclass(frozen=True)
class FeedForwardParts:
    """A feed-forward network.

    Attributes:
        name: of the module.
        inputs: one projection, or gate and up.
        activation: by the name that transformers gives it.
    """

    name: str
    inputs: tuple[Product, ...]
    output: Product
    activation: str


@dataclass(frozen=True)
class RemovedParts:
    """What is left of a sublayer that was removed.

    Attributes:
        name: of the module that it was.
        constant: (hidden,) what it adds to every token; empty: nothing.
    """

    name: str
    constant: np.ndarray


@dataclass(frozen=True)
class LayerParts:
    """The sublayers of a layer.

    Attributes:
        attention: to the own sequence.
        cross: to the encoder's; None in encoders.
        feed_forward: the last sublayer.
        norms: one a sublayer, in their order; None where it went with the sublayer.
    """

    attention: AttentionParts | RemovedParts
    cross: AttentionParts | RemovedParts | None
    feed_forward: FeedForwardParts | RemovedParts
    norms: tuple[Norm | None, ...]


@dataclass(frozen=True)
class StackParts:
    """An encoder or a decoder.

    Attributes:
        table: name of the module of token embeddings, and its values (vocabulary, hidden).
        scale: what embeddings are multiplied by.
        places: name and values (positions, hidden) of a table that is added to them, by position from 0; None: none.
        embedding_norm: of their sum; None: none.
        pre_norm: a sublayer reads the norm of the sum of all before it; else the norm comes after it is added.
        last_norm: after all layers; None: none.
        distances: (heads, 2 * reach + 1) float32, added to the products of queries and keys: at reach + d for a key d
            places before the query, farther ones like the farthest; None: nothing is added.
    """

    table: tuple[str, np.ndarray]
    scale: float
    places: tuple[str, np.ndarray] | None
    embedding_norm: Norm | None
    layers: tuple[LayerParts, ...]
    pre_norm: bool
    last_norm: Norm | None
    distances: np.ndarray | None


@dataclass(frozen=True)
class EncoderDecoderParts:
    """A whole model.

    Attributes:
        encoder, decoder: its stacks.
        head: the projection to logits; where it has the name of the decoder's table, the two are one.
    """

    encoder: StackParts
    decoder: StackParts
    head: Product

    @property
    def tied(self) -> bool:
        """Whether the head is the decoder's table."""
        return self.head.name == self.decoder.table[0]
