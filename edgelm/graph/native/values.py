"""What the tensors of an encoder's graph stand for, as far as a program has words for it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgelm.graph.native.writer import Quantizer


@dataclass(frozen=True)
class Input:
    """An input of the graph, cast to another type or not: input_ids, attention_mask or token_type_ids."""

    name: str


@dataclass(frozen=True)
class Length:
    """The number of tokens, as a tensor of one number."""


@dataclass(frozen=True)
class Unneeded:
    """Sizes that a program has no use for."""


@dataclass(frozen=True)
class NotPadding:
    """1 where a token has another id than this, and 0 where it has not; `counted`: summed up over the tokens; `masked`:
    and 0 again where the token has that id."""

    padding: int
    inverted: bool = False
    counted: bool = False
    masked: bool = False


@dataclass(frozen=True)
class Index:
    """A row of a table for each token, by a source that native/src/program.h names."""

    source: str
    offset: int = 0
    skipped: int = -1


@dataclass(frozen=True)
class Lookup:
    """Rows of a table. `scale`: of its rows, where it is of INT8, or of their blocks, where it is of 4 bits. A half one
    is bytes alone, or their scales alone."""

    table: str | None
    scale: str | None
    index: Index


@dataclass(frozen=True)
class Lookups:
    """The sum of rows of tables, in this order."""

    parts: tuple[Lookup, ...]


@dataclass(frozen=True)
class MaskColumn:
    """The mask as floats, of shape (sequences, tokens, 1) once `wide`."""

    wide: bool = False


@dataclass(frozen=True)
class MaskPlane:
    """The mask as floats, of shape (sequences, 1, tokens, 1).

    Attributes:
        per_token: of which tokens, as of rows.
        shares: of the one or two tokens that each stands for, how many are no padding; else 1 where any is.
    """

    per_token: int
    shares: bool = False


@dataclass(frozen=True)
class LeftTokens:
    """The mask of the tokens that halving left; `per_token`: of which, as of rows."""

    per_token: int


@dataclass(frozen=True)
class MaskCount:
    """The number of tokens of each sequence that are no padding."""


@dataclass(frozen=True)
class Rows:
    """Floats in a buffer.

    `per_token`: 0 where there is one row for each sequence; 1: for each token; 2 and more: for each of those that so
    many halvings, and one less, left.
    """

    buffer: str
    width: int
    per_token: int


@dataclass(frozen=True)
class Bytes:
    """Rows that were quantized."""

    buffer: str
    width: int
    per_token: int
    quantizer: Quantizer


@dataclass(frozen=True)
class Planes:
    """Rows of shape (sequences, 1, tokens, width), on their way to half as many.

    Attributes:
        rows: as they lie in their buffer, whole.
        masked, halved, divided: what the graph did to them so far: padding is 0; of two the mean; by shares.
    """

    rows: Rows
    masked: bool = False
    halved: bool = False
    divided: bool = False


@dataclass(frozen=True)
class Scaled:
    """Rows times a factor for each of their channels, a constant of the graph by its name."""

    rows: Rows
    factors: str


@dataclass(frozen=True)
class Masked:
    """Rows, those of padding at 0; `summed`: over the tokens."""

    rows: Rows
    summed: bool = False


@dataclass(frozen=True)
class Largest:
    """The two largest of the logits that rows are; `place`: which of them, alone; `apart`: how far they are apart;
    `told`: whether that is above a threshold."""

    rows: Rows
    place: int | None = None
    apart: bool = False
    told: bool = False


@dataclass(frozen=True)
class Product:
    """A product with what follows it, not yet a step: more may follow.

    Attributes:
        head: the words of the step up to its bias.
        columns: of floats, by which a part of it can be taken; None for integers.
    """

    head: tuple[object, ...]
    width: int
    per_token: int
    bias: str | np.ndarray | None = None
    activation: str = "none"
    added: Rows | None = None
    columns: FloatColumns | None = None


@dataclass(frozen=True)
class Memory:
    """A part of what attention reads, by one product of all `parts`: the queries, the keys and the values; or the keys
    and the values."""

    product: Product
    part: int
    parts: int


@dataclass(frozen=True)
class Rotated:
    """Queries or keys whose pairs of numbers are turned by an angle for each token.

    Attributes:
        angles: the places, cosines and sines, by their names in the graph.
        first: of the first token alone.
    """

    memory: Memory
    angles: tuple[str, ...]
    first: bool = False


@dataclass(frozen=True)
class FirstQuery:
    """The queries of the first token alone, out of a product with all keys and values."""

    memory: Memory


@dataclass(frozen=True)
class Half:
    """The first or the second half of rows, before or after an activation."""

    rows: Rows
    second: bool
    activation: str = "none"


@dataclass(frozen=True)
class FloatColumns:
    """The rows and the weights of a product of floats; `name`: of the constant that the weights are, as they are."""

    rows: Rows
    weights: np.ndarray = field(repr=False)
    name: str | None = None


Value = (
    Input
    | Length
    | Unneeded
    | NotPadding
    | Index
    | Lookup
    | Lookups
    | MaskColumn
    | MaskCount
    | MaskPlane
    | LeftTokens
    | Planes
    | Rows
    | Bytes
    | Scaled
    | Masked
    | Largest
    | Memory
    | Rotated
    | FirstQuery
    | Half
    | Product
)
