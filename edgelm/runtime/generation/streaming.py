"""Tokens become text as they come: whole characters alone, and nothing of a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgelm.runtime.generation.stopping import StopStrings
from edgelm.runtime.inputs.tokenizer_guard import tokenizer_errors

_UNFINISHED = "\ufffd"  # what bytes decode to that are no whole character
_BEFORE = 8  # tokens of the prompt that the first ones are read behind


class TextStream:
    """Decodes one token after another.

    A token is decoded with those since the last whole character and the ones that gave that: it may be a part of a
    character, and whether a blank stands before it depends on what it follows. All pieces together are the text that
    the tokens have at once.

    Args:
        tokenizer: of the tokenizers library.
        stop: texts behind which nothing is said, nor they.
        prompt: tokens that the first one follows; empty: a text begins.
    """

    def __init__(self, tokenizer: Any, *, stop: Sequence[str] = (), prompt: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._stops = StopStrings(stop)
        self._window = list(prompt[-_BEFORE:])  # tokens that are decoded together
        self._said = self._decode(self._window) if self._window else ""  # what of their text was given out
        self._known = len(self._window)  # tokens of the window whose text that is

    @property
    def stopped(self) -> bool:
        """Whether a stop string was met."""
        return self._stops.found

    def push(self, token: int) -> str:
        """The text that can be said with one more token; often none."""
        self._window.append(token)
        text = self._decode(self._window)
        if len(text) <= len(self._said) or text.endswith(_UNFINISHED):
            return ""
        piece = text[len(self._said) :]
        self._window = self._window[self._known :]
        self._said, self._known = self._decode(self._window), len(self._window)
        return self._stops(piece)

    def _decode(self, tokens: Sequence[int]) -> str:
        with tokenizer_errors("cannot make text of tokens"):
            text: str = self._tokenizer.decode(tokens)
        return text

    def finish(self) -> str:
        """The rest, where no more token comes: with what is no whole character, as U+FFFD."""
        text = self._decode(self._window)[len(self._said) :]
        return self._stops(text) + self._stops.rest()
