"""Where the figures of a run are followed while it goes on: TensorBoard, Weights & Biases, MLflow or Trackio, by the
trackers of Accelerate.

Inside `report_to` everything that trains or measures logs what it finds; outside, `log` does nothing.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelm import distributed as processes
from edgelm.errors import EdgelmError, MissingExtraError, UsageError, install_extra

if TYPE_CHECKING:
    from edgelm.quantize.histogram import Histogram

TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")
_EXTRA = "tensorboard"  # the others are whole platforms that are at home with their users
_PROJECT = "edgelm"
_BARS = 64  # of a histogram


class TrackingWarning(UserWarning):
    """A tracker that stopped taking figures; the run goes on without it."""


@contextlib.contextmanager
def report_to(*names: str, output: str | Path, logs: str | Path | None = None) -> Iterator[None]:
    """Inside, figures go to these trackers, as one run that is named after the output and begins with the first figure.

    A project is called `edgelm`, unless WANDB_PROJECT, TRACKIO_PROJECT or MLFLOW_EXPERIMENT_NAME says otherwise; where
    a tracker sends its figures is set up as always with it.

    Args:
        names: tensorboard, wandb, mlflow, trackio; none: nothing is logged.
        output: what the run makes.
        logs: TensorBoard's folder; None: one for each call under `OUTPUT.logs`.

    Raises:
        UsageError: an unknown tracker.
        MissingExtraError: its package is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            raise UsageError(f"unknown tracker {name!r}.", hint=f"Trackers: {', '.join(TRACKERS)}.")
        if find_spec(name) is None:
            raise MissingExtraError(
                f"the package {name} is missing; it is needed to report there.",
                hint=install_extra(name) if name == _EXTRA else f"pip install {name}",
            )
    run = _Run(names, Path(output), logs) if names and processes.is_main() else None
    token = _current.set(run)
    try:
        yield
    finally:
        _current.reset(token)
        if run is not None:
            run.finish()


def log(group: str, values: Mapping[str, Any], *, step: int | None = None) -> None:
    """Log those of the values that are numbers, as `GROUP/NAME`.

    Args:
        step: within what `next_part` began; None: the last one.
    """
    run = _current.get()
    numbers = {f"{group}/{name}": float(value) for name, value in values.items() if isinstance(value, int | float)}
    if run is not None and numbers:
        run.log(numbers, step)


def next_part() -> None:
    """Count steps from 0 on again: a run has several trainings, and its trackers one axis."""
    run = _current.get()
    if run is not None:
        run.base = run.last


def log_histogram(name: str, values: Histogram) -> None:
    """Log the distribution of an activation, where a tracker draws such."""
    run = _current.get()
    if run is not None:
        run.log_histogram(name, values)


class _Run:
    """One run of some trackers, which begins when there is something to log."""

    def __init__(self, names: tuple[str, ...], output: Path, logs: str | Path | None) -> None:
        self.names, self.output = tuple(dict.fromkeys(names)), output
        self.logs = logs or output.with_name(f"{output.name}.logs") / time.strftime("%Y%m%d-%H%M%S")
        self.base = self.last = 0
        self._trackers: dict[str, Any] | None = None

    def log(self, values: dict[str, float], step: int | None) -> None:
        self.last = self.last if step is None else max(self.last, self.base + step)
        for name in self._started():
            self._tell(name, lambda tracker: tracker.log(values, step=self.last))

    def log_histogram(self, name: str, values: Histogram) -> None:
        if "tensorboard" in self._started():
            self._tell("tensorboard", lambda tracker: _draw(tracker.writer, name, values, self.last))

    def finish(self) -> None:
        for name in list(self._trackers or ()):
            self._tell(name, lambda tracker: tracker.finish())

    def _started(self) -> tuple[str, ...]:
        if self._trackers is None:
            self._trackers = {name: self._start(name) for name in self.names}
        return tuple(self._trackers)

    def _start(self, name: str) -> Any:
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        processes.join()  # whose state Accelerate asks which process this is
        project = os.environ.get(f"{name.upper()}_PROJECT", _PROJECT)
        options: dict[str, Any] = {
            "tensorboard": {"run_name": "", "logging_dir": str(self.logs)},
            "wandb": {"run_name": project, "name": self.output.name},
            "mlflow": {"experiment_name": project, "run_name": self.output.name},
            "trackio": {"run_name": project, "name": self.output.name},
        }[name]
        try:
            with _off_stdout():
                tracker = LOGGER_TYPE_TO_CLASS[name](**options)
                tracker.start()
        except Exception as error:  # whatever a service throws: no login, no network, no server
            raise EdgelmError(
                f"{name} cannot begin a run: {_first_line(error)}",
                hint=f"Log in or set its address as its documentation says, or leave {name} out of --report-to.",
            ) from error
        return tracker

    def _tell(self, name: str, say: Any) -> None:
        """A tracker that fails later is left out: hours of training are worth more than their curve."""
        assert self._trackers is not None
        try:
            with _off_stdout():
                say(self._trackers[name])
        except Exception as error:
            del self._trackers[name]
            warnings.warn(f"{name} takes no more figures: {_first_line(error)}", TrackingWarning, stacklevel=2)


_current: ContextVar[_Run | None] = ContextVar("run", default=None)


def _draw(writer: Any, name: str, values: Histogram, step: int) -> None:
    counts, centers = values.counts, values.centers()
    width = (values.high - values.low) / _BARS
    writer.add_histogram_raw(
        name,
        min=values.low,
        max=values.high,
        num=float(counts.sum()),
        sum=float(counts @ centers),
        sum_squares=float(counts @ centers**2),
        bucket_limits=[values.low + width * (index + 1) for index in range(_BARS)],
        bucket_counts=values.bars(_BARS).tolist(),
        global_step=step,
    )


def _off_stdout() -> contextlib.redirect_stdout[Any]:
    """Greetings of a tracker go to stderr: stdout belongs to results."""
    return contextlib.redirect_stdout(sys.stderr)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
