"""How far a trial is: whoever runs it notes that in the trial's folder, and the leading process reads it, wherever the
trial runs."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from edgelm.progress import Progress

STEP_FILE = "step.json"
_EVERY_S = 1.0  # between two notes
_SURE = 20  # units of a step that tell its pace


@dataclass(frozen=True)
class Step:
    """Where a trial is.

    Attributes:
        name: what is being done, such as `recover`.
        done, total: units of it, such as steps of a training.
        begun: units that were done when it was first heard of.
        seconds: since then.
    """

    name: str
    done: int
    total: int
    begun: int
    seconds: float

    @property
    def left_s(self) -> float | None:
        """Seconds that it will still take at its pace; None: too early to tell."""
        made = self.done - self.begun
        return self.seconds / made * (self.total - self.done) if made >= _SURE else None


class StepNotes:
    """A `Progress` that notes where a trial is, about every second, and passes it on.

    Args:
        folder: of the trial.
        progress: is told of every unit.
    """

    def __init__(self, folder: Path, progress: Progress, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._file, self._progress, self._clock = folder / STEP_FILE, progress, clock
        self._name, self._done, self._begun = "", 0, 0
        self._start, self._noted = 0.0, float("-inf")

    def __call__(self, description: str, done: int, total: int) -> None:
        now = self._clock()
        if description != self._name or done < self._done:
            self._name, self._begun, self._start = description, done, now
        self._done = done
        if now - self._noted >= _EVERY_S:
            self._noted = now
            aside = self._file.with_suffix(".new")
            with contextlib.suppress(OSError):  # a full disk is told by what matters more
                aside.write_text(json.dumps(asdict(Step(description, done, total, self._begun, now - self._start))))
                aside.replace(self._file)
        self._progress(description, done, total)


def read_step(folder: Path) -> Step | None:
    """Where the trial of this folder was last heard of; None: not yet."""
    try:
        return Step(**json.loads((folder / STEP_FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def forget_step(folder: Path) -> None:
    """Take away what an earlier run of the trial noted."""
    (folder / STEP_FILE).unlink(missing_ok=True)
