"""Whether asking the teacher for everything beforehand would take too much of a training's time."""

from __future__ import annotations

import time

_TIME = 0.3  # of a training's time may go by with it
_SURE = 2.0  # seconds after which the pace is known


class Pace:
    """How fast something goes that a training waits for; it starts when it is made.

    Args:
        total: how much there is to do.
        seconds: that the whole training may take; None: as long as it takes.
    """

    def __init__(self, total: int, seconds: float | None) -> None:
        self._start = time.monotonic()
        self._total, self._seconds = total, seconds

    def too_slow(self, done: int) -> bool:
        """Whether the whole will take more than its share of the training, now that so much is done."""
        if self._seconds is None:
            return False
        spent = time.monotonic() - self._start
        return spent > _SURE and spent * self._total > _TIME * self._seconds * max(done, 1)
