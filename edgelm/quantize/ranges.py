"""From the statistics of an activation to the interval that its integers cover."""

from __future__ import annotations

import numpy as np

from edgelm.quantize.histogram import Histogram
from edgelm.quantize.statistics import Statistics

METHODS = ("minmax", "moving-average", "percentile", "mse", "entropy")
_LEVELS = 128
_PERCENTILE = 99.99
_CANDIDATES = 100


def range_of(statistics: Statistics, method: str, *, symmetric: bool = False) -> tuple[float, float]:
    """The interval (low, high) that the integers must cover; it always holds zero.

    Args:
        method: minmax: every value seen; moving-average: the ends of a text, averaged over texts with a memory of 0.9
            (Jacob et al., 2018); percentile: 99.99 % of |x|; mse: the interval with the least squared error of rounding
            and clipping; entropy: the threshold whose quantized distribution is closest to the real one
            (`entropy_threshold`).
        symmetric: the same length on both sides of zero, as signed integers without a zero point need it.
    """
    histogram = statistics.histogram
    if method == "moving-average":
        low, high = statistics.average
    elif method == "mse":
        low, high = least_squares_interval(histogram, symmetric=symmetric)
    else:
        threshold = np.inf
        if method == "percentile":
            threshold = percentile_threshold(histogram.magnitudes(), histogram.limit, _PERCENTILE)
        elif method == "entropy":
            threshold = entropy_threshold(histogram.magnitudes(), histogram.limit)
        low, high = max(histogram.low, -threshold), min(histogram.high, threshold)
    low, high = min(0.0, float(low)), max(0.0, float(high))
    if symmetric:
        high = max(-low, high)
        low = -high
    return low, high


def percentile_threshold(counts: np.ndarray, limit: float, percent: float) -> float:
    """The value below which `percent` % of the magnitudes lie: the upper edge of the bin in which that share is
    reached."""
    share = np.cumsum(counts) / counts.sum()
    return float((np.searchsorted(share, percent / 100) + 1) * limit / len(counts))


def least_squares_interval(histogram: Histogram, *, symmetric: bool = False) -> tuple[float, float]:
    """The interval whose 256 levels give the least squared error, by a search of each end in turn over 100 candidates.

    Source: the mean-squared-error range of Nagel et al., "A White Paper on Neural Network Quantization" (2021), section
    3.1.
    """
    values, counts = histogram.centers(), histogram.counts
    shares = np.linspace(0.02, 1.0, _CANDIDATES)
    if symmetric:
        largest = max(-histogram.low, histogram.high)
        errors = [_squared_error(values, counts, -share * largest, share * largest) for share in shares]
        high = float(shares[int(np.argmin(errors))] * largest)
        return -high, high
    low, high = min(0.0, histogram.low), max(0.0, histogram.high)
    ends = (low, high)
    for _ in range(2):
        errors = [_squared_error(values, counts, low, share * ends[1]) for share in shares]
        high = float(shares[int(np.argmin(errors))] * ends[1])
        errors = [_squared_error(values, counts, share * ends[0], high) for share in shares]
        low = float(shares[int(np.argmin(errors))] * ends[0])
    return low, high


def _squared_error(values: np.ndarray, counts: np.ndarray, low: float, high: float) -> float:
    scale = max((high - low) / 255, 1e-12)
    rounded = np.clip(np.rint(values / scale), np.rint(low / scale), np.rint(low / scale) + 255) * scale
    return float((counts * (values - rounded) ** 2).sum())


def entropy_threshold(counts: np.ndarray, limit: float) -> float:
    """The clipping threshold with the least KL divergence between the clipped distribution and its 128-level form.

    Source: Migacz, "8-bit Inference with TensorRT", GTC 2017. The levels' mass is spread over bins that were not empty.
    """
    width = limit / len(counts)
    best, best_bins = np.inf, len(counts)
    for bins in range(_LEVELS, len(counts) + 1, 8):
        clipped = counts[:bins].astype(np.float64).copy()
        clipped[-1] += counts[bins:].sum()
        divergence = _divergence(clipped, _requantized(counts[:bins]))
        if divergence < best:
            best, best_bins = divergence, bins
    return float(best_bins * width)


def _requantized(counts: np.ndarray) -> np.ndarray:
    """Merge bins into 128 levels, and spread each level's mass over its bins that were not empty."""
    level = np.arange(len(counts)) * _LEVELS // len(counts)
    full = (counts > 0).astype(np.float64)
    mass = np.bincount(level, weights=counts, minlength=_LEVELS)
    room = np.bincount(level, weights=full, minlength=_LEVELS)
    spread = np.divide(mass, room, out=np.zeros_like(mass), where=room > 0)
    return spread[level] * full


def _divergence(real: np.ndarray, approximate: np.ndarray, smoothing: float = 1e-4) -> float:
    p = (real + smoothing) / (real + smoothing).sum()
    q = (approximate + smoothing) / (approximate + smoothing).sum()
    return float((p * np.log(p / q)).sum())
