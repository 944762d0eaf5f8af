"""Calibration: which range each activation needs, from real texts, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper

from edgelm.errors import CalibrationError
from edgelm.progress import Progress, silent
from edgelm.task import Task

METHODS = ("minmax", "entropy", "percentile")
MIN_SAMPLES = 8
_BINS = 2048
_LEVELS = 128
_PERCENTILE = 99.99


def default_method(task: Task, *, own_texts: bool) -> str:
    """The method to use where none is asked for.

    Clipping rare outliers gives a classifier finer steps, where the calibration texts are like those that it will see; on other
    texts it clips what matters, and the direction of a sentence vector hangs on the outliers (benchmarks/calibration.py).
    """
    return "percentile" if own_texts and task.kind == "text-classification" else "minmax"


@dataclass
class Histogram:
    """Counts of the values of one tensor, over a range that doubles when a value falls outside: bounded memory, one pass.

    Attributes:
        low, high: exact smallest and largest value.
        limit: the bins span [-limit, limit].
        counts: (2 * 2048,) float64.
    """

    low: float = np.inf
    high: float = -np.inf
    limit: float = 0.0
    counts: np.ndarray = field(default_factory=lambda: np.zeros(2 * _BINS))

    def add(self, values: np.ndarray) -> None:
        """Count the values of an array of any shape.

        Raises:
            CalibrationError: a value is not finite.
        """
        low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise CalibrationError(
                "a calibration text gives values that are not finite (NaN or infinity).",
                hint="The model overflows on it; check the model with --precision fp32 first.",
            )
        self.low, self.high = min(self.low, low), max(self.high, high)
        largest = max(abs(low), abs(high), 1e-12)
        if self.limit == 0.0:
            self.limit = largest
        while self.limit < largest:
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.concatenate([np.zeros(_BINS // 2), merged, np.zeros(_BINS // 2)])
            self.limit *= 2
        found, _ = np.histogram(values, bins=2 * _BINS, range=(-self.limit, self.limit))
        self.counts += found

    def magnitudes(self) -> np.ndarray:
        """(2048,) counts of |x| over [0, limit]."""
        return self.counts[_BINS:] + self.counts[:_BINS][::-1]


def range_of(histogram: Histogram, method: str) -> tuple[float, float]:
    """The range of values that the integers must cover; it always holds zero.

    Args:
        method: `minmax`: every value seen; `percentile`: 99.99 % of |x|; `entropy`: the threshold whose quantized
            distribution is closest to the real one.
    """
    if method == "minmax":
        threshold = np.inf
    elif method == "percentile":
        threshold = percentile_threshold(histogram.magnitudes(), histogram.limit, _PERCENTILE)
    else:
        threshold = entropy_threshold(histogram.magnitudes(), histogram.limit)
    return min(0.0, max(histogram.low, -threshold)), max(0.0, min(histogram.high, threshold))


def percentile_threshold(counts: np.ndarray, limit: float, percent: float) -> float:
    """The value below which `percent` % of the magnitudes lie: the upper edge of the bin in which that share is reached."""
    share = np.cumsum(counts) / counts.sum()
    return float((np.searchsorted(share, percent / 100) + 1) * limit / len(counts))


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


def collect(
    graph: onnx.ModelProto, tensors: Sequence[str], feeds: Sequence[dict[str, np.ndarray]], *, progress: Progress = silent
) -> dict[str, Histogram]:
    """Run the FP32 graph on calibration inputs and count the values of these tensors.

    Raises:
        CalibrationError: too few inputs, or values that are not finite.
    """
    if len(feeds) < MIN_SAMPLES:
        raise CalibrationError(
            f"{len(feeds)} calibration texts; at least {MIN_SAMPLES} are needed.",
            hint="Give more rows with --calibration, or raise --calibration-samples.",
        )
    watched = onnx.ModelProto()
    watched.CopyFrom(graph)
    watched.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in tensors)
    session = make_plain_session(watched)
    histograms = {name: Histogram() for name in tensors}
    for index, feed in enumerate(feeds):
        for name, values in zip(tensors, session.run(list(tensors), feed), strict=True):
            histograms[name].add(values)
        progress("calibrate", index + 1, len(feeds))
    return histograms


def make_plain_session(graph: onnx.ModelProto, *, threads: int | None = None) -> Any:
    """An onnxruntime session for a graph in memory."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads:
        options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
