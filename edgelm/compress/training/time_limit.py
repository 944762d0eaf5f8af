"""A training that must end in time: its schedule is shortened as soon as its pace is known, so that it still anneals to
the end."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import TrainerCallback, get_scheduler

from edgelm import distributed as processes
from edgelm.clock import TimeLimitWarning
from edgelm.progress import Progress
from edgelm.recipe import FitSettings
from edgelm.training_settings import Settings

_PROBE = 20  # steps that tell the pace
_EARLY = (2, 5, 10)  # steps after which it is looked whether there is time for those at all
_SLOWER = 0.97  # of the steps that are left: fewer are taken where the time allows no more than this
_RACE = 0.25  # of a training by steps
_SEEN = (25, 3)  # units of a step that tell its pace, once trainings have found theirs; of one that has fewer
_CURTAILED = ("teacher", "search")  # steps that end by themselves where there is no time for all of them
_SURELY = 1.1  # times the time that is left: what takes longer than that will not end in it
_CUTTING = 0.5  # of that goes to cuts to a budget, where trainings follow
_RESERVE = 0.85  # of the time that is left goes to training: cuts, evaluations and writing need the rest


@dataclass(frozen=True)
class Allowance:
    """What a call may take.

    Attributes:
        seconds: of the limit; None: as long as it takes.
        began: when it began to run, by `time.monotonic()`.
    """

    seconds: float | None
    began: float

    @property
    def left(self) -> float:
        """Seconds from now on; where there is no limit, without end."""
        return float("inf") if self.seconds is None else self.seconds - (time.monotonic() - self.began)

    def training_seconds(self, stages: Sequence[Settings], judging: float) -> float | None:
        """How long the first of these stages may train; see there. None also where there is no limit."""
        return None if self.seconds is None else training_seconds(self.left - judging * len(stages), stages)

    def cutting_seconds(self, stages: Sequence[Settings], judging: float) -> float | None:
        """How long the first of these stages may take to cut, its race with it: of what cuts there are each an equal
        part of all that is left or, where something trains after them, of half of it. None where there is no limit."""
        if self.seconds is None:
            return None
        left = max(1.0, _RESERVE * (self.left - judging * len(stages)))
        cuts = sum(isinstance(stage, FitSettings) for stage in stages)
        trains = any(_work(stage) for stage in stages if not isinstance(stage, FitSettings))
        return left * (_CUTTING if trains else 1.0) / max(1, cuts)

    def check(
        self, stages: Sequence[Settings], judging: float, *, loading: float = 0.0, original: bool = False
    ) -> bool:
        """Warn where not even what is fixed fits: to judge what each stage leaves, as long as it takes to judge the
        original, and to load it.

        Args:
            judging, loading: seconds of the original.
            original: it is yet to be judged itself.

        Returns:
            whether there was a warning.
        """
        fixed = judging * (len(stages) + original) + loading * len(stages)
        needed = fixed + sum(_work(stage) > 0 for stage in stages)
        if self.seconds is None or self.left >= needed:
            return False
        spent = self.seconds - self.left
        left = "the stage leaves" if len(stages) == 1 else f"{len(stages)} stages leave"
        judged = f"the original and what {left}" if original else f"what {left}"
        warnings.warn(
            f"a time limit of {self.seconds:.0f} s cannot be kept: {spent:.0f} s have passed for imports and reading, "
            f"and to judge {judged} takes about {fixed:.0f} s alone. Trainings take a second each; give --time-limit "
            f"{2 * (spent + needed):.0f}s or more, or fewer rows with --eval.",
            TimeLimitWarning,
            stacklevel=3,
        )
        return True


class PaceWatch:
    """A `Progress` that passes on what it is told, and warns once where the pace of a step says that it will not end in
    the time that is left: trainings are shortened and some steps curtailed, all else takes its time."""

    def __init__(self, progress: Progress, allowed: Allowance, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._progress, self._allowed, self._clock = progress, allowed, clock
        self._step, self._done, self._first, self._begun = "", 0, 0, 0.0
        self._warned = allowed.seconds is None

    def hush(self) -> None:
        """Warn of nothing more: it was said already that the limit cannot be kept."""
        self._warned = True

    def __call__(self, description: str, done: int, total: int) -> None:
        self._progress(description, done, total)
        if description != self._step or done < self._done:
            self._step, self._first, self._begun = description, done, self._clock()
        self._done, made = done, done - self._first
        if self._warned or description in _CURTAILED or made < _SEEN[total <= _SEEN[0]]:
            return
        ahead, left = (self._clock() - self._begun) / made * (total - done), self._allowed.left
        if ahead > _SURELY * max(left, 0.0):
            self._warned = True
            seconds = self._allowed.seconds or 0.0
            warnings.warn(
                f"a time limit of {seconds:.0f} s cannot be kept: {description} alone needs {ahead:.0f} s more, and "
                f"{max(left, 0.0):.0f} s are left. Give --time-limit {1.5 * (seconds - left + ahead):.0f}s or more, or "
                "another recipe.",
                TimeLimitWarning,
                stacklevel=2,
            )


class EndInTime(TrainerCallback):
    """Lowers the number of steps to what fits into the seconds, and again where later steps are slower; the learning
    rate follows the shorter schedule from there."""

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._begun = self._probed = 0.0
        self._first = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._begun, self._first = self._clock(), state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, lr_scheduler: Any = None, **kwargs: Any) -> None:
        done, planned = state.global_step - self._first, state.max_steps - state.global_step
        if done == 1:  # the first step is slower than all that follow
            self._probed = self._clock()
        if done not in _EARLY and (done < _PROBE or (done - _PROBE) % max(_PROBE, state.max_steps // _PROBE)):
            return
        now = self._clock()
        pace = (now - self._probed) / (done - 1)
        left = processes.on_main(
            lambda: max(1, int((self._seconds - (now - self._begun)) / max(pace, 1e-9)))
        )  # the same for all
        if left < _SLOWER * planned and (done >= _PROBE or left < _PROBE):
            self._shorten(args, state, lr_scheduler, state.global_step + left)

    def _shorten(self, args: Any, state: Any, lr_scheduler: Any, steps: int) -> None:
        warmup = round(args.get_warmup_steps(state.max_steps) * steps / state.max_steps)
        state.max_steps = steps
        stand_in = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        schedule = get_scheduler(args.lr_scheduler_type, stand_in, warmup, steps)
        if lr_scheduler is not None and isinstance(schedule, torch.optim.lr_scheduler.LambdaLR):
            lr_scheduler.lr_lambdas = [schedule.lr_lambdas[0]] * len(lr_scheduler.lr_lambdas)


def training_seconds(left: float, stages: Sequence[Settings]) -> float | None:
    """How long the first of these stages may train, of the seconds that are left for all: in proportion to what each
    has planned.

    Returns:
        None, if the first stage trains nothing.
    """
    planned = [_work(stage) for stage in stages]
    if not planned or planned[0] == 0:
        return None
    return max(1.0, _RESERVE * left * planned[0] / sum(planned))


def _work(stage: Settings) -> float:
    """Epochs; a bound on steps counts as one, a race as some of that."""
    train = getattr(stage, "train", None)
    if getattr(stage, "race", None) is not None:
        return _RACE
    return 0.0 if train is None else 1.0 if train.max_steps else float(train.epochs)
