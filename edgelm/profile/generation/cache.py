"""What keys and values take, by what a manifest says of a decoder's graph."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgelm.runtime.graph_spec import GraphSpec


def cache_bytes(decoder: GraphSpec, length: int) -> int:
    """Of so many tokens; of an encoder-decoder also of a source of as many."""
    held = [past for past, _ in decoder.cache()]
    held += [spec for spec in decoder.inputs if spec.role in ("cross-key", "cross-value")]
    return sum(_row_bytes(spec.dtype, spec.shape) for spec in held) * length


def _row_bytes(dtype: str, shape: Sequence[int | str]) -> int:
    """Of one token of keys or values, (rows, heads, tokens, head size)."""
    return math.prod(size for size in (shape[1], shape[3]) if isinstance(size, int)) * np.dtype(dtype).itemsize
