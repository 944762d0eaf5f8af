"""Matrices in unsigned integers of few bits, in blocks of 32 with a scale each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgelm.quantize.rounding import gptq

BLOCK = 32
_SHRINK = np.arange(1.15, 0.65, -0.05)


@dataclass(frozen=True)
class BlockWeight:
    """A matrix in unsigned integers around 2**(bits - 1), with a scale for each block of 32 input channels of an
    output.

    Attributes:
        values: (in, out) uint8, below 2**bits.
        scale: (blocks, out) float16; negative where the block's extreme is positive.
        bits: 4 or 8.
    """

    values: np.ndarray
    scale: np.ndarray
    bits: int

    def floats(self) -> np.ndarray:
        """(in, out) float32: what the integers stand for."""
        block = np.arange(len(self.values)) // BLOCK
        return (self.values.astype(np.float32) - 2 ** (self.bits - 1)) * self.scale.astype(np.float32)[block]


def block_scale(weight: np.ndarray, bits: int) -> np.ndarray:
    """The scales, (out,) float16, of one block of weights (rows, out), that leave the smallest squared error.

    The candidates put the extreme weight, or somewhat more or less, on the lowest integer: there is one more below zero
    than above (as ggml's Q4_0 has it). No zero point is needed, and zero is exact.
    """
    extreme = np.take_along_axis(weight, np.abs(weight).argmax(axis=0, keepdims=True), axis=0)[0]
    best = np.ones(weight.shape[1], dtype=np.float16)
    least = np.full(weight.shape[1], np.inf)
    for factor in _SHRINK:
        scale = (extreme * factor / -(2 ** (bits - 1))).astype(np.float16)
        scale[scale == 0] = 1  # a block of zeros
        error = ((_round(weight, scale, bits)[1] - weight) ** 2).sum(axis=0)
        better = error < least
        best[better], least[better] = scale[better], error[better]
    return best


def _round(weight: np.ndarray, scale: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Integers, from zero up, and what they stand for."""
    half, step = 2 ** (bits - 1), scale.astype(np.float32)
    values = np.clip(np.rint(weight / step), -half, half - 1)
    return (values + half).astype(np.int32), values * step


def round_blocks(weight: np.ndarray, bits: int, matrix: np.ndarray | None = None) -> BlockWeight:
    """Quantize (in, out) by blocks: to the nearest, or with GPTQ where H (in, in) is given."""
    scale = np.zeros((-(-len(weight) // BLOCK), weight.shape[1]), dtype=np.float16)

    def round_row(work: np.ndarray, row: int) -> tuple[np.ndarray, np.ndarray]:
        if row % BLOCK == 0:  # the grid is set when its block begins: earlier errors have moved the weights
            scale[row // BLOCK] = block_scale(work[row : row + BLOCK], bits)
        return _round(work[row], scale[row // BLOCK], bits)

    values = (
        np.stack([round_row(weight, row)[0] for row in range(len(weight))])
        if matrix is None
        else gptq(weight, matrix, round_row)
    )
    return BlockWeight(values.astype(np.uint8), scale, bits)


def pack(weight: BlockWeight) -> np.ndarray:
    """(out, blocks, bytes of a block) uint8: two 4-bit values a byte, the first in the low half; the last block filled
    up with zeros."""
    count, columns = weight.scale.shape
    filled = np.zeros((count * BLOCK, columns), dtype=np.uint8)
    filled[: len(weight.values)] = weight.values
    blocks = filled.T.reshape(columns, count, BLOCK)
    return blocks if weight.bits == 8 else blocks[:, :, 0::2] | (blocks[:, :, 1::2] << 4)
