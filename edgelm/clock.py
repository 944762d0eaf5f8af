"""The noun Clock: the time that a command has, and how much of it is left."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from time import monotonic


class TimeLimitWarning(UserWarning):
    """A time limit that cannot be kept to."""


class Clock:
    """Counts from when the command began.

    Args:
        limit_s: seconds; None: no limit.
        began: when they began to run, by `time.monotonic()`; None: now.

    Attributes:
        reserve_s: seconds that the end takes, and that nothing else may have; whoever knows how long sets it.
    """

    def __init__(self, limit_s: float | None, began: float | None = None) -> None:
        self.limit_s = limit_s
        self.reserve_s = 0.0
        self.start = monotonic() if began is None else began

    @property
    def spent_s(self) -> float:
        """Seconds since the start."""
        return monotonic() - self.start

    @property
    def left_s(self) -> float:
        """Seconds until the end must begin, less than none after that; without a limit, without end."""
        return float("inf") if self.limit_s is None else self.limit_s - self.reserve_s - self.spent_s

    @property
    def over(self) -> bool:
        """Whether none is left."""
        return self.left_s <= 0

    def has_room(self, lengths_s: Sequence[float]) -> bool:
        """Whether another piece of work would end in time, by the median length of those before; the first always."""
        return self.left_s > (statistics.median(lengths_s) if lengths_s else 0.0)
