"""What is said of trials while they run: how far each is, and early that the first will not end in time."""

from __future__ import annotations

import warnings
from pathlib import Path

from edgelm.clock import Clock, TimeLimitWarning
from edgelm.progress import Progress
from edgelm.search.steps import Step, read_step

_SURELY = 1.1  # times the time that is left: what takes longer than that will not end in it


class TrialWatch:
    """Shows the steps of trials that run.

    Args:
        progress: is told of each step of each trial.
        clock: of the search.
    """

    def __init__(self, progress: Progress, clock: Clock) -> None:
        self._progress, self._clock = progress, clock
        self._shown: dict[int, Step] = {}
        self._warned: set[int] = set()

    def look(self, number: int, folder: Path, *, first: bool) -> None:
        """Show where a trial is.

        Args:
            folder: of the trial.
            first: no trial has ended well yet, so that nobody knows how long one takes: warn where this takes too long.
        """
        step = read_step(folder)
        if step is None:
            return
        if number in self._shown and self._shown[number].name != step.name:
            self.hide(number)
        if step.done < step.total > 1:  # of one unit it is not known how far it is; the search itself is shown
            self._shown[number] = step
            self._progress(_told(number, step), step.done, step.total)
        if first:
            self._warn(number, step)

    def hide(self, number: int) -> None:
        """Take the progress of a trial away."""
        if step := self._shown.pop(number, None):
            self._progress(_told(number, step), step.total, step.total)

    def _warn(self, number: int, step: Step) -> None:
        left = self._clock.left_s
        if number in self._warned or step.left_s is None or step.left_s <= _SURELY * left:
            return
        self._warned.add(number)
        warnings.warn(
            f"trial {number} will not end within {self._clock.limit_s:.0f} s: {step.name} alone needs "
            f"{step.left_s:.0f} s more, and {max(0.0, left):.0f} s are left. It is stopped then, and the same command "
            f"goes on with it; give --time-limit {self._clock.spent_s + step.left_s:.0f}s or more, or a smaller "
            "--train-share.",
            TimeLimitWarning,
            stacklevel=2,
        )


def _told(number: int, step: Step) -> str:
    return f"trial {number}: {step.name}"
