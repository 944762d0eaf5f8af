"""Progress that a person watches: bars in a terminal, a line that changes in a notebook."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from edgelm.progress import Progress, silent

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress

_EVERY = 0.2  # seconds between two changes of a notebook's line


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """What to give to a call of the library as `progress`, for as long as the block lasts.

    In a notebook it needs nothing but IPython (rich's bars would need ipywidgets); where nobody watches, as in a script
    whose output goes to a file, nothing is shown.
    """
    if _in_notebook():
        yield _NotebookLine()
        return
    if not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console

    bars = Bars(Console(stderr=True))
    try:
        yield bars
    finally:
        bars.close()


class Bars:
    """A `Progress` that draws a bar for each step that goes on, and takes it away when the step is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: RichProgress | None = None
        self._tasks: dict[str, Any] = {}

    def __call__(self, description: str, done: int, total: int) -> None:
        if self._bars is None:
            self._bars = _start_bars(self._console)
        if description not in self._tasks:
            self._tasks[description] = self._bars.add_task(description, total=total)
        self._bars.update(self._tasks[description], completed=done, total=total)
        if done >= total:
            self._bars.remove_task(self._tasks.pop(description))

    def close(self) -> None:
        """Take the bars off the terminal; whatever is told after that draws new ones."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
            self._tasks.clear()


def _start_bars(console: Console) -> RichProgress:
    from rich import progress  # which most calls never draw with

    bars = progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
        console=console,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # else rich would draw here what is meant for a file or a pipe
    )
    bars.start()
    return bars


class _NotebookLine:
    """A `Progress` in one line below a notebook's cell."""

    def __init__(self) -> None:
        self._shown: Any = None
        self._step, self._told = "", 0.0

    def __call__(self, description: str, done: int, total: int) -> None:
        now = time.monotonic()
        if description == self._step and done < total and now - self._told < _EVERY:
            return
        self._step, self._told = description, now
        from IPython.display import Pretty, display

        line = Pretty(f"{description}: {done} of {total}" if total > 1 else description)
        if self._shown is None:
            self._shown = display(line, display_id=True)
        else:
            self._shown.update(line)


def _in_notebook() -> bool:
    """Whether a kernel of Jupyter runs this process."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")
