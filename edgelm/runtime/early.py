"""What is begun before it is needed, in a thread beside other work."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Found = TypeVar("Found")

# Seconds: some three times what onnxruntime needs on a desktop until it lets go of Python's lock, and less than it then
# takes for a model that is worth it.
_HEAD_START = 0.05


class Early(Generic[Found]):
    """What a function gives, begun when this is made."""

    def __init__(self, function: Callable[[], Found]) -> None:
        self._found: list[Found] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(function,), daemon=True)
        self._thread.start()

    def result(self) -> Found:
        """It, once it is there; an error of the function is raised here."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._found[0]

    def _run(self, function: Callable[[], Found]) -> None:
        try:
            self._found.append(function())
        except BaseException as error:  # whatever it is, it belongs to who waits for the result
            self._error = error


@contextlib.contextmanager
def behind(function: Callable[[], Found]) -> Iterator[Early[Found]]:
    """Begin what keeps Python's lock from its beginning to its end, as tokenizers does while it reads a file, behind
    what lets go of the lock after a moment, as onnxruntime does while it makes a session: in this order they run beside
    each other, in the other one after the other.

    The function is called in a thread, when the block that is entered here has run for a moment, or has ended.
    """
    ended = threading.Event()

    def wait() -> Found:
        ended.wait(_HEAD_START)
        return function()

    early = Early(wait)
    try:
        yield early
    finally:
        ended.set()
