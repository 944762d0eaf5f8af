"""The time that a stage of cutting has, and what it left out to keep to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from edgelm import distributed as processes
from edgelm.anatomy import TaskModel, sublayers
from edgelm.anatomy.layer import FFN
from edgelm.compress.evaluate import predict
from edgelm.data.dataset import Dataset

_SHOWN = 16  # rows that tell how long one takes
_MOMENTS = 2.0  # times a forward pass: second moments in double precision are summed beside it
_GRADIENTS = 3.0  # times a forward pass: what goes back takes twice as long
_FEWEST = 64  # rows, below which neither moments nor gradients say much
_LEAST_TRAINED = 1.5  # seconds of each model in the first round of a race
_PASSES = 1.5  # times the update of a whole matrix: others are read beside it, and matrices shrink as channels go


class Allotted:
    """Seconds for a stage, from now on.

    Args:
        seconds: None: as long as it takes.

    Attributes:
        left_out: sentences without an end that say what was left out.
    """

    def __init__(self, seconds: float | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self._clock, self._began = seconds, clock, clock()
        self.left_out: list[str] = []

    def left(self, share: float = 1.0) -> float:
        """Seconds until this share of all of them has passed, the same on all processes; without end, if there is no
        limit."""
        seconds = self.seconds
        if seconds is None:
            return float("inf")
        return processes.on_main(lambda: share * seconds - (self._clock() - self._began))

    def over(self, share: float = 1.0) -> bool:
        """Whether this share of them has passed."""
        return self.left(share) <= 0

    def leave_out(self, what: str) -> None:
        """Note what is left out, once."""
        if what not in self.left_out:
            self.left_out.append(what)


@dataclass(frozen=True)
class Entry:
    """What a race begins with: how many models, the rows that they are compared on, and the seconds that they train."""

    models: int
    judged: int
    seconds: float | None


def race_within(
    planned: Entry, teacher: TaskModel, rows: Dataset, allotted: Allotted, least_judged: int
) -> Entry | None:
    """A race that ends in time: on fewer rows, down to `least_judged`, and of fewer models. None: there is no time to
    train two."""
    left = allotted.left()
    if allotted.seconds is None or planned.seconds is None:
        return planned
    for_row = processes.same(_row_seconds(teacher, rows))
    judged = planned.judged if _judging(planned.models, planned.judged) * for_row < left / 3 else least_judged
    if judged < planned.judged:
        allotted.leave_out(f"{planned.judged - judged} of {planned.judged} rows that a race is judged on")
    for models in range(planned.models, 1, -1):
        seconds = min(planned.seconds, left - _judging(models, judged) * for_row)
        if seconds / (models - 1).bit_length() / models >= _LEAST_TRAINED:
            if models < planned.models:
                allotted.leave_out(f"{planned.models - models} of {planned.models} models that race")
            return Entry(models, judged, seconds)
    allotted.leave_out("the race")
    return None


def _judging(models: int, rows: int) -> int:
    """Rows that are read to judge a race: by the teacher, and in all rounds by about twice as many models as begin."""
    return rows * (1 + 2 * models)


def surgery_rows(model: TaskModel, rows: Dataset, allotted: Allotted, *, share: float) -> Dataset | None:
    """The rows that optimal brain surgeon can look at until this share of the time has passed: all, or fewer. None:
    there is no time to remove channel after channel."""
    if allotted.seconds is None:
        return rows
    left = allotted.left(share) - processes.on_main(lambda: _surgery_seconds(model))
    found = _affordable(model, rows, left, _MOMENTS)
    if found is None:
        allotted.leave_out("optimal brain surgeon, for which gradients of masks stood in")
    elif len(found) < len(rows):
        allotted.leave_out(f"{len(rows) - len(found)} of {len(rows)} rows that the surgeon looks at")
    return found


def gradient_rows(model: TaskModel, rows: Dataset, allotted: Allotted, *, share: float) -> Dataset:
    """The rows whose gradients there is time for until this share of it has passed, and a few at least."""
    if allotted.seconds is None:
        return rows
    found = _affordable(model, rows, allotted.left(share), _GRADIENTS) or rows.sample(_FEWEST, seed=0)
    if len(found) < len(rows):
        allotted.leave_out(f"{len(rows) - len(found)} of {len(rows)} rows whose gradients are looked at")
    return found


def _affordable(model: TaskModel, rows: Dataset, seconds: float, passes: float) -> Dataset | None:
    """As many rows as there are seconds for; None where these are too few."""
    count = processes.same(min(len(rows), int(max(0.0, seconds) / (passes * _row_seconds(model, rows)))))
    if count == len(rows):
        return rows
    return rows.sample(count, seed=0) if count >= _FEWEST else None


def _row_seconds(model: TaskModel, rows: Dataset) -> float:
    """How long the model takes to read a row, among others."""
    shown = rows.sample(_SHOWN, seed=0)
    return max(1e-9, _timed(lambda: predict(model, shown)) / len(shown))


def _surgery_seconds(model: TaskModel) -> float:
    """About how long it takes to remove every channel of every feed-forward network, one by one."""
    widths = [part.output.weight.shape[1] for _, part in sublayers(model.model) if part.kind == FFN]
    return sum(_update_seconds(width) * width * _PASSES * widths.count(width) for width in set(widths))


def _update_seconds(width: int) -> float:
    """How long it takes to change a matrix of this width, in double precision, by an outer product."""
    matrix, row = torch.zeros(width, width, dtype=torch.float64), torch.ones(width, dtype=torch.float64)
    return min(_timed(lambda: matrix.sub_(row[:, None] @ row[None])) for _ in range(3))


def _timed(work: Callable[[], object]) -> float:
    start = time.monotonic()
    work()
    return time.monotonic() - start
