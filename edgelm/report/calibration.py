"""Calibration of confidence: does a model that is nine tenths sure answer nine of ten rows right?

Source: Guo et al. 2017, "On Calibration of Modern Neural Networks" (arXiv:1706.04599), section 2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BINS = 15  # of equal width, as in the paper


def reliability_bins(scores: Sequence[float], right: Sequence[bool]) -> list[tuple[float, float, int]]:
    """Of each bin of confidence that holds answers: their mean confidence, the share that is right, their number."""
    sure, good = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=np.float64)
    places = np.clip(np.ceil(sure * BINS).astype(int) - 1, 0, BINS - 1)  # a bin takes its upper end
    found = []
    for place in range(BINS):
        inside = places == place
        if inside.any():
            found.append((float(sure[inside].mean()), float(good[inside].mean()), int(inside.sum())))
    return found


def expected_calibration_error(bins: Sequence[tuple[float, float, int]]) -> float:
    """How far confidence and accuracy are apart, over the bins, weighted by their answers: equation 3 of the paper."""
    total = sum(count for _, _, count in bins)
    return sum(count * abs(sure - right) for sure, right, count in bins) / total if total else 0.0
