"""Keys and values of the tokens that were read, in buffers that a graph reads and writes in place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgelm.errors import BundleError
from edgelm.runtime.graph_spec import TensorSpec

_FIRST_CAPACITY = 2048  # positions; then twice as many each time. The system gives memory where one is written to.


class Cache:
    """One buffer for each key and value of a layer, (rows, heads, capacity, head size).

    A graph is bound to them by `buffers`: what it reads as past it gives as present, in the same place. They are made
    anew where there are other rows or more positions than they hold, and must be bound again then: `version` has risen.

    Args:
        pairs: past and present of each, as `GraphSpec.cache` gives them.
        context: positions that are never exceeded; 0: no limit.
    """

    def __init__(self, pairs: Sequence[tuple[TensorSpec, TensorSpec]], *, context: int = 0) -> None:
        self.pairs, self.context = tuple(pairs), context
        self._shapes = head_sizes(self.pairs)
        self.rows = self.capacity = self.version = 0
        self.buffers: list[np.ndarray] = []

    @property
    def nbytes(self) -> int:
        """What the buffers hold, in bytes."""
        return sum(buffer.nbytes for buffer in self.buffers)

    def start(self, rows: int, positions: int) -> None:
        """Have room for so many positions in so many rows; what was there may be lost."""
        if rows != self.rows or positions > self.capacity:
            self._make(rows, self._rounded(positions))

    def reserve(self, positions: int, *, filled: int) -> None:
        """Have room for so many positions; the first `filled` ones stay. Buffers are replaced one after another: those
        that nobody else holds are freed on the way."""
        if positions > self.capacity:
            self.capacity = self._rounded(positions)
            for place, (pair, shape) in enumerate(zip(self.pairs, self._shapes, strict=True)):
                buffer = self._empty(pair, shape)
                buffer[:, :, :filled] = self.buffers[place][:, :, :filled]
                self.buffers[place] = buffer
            self.version += 1

    def reorder(self, rows: np.ndarray, *, shared: int, filled: int) -> None:
        """Have row i hold what row `rows[i]` held.

        Args:
            shared: first positions that are alike in every row and the one that it takes from; they are not copied.
            filled: positions that are filled.
        """
        if len(rows) != self.rows:
            before = self.buffers
            self._make(len(rows), self.capacity)
            for old, new in zip(before, self.buffers, strict=True):
                new[:, :, :filled] = old[rows, :, :filled]
            return
        moved = np.flatnonzero(rows != np.arange(len(rows)))
        if len(moved):
            sources = rows[moved]
            for buffer in self.buffers:
                buffer[moved, :, shared:filled] = buffer[sources, :, shared:filled]

    def _rounded(self, positions: int) -> int:
        capacity = _FIRST_CAPACITY
        while capacity < positions:
            capacity *= 2
        return min(capacity, self.context) if self.context else capacity

    def _make(self, rows: int, capacity: int) -> None:
        self.rows, self.capacity = rows, capacity
        self.buffers = [self._empty(pair, shape) for pair, shape in zip(self.pairs, self._shapes, strict=True)]
        self.version += 1

    def _empty(self, pair: tuple[TensorSpec, TensorSpec], shape: tuple[int, int]) -> np.ndarray:
        heads, size = shape
        return np.zeros((self.rows, heads, self.capacity, size), dtype=np.dtype(pair[0].dtype))


def head_sizes(pairs: Sequence[tuple[TensorSpec, TensorSpec]]) -> list[tuple[int, int]]:
    """Heads and channels of one, of each pair of past and present.

    Raises:
        BundleError: the manifest does not say them.
    """
    return [(_size(past, 1), _size(past, 3)) for past, _ in pairs]


def _size(spec: TensorSpec, axis: int) -> int:
    size = spec.shape[axis] if len(spec.shape) == 4 else None
    if not isinstance(size, int) or spec.dtype not in ("float32", "float16", "int8"):
        raise BundleError(
            f"manifest.json: {spec.name}: keys and values are float32, float16 or int8 of shape (rows, heads, "
            f"positions, head size), with heads and head size as numbers; found {spec.dtype} {spec.shape}.",
            hint="Export the bundle again.",
        )
    return size
