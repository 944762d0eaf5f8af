"""How long work tells where it is: a function that the caller hands in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Called as work goes on; `done` of `total` units, and what the units are part of."""

    def __call__(self, description: str, done: int, total: int) -> None: ...


def silent(description: str, done: int, total: int) -> None:
    """The progress of a caller that does not want to know."""


@contextmanager
def during(progress: Progress, description: str) -> Iterator[None]:
    """Tell of work that cannot say how far it is that it goes on, and then that it is over."""
    progress(description, 0, 1)
    yield
    progress(description, 1, 1)
