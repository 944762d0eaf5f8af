"""One text that is being written."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

STOP, LENGTH = "stop", "length"


class Row:
    """The tokens of one text, prompt and written ones, and why it ended.

    Attributes:
        index: its place among the prompts.
        prompt: how many tokens it began with.
        most: how many may be written.
        finish: `stop` at an end token or a stop string, `length` where it may be no longer; empty while it is written.
        seed: of what its tokens are drawn by, where they are drawn; None: another one each time.
        drafted, accepted: tokens that speculation guessed for it, and how many of them were right.
    """

    def __init__(self, index: int, prompt: Sequence[int], *, most: int, seed: int | None = None) -> None:
        self.index, self.prompt, self.most, self.finish = index, len(prompt), most, ""
        self.seed = seed
        self.drafted = self.accepted = 0
        self._buffer = np.empty(len(prompt) + most, dtype=np.int64)
        self._buffer[: len(prompt)] = prompt
        self._length = len(prompt)

    @cached_property
    def rng(self) -> np.random.Generator:
        """By which its tokens are drawn. numpy loads its random numbers when they are first asked for, in 11 ms."""
        return np.random.default_rng(None if self.seed is None else [self.seed, self.index])

    @property
    def tokens(self) -> np.ndarray:
        """All of them, (tokens,) int64; a view."""
        return self._buffer[: self._length]

    @property
    def written(self) -> list[int]:
        """Those after the prompt."""
        found: list[int] = self._buffer[self.prompt : self._length].tolist()
        return found

    @property
    def new(self) -> int:
        """How many were written."""
        return self._length - self.prompt

    @property
    def left(self) -> int:
        """How many may still be written."""
        return self.most - self.new

    @property
    def last(self) -> int:
        """The newest."""
        return int(self._buffer[self._length - 1])

    def append(self, token: int) -> None:
        """Write a token."""
        self._buffer[self._length] = token
        self._length += 1
