"""Progress without a terminal: lines in a log, one a step of the work and at least one every half minute."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

EVERY = 30.0  # seconds between lines while one step goes on
_SOON = 5.0  # seconds that must lie between the lines of two steps: short ones need none
_LOOK = 1.0  # seconds between two looks at the clock


class LogLines:
    """Says where work is.

    A thread of its own speaks while a step is silent, so that a log never looks dead; `close` ends it.

    Args:
        say: writes a line.
        every: seconds, for tests.
    """

    def __init__(self, say: Callable[[str], None], *, every: float = EVERY, soon: float = _SOON) -> None:
        self._say = say
        self._every, self._soon = every, soon
        self._began = self._told = time.monotonic()
        self._step, self._count, self._done = "", "", 0
        self._around: dict[str, None] = {}  # what goes on and cannot say how far it is: other steps are parts of it
        self._reached: dict[str, int] = {}  # steps that were told, and how far each was last
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def note(self, step: str, done: int, total: int) -> None:
        """The work is at `done` of `total` of this step."""
        with self._lock:
            if total == 1 and done == 0:
                self._around[step] = None
            elif step in self._around:
                del self._around[step]
            around = [other for other in self._around if other != step]
            self._step = step = ", ".join([*around, step])
            self._count = f"{done} of {total}" if total > 1 else ""
            if done < self._reached.get(step, done):
                del self._reached[step]  # it begins again
            if step in self._reached or done >= total:  # what is over is no news
                self._reached[step] = done
            self._done = done
            self._tell_if_due()
        if self._thread is None:
            thread = threading.Thread(target=self._keep_telling, name="edgelm-log-lines", daemon=True)
            with contextlib.suppress(RuntimeError):  # no memory for its stack: lines come with the steps alone
                thread.start()
                self._thread = thread

    def close(self) -> None:
        """Say no more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _keep_telling(self) -> None:
        while not self._ended.wait(min(_LOOK, self._every)):
            with self._lock:
                self._tell_if_due()

    def _tell_if_due(self) -> None:
        """A line with the step, how far it is, and the time since the beginning, where the step is new or the last line
        is old; the lock is held."""
        age = time.monotonic() - self._told
        if age < (self._every if self._step in self._reached else self._soon):
            return
        self._told, self._reached[self._step] = time.monotonic(), self._done
        minutes, seconds = divmod(int(self._told - self._began), 60)
        self._say(" ".join(filter(None, (f"[{minutes}:{seconds:02d}]", self._step, self._count))))
