"""What all answers are computed with."""

from __future__ import annotations

import numpy as np

from edgelm.errors import BundleError


def check_finite(outputs: np.ndarray) -> None:
    """Refuse outputs that are no numbers.

    Raises:
        BundleError: one is NaN or infinite.
    """
    if not np.isfinite(outputs).all():
        raise BundleError(
            "the model's output is not a number (NaN or infinite).",
            hint="Check the bundle with `edgelm verify`, or export it again.",
        )


def sigmoid(outputs: np.ndarray) -> np.ndarray:
    """Of each value, in (0, 1)."""
    scores: np.ndarray = 1 / (1 + np.exp(-np.clip(outputs, -60, 60)))
    return scores


def softmax(outputs: np.ndarray) -> np.ndarray:
    """Over the last axis, which sums to one; minus infinity gives zero."""
    shifted = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
    shares: np.ndarray = shifted / shifted.sum(axis=-1, keepdims=True)
    return shares
