"""Weights that lie on a grid of blocks already, as quantization-aware training leaves them, or a file of another tool:
their integers and scales are found again as they were."""

from __future__ import annotations

import numpy as np

_PROBE = 64  # columns that tell whether the rest is worth looking at


def exact_grid(weight: np.ndarray, bits: int, block: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Symmetric integers and FP16 scales that stand exactly for a matrix.

    A block's largest weight is one of 2**(bits - 1) integers; each gives a scale to try. Products of an integer and an
    FP16 number are exact in FP32, so that no tolerance is needed, and weights that were never rounded fail at once.

    Args:
        weight: (in, out) float32.
        block: input channels that share a scale.

    Returns:
        (in, out) uint8 integers, where 2**(bits - 1) stands for 0, and (blocks, out) float16 scales; None: a block is
        on no such grid.
    """
    count, columns = -(-len(weight) // block), weight.shape[1]
    if columns > _PROBE and exact_grid(weight[:, :_PROBE], bits, block) is None:
        return None
    half = 2 ** (bits - 1)
    filled = np.zeros((count * block, columns), dtype=np.float32)
    filled[: len(weight)] = weight
    blocks = (
        filled.reshape(count, block, columns).transpose(0, 2, 1).reshape(-1, block)
    )  # (blocks of all outputs, block)
    extreme = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1)[:, None], axis=1)[:, 0]
    scale, values = np.ones(len(blocks), dtype=np.float16), np.zeros(blocks.shape, dtype=np.float32)
    left = np.flatnonzero(extreme)
    for largest in range(half, 0, -1):
        if not len(left):
            break
        with np.errstate(over="ignore"):
            tried = (extreme[left] / np.float32(-largest)).astype(np.float16)
        usable = np.isfinite(tried) & (tried != 0)
        step = np.where(usable, tried, 1).astype(np.float32)[:, None]
        found = np.rint(blocks[left] / step)
        fits = usable & (found * step == blocks[left]).all(axis=1) & (found < half).all(axis=1)
        scale[left[fits]], values[left[fits]] = tried[fits], found[fits]
        left = left[~fits]
    if len(left):
        return None
    integers = (values + half).astype(np.uint8).reshape(count, columns, block).transpose(0, 2, 1)
    return integers.reshape(-1, columns)[: len(weight)], scale.reshape(count, columns)
