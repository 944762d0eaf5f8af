"""Matrices in unsigned integers of few bits, in blocks of input channels with a scale each, and a zero point if
asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgelm.quantize.block_scales import Grid, fit_grid
from edgelm.quantize.exact_grid import exact_grid
from edgelm.quantize.rounding import gptq

BLOCK = 32
_COLUMNS = 16_384  # that are rounded at a time: what that needs is many times their size


@dataclass(frozen=True)
class BlockWeight:
    """A matrix in unsigned integers, with a scale for each block of input channels of an output.

    Attributes:
        values: (in, out) uint8, below 2**bits.
        scale: (blocks, out) float16; negative where a symmetric block's extreme is positive.
        bits: 4 or 8.
        block: input channels that share a scale; the last block may hold fewer.
        zero: (blocks, out) uint8, the integer that stands for 0; None: 2**(bits - 1) everywhere.
    """

    values: np.ndarray
    scale: np.ndarray
    bits: int
    block: int = BLOCK
    zero: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        """Bytes in a file: packed integers, FP16 scales and packed zero points."""
        zeros = 0 if self.zero is None else -(-len(self.scale) * self.bits // 8) * self.scale.shape[1]
        return self.scale.size * (self.block * self.bits // 8 + 2) + zeros

    def floats(self) -> np.ndarray:
        """(in, out) float32: what the integers stand for."""
        found = self.values.astype(np.float32)
        for index, scale in enumerate(self.scale.astype(np.float32)):  # in place: tables of tokens are large
            part = found[index * self.block : (index + 1) * self.block]
            part -= 2 ** (self.bits - 1) if self.zero is None else self.zero[index]
            part *= scale
        return found


def round_blocks(
    weight: np.ndarray,
    bits: int,
    matrix: np.ndarray | None = None,
    *,
    block: int = BLOCK,
    zeros: bool = False,
    importance: np.ndarray | None = None,
    act_order: bool = False,
    positive: bool = False,
) -> BlockWeight:
    """Quantize a matrix by blocks: each weight to the nearest integer, or with GPTQ where H is given. A matrix that
    lies on such a grid already keeps it, exactly.

    Args:
        weight: (in, out).
        bits: 4 or 8.
        matrix: H, the inputs' (in, in) second moments, positive definite: round with GPTQ.
        block: input channels that share a scale.
        zeros: a zero point for each block, so that its integers cover its range, whatever its middle is.
        importance: (in,) what a channel's squared error weighs when scales are chosen, such as its second moment;
            None: all the same.
        act_order: let GPTQ begin with the channels of the largest second moments. Scales are then chosen before, all at
            once, as blocks stay where they are.
        positive: no scale is negative, as TensorRT wants it.
    """
    if matrix is None and weight.shape[1] > _COLUMNS:
        how: dict[str, Any] = {"block": block, "zeros": zeros, "importance": importance, "positive": positive}
        return _side_by_side(
            weight.shape, lambda columns: round_blocks(weight[:, columns], bits, **how), bits=bits, block=block
        )
    kept = None if zeros else exact_grid(weight, bits, block)
    if kept is not None:
        return BlockWeight(*kept, bits, block)
    count, columns = -(-len(weight) // block), weight.shape[1]
    heavy = np.ones(len(weight), dtype=np.float32) if importance is None else importance
    scale = np.ones((count, columns), dtype=np.float16)
    zero = np.full((count, columns), 2 ** (bits - 1), dtype=np.uint8)

    def fit(work: np.ndarray, index: int) -> None:
        rows = slice(index * block, (index + 1) * block)
        scale[index], zero[index] = fit_grid(work[rows], Grid(bits, zeros, positive), heavy[rows])

    def round_rows(work: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray]:
        step, offset = scale[index].astype(np.float32), zero[index].astype(np.float32)
        values = np.clip(np.rint(work / step) + offset, 0, 2**bits - 1)
        return values, (values - offset) * step

    if matrix is None or act_order:
        for index in range(count):
            fit(weight, index)
    if matrix is None:
        parts = [round_rows(weight[index * block : (index + 1) * block], index)[0] for index in range(count)]
        values = np.concatenate(parts)
    elif act_order:
        order = np.argsort(-np.diagonal(matrix), kind="stable")
        values = np.empty(weight.shape)
        values[order] = gptq(
            weight[order], matrix[np.ix_(order, order)], lambda work, row: round_rows(work[row], order[row] // block)
        )
    else:
        values = gptq(weight, matrix, _as_blocks_begin(fit, round_rows, block))
    return BlockWeight(values.astype(np.uint8), scale, bits, block, zero if zeros else None)


def _side_by_side(
    shape: tuple[int, ...], make: Callable[[slice], BlockWeight], *, bits: int, block: int
) -> BlockWeight:
    """A wide matrix (in, out), some columns at a time."""
    values = np.empty(shape, dtype=np.uint8)
    scale = np.empty((-(-shape[0] // block), shape[1]), dtype=np.float16)
    zero = np.empty(scale.shape, dtype=np.uint8)
    for start in range(0, shape[1], _COLUMNS):
        columns = slice(start, start + _COLUMNS)
        made = make(columns)
        values[:, columns], scale[:, columns] = made.values, made.scale
        if made.zero is not None:
            zero[:, columns] = made.zero
    return BlockWeight(values, scale, bits, block, None if made.zero is None else zero)


def _as_blocks_begin(
    fit: Callable[[np.ndarray, int], None],
    round_rows: Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]],
    block: int,
) -> Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]:
    """Rounding of one row for GPTQ; a block's grid is set when the block begins, as earlier errors have moved its
    weights."""

    def round_row(work: np.ndarray, row: int) -> tuple[np.ndarray, np.ndarray]:
        if row % block == 0:
            fit(work, row // block)
        return round_rows(work[row], row // block)

    return round_row


def pack(weight: BlockWeight) -> np.ndarray:
    """(out, blocks, bytes of a block) uint8: two 4-bit values a byte, the first in the low half; the last block filled
    up with zeros.

    MatMulNBits reads it as it is, and GatherBlockQuantized too where blocks are its last axis (`quantize_axis` 2, with
    scales (out, blocks, 1)), so a tied table is stored once.
    """
    count, columns = weight.scale.shape
    filled = np.zeros((count * weight.block, columns), dtype=np.uint8)
    filled[: len(weight.values)] = weight.values
    return _halves(filled.T.reshape(columns, count, weight.block), weight.bits)


def pack_zeros(weight: BlockWeight) -> np.ndarray | None:
    """(out, bytes) uint8: the zero points of an output's blocks, packed as its values are; None: there are none."""
    if weight.zero is None:
        return None
    zeros = weight.zero.T
    return _halves(np.pad(zeros, ((0, 0), (0, zeros.shape[1] % 2))) if weight.bits == 4 else zeros, weight.bits)


def _halves(values: np.ndarray, bits: int) -> np.ndarray:
    """Pairs along the last axis in one byte each, if they have 4 bits."""
    return values if bits == 8 else values[..., 0::2] | (values[..., 1::2] << 4)
