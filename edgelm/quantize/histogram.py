"""Counts of the values of one activation, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

BINS = 2048  # for each sign


@dataclass
class Histogram:
    """Counts over a range that doubles when a value falls outside: one pass over any amount of data.

    Attributes:
        low, high: exact smallest and largest value.
        limit: the bins span [-limit, limit].
        counts: (2 * 2048,) float64.
    """

    low: float = np.inf
    high: float = -np.inf
    limit: float = 0.0
    counts: np.ndarray = field(default_factory=lambda: np.zeros(2 * BINS))

    def add(self, values: np.ndarray) -> None:
        """Count the values of an array of any shape.

        Raises:
            ValueError: a value is not finite.
        """
        low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ValueError("a value is not finite")
        self.low, self.high = min(self.low, low), max(self.high, high)
        largest = max(abs(low), abs(high), 1e-12)
        if self.limit == 0.0:
            self.limit = largest
        while self.limit < largest:
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.concatenate([np.zeros(BINS // 2), merged, np.zeros(BINS // 2)])
            self.limit *= 2
        place = ((values.ravel() + np.float32(self.limit)) * np.float32(BINS / self.limit)).astype(np.int64)
        self.counts += np.bincount(np.clip(place, 0, 2 * BINS - 1), minlength=2 * BINS)

    def bars(self, count: int) -> np.ndarray:
        """(count,) counts over [low, high]."""
        edges = np.linspace(self.low, self.high, count + 1)
        return np.histogram(self.centers(), bins=edges, weights=self.counts)[0].astype(np.int64)

    def magnitudes(self) -> np.ndarray:
        """(2048,) counts of |x| over [0, limit]."""
        return self.counts[BINS:] + self.counts[:BINS][::-1]

    def centers(self) -> np.ndarray:
        """(2 * 2048,) the middle of each bin, within the smallest and largest value seen."""
        width = self.limit / BINS
        return np.clip((np.arange(2 * BINS) + 0.5) * width - self.limit, self.low, self.high)
