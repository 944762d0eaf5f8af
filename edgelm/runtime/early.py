"""What is begun before it is needed, in a thread beside other work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Found = TypeVar("Found")


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
