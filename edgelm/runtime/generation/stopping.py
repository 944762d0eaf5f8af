"""Texts that end the writing, wherever they stand across the borders of tokens."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Lets text through up to the first of some strings.

    What may be the beginning of one is held back until it is known.

    Attributes:
        found: whether one was met; nothing comes through behind it.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.found = False

    def __call__(self, text: str) -> str:
        """What can be said of the text so far, beyond what was said."""
        if not self._stops or self.found:
            return "" if self.found else text
        text = self._held + text
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            self.found, self._held = True, ""
            return text[: min(places)]
        kept = max(_beginning(text, stop) for stop in self._stops)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]

    def rest(self) -> str:
        """What was held back, where no more text comes."""
        text, self._held = self._held, ""
        return text


def _beginning(text: str, stop: str) -> int:
    """The longest end of the text that a stop string begins with, in characters."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
