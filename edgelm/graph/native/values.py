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
    """Rows of a table. `scale`: of its rows, where it is of INT8. A half one is bytes alone, or their scales alone."""

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
class MaskCount:
    """The number of tokens of each sequence that are no padding."""


@dataclass(frozen=True)
class Rows:
    """Floats in a buffer: one row for each token, or one for each sequence."""

    buffer: str
    width: int
    per_token: bool


@dataclass(frozen=True)
class Bytes:
    """Rows that were quantized."""

    buffer: str
    width: int
    per_token: bool
    quantizer: Quantizer


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
class Product:
    """A product with what follows it, not yet a step: more may follow.

    Attributes:
        head: the words of the step up to its bias.
        columns: of floats, by which a part of it can be taken; None for integers.
    """

    head: tuple[object, ...]
    width: int
    per_token: bool
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
    | Rows
    | Bytes
    | Scaled
    | Masked
    | Memory
    | Rotated
    | FirstQuery
    | Half
    | Product
)
