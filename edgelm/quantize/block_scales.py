"""Scales and zero points of one block of weights: by weighted least squares, among candidates that clip more or less.

The search is that of llama.cpp's quants with an importance matrix: for a candidate grid take the nearest integers, then
the scale that fits those integers best; the candidate of the least weighted squared error wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

_CHUNK = 1024  # columns at a time: what a candidate needs stays in the processor's cache
_FACTORS = {4: np.linspace(1.16, 0.72, 12), 8: np.array([1.0, 128 / 127])}
_SPANS = {4: np.linspace(1.04, 0.68, 10), 8: np.array([1.0])}


@dataclass(frozen=True)
class Grid:
    """Integers from 0 to 2**bits - 1; with zeros each block has the integer that stands for 0, else it is
    2**(bits - 1), and unless it is `positive` a scale may be negative."""

    bits: int
    zeros: bool = False
    positive: bool = False


def fit_grid(weight: np.ndarray, grid: Grid, importance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The grid of each column that leaves the least squared error, weighted by row.

    Args:
        weight: (rows, out), the rows of one block.
        grid: what integers there are.
        importance: (rows,) >= 0.

    Returns:
        (out,) float16 scales, never 0, and (out,) uint8 zero points.
    """
    scale = np.ones(weight.shape[1], dtype=np.float16)
    zero = np.full(weight.shape[1], 2 ** (grid.bits - 1), dtype=np.uint8)
    heavy = np.asarray(importance, dtype=np.float32)[:, None]
    heavy = heavy / max(float(heavy.max()), 1e-30) + 1e-6  # a channel that was never alive still has some weight
    for start in range(0, weight.shape[1], _CHUNK):
        columns = slice(start, start + _CHUNK)
        part = np.ascontiguousarray(weight[:, columns], dtype=np.float32)
        fit = _fit_zeros(part, grid.bits, heavy) if grid.zeros else _fit_symmetric(part, grid, heavy)
        scale[columns], zero[columns] = fit
    return scale, zero


def _fit_symmetric(weight: np.ndarray, grid: Grid, heavy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Candidates put the extreme weight, or somewhat more or less, on the lowest integer: there is one more below zero
    than above (as ggml's Q4_0 has it). With positive scales one that is above zero goes on the highest."""
    half = 2 ** (grid.bits - 1)
    extreme = np.take_along_axis(weight, np.abs(weight).argmax(axis=0, keepdims=True), axis=0)[0]
    zero = np.full(weight.shape[1], half, dtype=np.float32)
    end = np.where(extreme > 0, half - 1, -half) if grid.positive else -half
    candidates = ((extreme * np.asarray(factor / end, dtype=np.float32), zero) for factor in _FACTORS[grid.bits])
    return _best(weight, grid.bits, heavy, candidates)


def _fit_zeros(weight: np.ndarray, bits: int, heavy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Candidates cover the block's range and zero, or a share of it."""
    top = 2**bits - 1
    low, high = np.minimum(weight.min(axis=0), 0), np.maximum(weight.max(axis=0), 0)

    def candidates() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for share in _SPANS[bits]:
            step = _usable((high - low) * np.float32(share / top))
            middle = np.rint(-(high + low) / 2 / step + top / 2)
            for shift in (-1, 0, 1) if bits == 4 else (0,):
                yield step, np.clip(middle + shift, 0, top).astype(np.float32)

    return _best(weight, bits, heavy, candidates())


def _best(
    weight: np.ndarray, bits: int, heavy: np.ndarray, candidates: Iterable[tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """Of candidates, each (out,) scales and zero points: the least error once the scale fits the integers best.

    With the integers v, whose best scale is s = Σ h w v / Σ h v², the weighted error Σ h (w - s v)² is a constant less
    (Σ h w v)² / Σ h v².
    """
    top = np.float32(2**bits - 1)
    best_scale, best_zero = (np.ones(weight.shape[1], dtype=np.float32) for _ in range(2))
    most = np.full(weight.shape[1], -1, dtype=np.float32)
    weighted = heavy * weight
    for step, zero in candidates:
        values = weight * (1 / _usable(step))
        np.rint(values, out=values)
        np.clip(values, -zero, top - zero, out=values)
        square = _usable(np.einsum("ij,ij,i->j", values, values, heavy[:, 0]))
        along = np.einsum("ij,ij->j", weighted, values)
        explained = along * along / square
        better = explained > most
        best_scale[better], best_zero[better] = (along / square)[better], zero[better]
        most[better] = explained[better]
    scale = best_scale.astype(np.float16)
    scale[scale == 0] = 1  # a block of zeros
    return scale, best_zero.astype(np.uint8)


def _usable(values: np.ndarray) -> np.ndarray:
    """To divide by: 1 for zeros."""
    result: np.ndarray = np.where(values == 0, np.float32(1), values)
    return result
