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


def pair_sums(weight: np.ndarray) -> np.ndarray:
    """(pairs, out): the largest magnitude that rows 2i and 2i + 1 of (in, out) can sum to where inputs are zero or
    positive.

    These pairs are what onnxruntime's kernels for x86 without VNNI multiply with UINT8 and sum in 16 bits, whatever
    does not fit cut off.
    """
    filled = np.concatenate([weight, np.zeros((len(weight) % 2, *weight.shape[1:]), dtype=weight.dtype)])
    positive, negative = np.maximum(filled, 0), np.maximum(-filled, 0)
    sums: np.ndarray = np.maximum(positive[0::2] + positive[1::2], negative[0::2] + negative[1::2])
    return sums


def limits(partner: np.ndarray, *, largest: int = 127, pair: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest integers that a row may hold beside its `partner`, the other row of its pair, such that
    no sum of both that have one sign exceeds `pair`; None: whatever the partner is."""
    if pair is None:
        return np.full_like(partner, -largest), np.full_like(partner, largest)
    return np.maximum(-largest, -pair - np.minimum(partner, 0)), np.minimum(largest, pair - np.maximum(partner, 0))


def column_scales(
    weight: np.ndarray, *, largest: int = 127, pair: int | None = None, per_channel: bool = True
) -> np.ndarray:
    """(out,) float32: the scale that brings each column's (or the whole matrix's) largest magnitude to `largest` or,
    where that is coarser, its largest pair sum to `pair`."""
    scale = np.abs(weight).max(axis=0) / largest
    if pair is not None:
        scale = np.maximum(scale, pair_sums(weight).max(axis=0) / pair)
    if not per_channel:
        scale = np.full_like(scale, scale.max())
    result: np.ndarray = np.maximum(scale, 1e-12).astype(np.float32)
    return result


def quantize_columns(
    weight: np.ndarray, *, largest: int = 127, pair: int | None = None, per_channel: bool = True
) -> IntegerWeight:
    """Symmetric INT8, each weight to its nearest integer.

    Args:
        weight: (in, out), float32.
        largest: magnitude of an integer.
        pair: the largest sum of rows 2i and 2i + 1 that have one sign, such as `edgelm.runtime.saturation.EXACT_PAIR`;
            None: any.
        per_channel: a scale for each column; False: one for all.

    Returns:
        integers with |weight - values * scale| <= scale / 2, but for one step where both of a pair are rounded up
        beyond `pair`.
    """
    scale = column_scales(weight, largest=largest, pair=pair, per_channel=per_channel)
    values = np.clip(np.rint(weight / scale), -largest, largest)
    odd = len(values) // 2
    values[1::2] = np.clip(values[1::2], *limits(values[0::2][:odd], largest=largest, pair=pair))
    return IntegerWeight(values.astype(np.int8), scale)


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
