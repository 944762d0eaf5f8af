"""How long work tells where it is: a function that the caller hands in."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called as work goes on; `done` of `total` units, and what the units are part of."""

    def __call__(self, description: str, done: int, total: int) -> None: ...


def silent(description: str, done: int, total: int) -> None:
    """The progress of a caller that does not want to know."""
