"""The time that a search has: what is left, and whether another trial would end in it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence


class Clock:
    """Counts from when it is made.

    Args:
        limit_s: seconds; None: no limit.
    """

    def __init__(self, limit_s: float | None) -> None:
        self.limit_s = limit_s
        self.start = time.monotonic()

    @property
    def spent_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start

    @property
    def over(self) -> bool:
        """Whether the limit has passed."""
        return self.limit_s is not None and self.spent_s >= self.limit_s

    def has_room(self, lengths_s: Sequence[float]) -> bool:
        """Whether another trial would end in time, by the median length of those before; the first is always begun."""
        if self.limit_s is None:
            return True
        return self.spent_s + (statistics.median(lengths_s) if lengths_s else 0.0) < self.limit_s
