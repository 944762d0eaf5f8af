"""Integer grids: scales and zero points, and rounding to the nearest integer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class IntegerWeight:
    """A matrix in symmetric integers: (in, out) int8, and (out,) float32 scales > 0."""

    values: np.ndarray
    scale: np.ndarray

    def floats(self) -> np.ndarray:
        """(in, out) float32: what the integers stand for."""
        return self.values.astype(np.float32) * self.scale


def column_scales(weight: np.ndarray, *, largest: int = 127, per_channel: bool = True) -> np.ndarray:
    """(out,) float32: the scale that brings each column's (or the whole matrix's) largest magnitude to `largest`."""
    magnitude = np.abs(weight).max(axis=0)
    if not per_channel:
        magnitude = np.full_like(magnitude, magnitude.max())
    scale: np.ndarray = np.maximum(magnitude / largest, 1e-12).astype(np.float32)
    return scale


def quantize_columns(weight: np.ndarray, *, largest: int = 127, per_channel: bool = True) -> IntegerWeight:
    """Symmetric INT8, each weight to its nearest integer.

    Args:
        weight: (in, out), float32.
        largest: 127, or 63 for CPUs whose 16-bit sums of UINT8 times INT8 would saturate.
        per_channel: a scale for each column; False: one for all.

    Returns:
        integers with |weight - values * scale| <= scale / 2.
    """
    scale = column_scales(weight, largest=largest, per_channel=per_channel)
    return IntegerWeight(np.clip(np.rint(weight / scale), -largest, largest).astype(np.int8), scale)


def unsigned_grid(low: float, high: float) -> tuple[np.float32, np.uint8]:
    """Scale and zero point of UINT8 over [low, high], which holds zero; zero is represented exactly."""
    scale = np.float32(max((high - low) / 255, 1e-12))
    return scale, np.uint8(np.clip(np.rint(-low / scale), 0, 255))


def signed_grid(low: float, high: float) -> tuple[np.float32, np.int8]:
    """Scale and zero point of symmetric INT8 over the larger side of [low, high]; the zero point is 0."""
    return np.float32(max(abs(low), abs(high), 1e-12) / 127), np.int8(0)


def rounded(values: np.ndarray, interval: tuple[float, float]) -> np.ndarray:
    """What UINT8 over an interval keeps of float values: the same shape, float32."""
    scale, zero = unsigned_grid(*interval)
    point = np.float32(zero)
    result: np.ndarray = (np.clip(np.rint(values / scale) + point, 0, 255) - point) * scale
    return result
