"""Speculation: several tokens are guessed and read in one step, and those that the model would have written stay.

A step of a few tokens costs little more than one of one token where it is the weights that take the time, so each right
guess saves most of a step (Leviathan et al. 2023, arXiv:2211.17192, with the likeliest token instead of drawn ones).

The tokens are the greedy ones of the model alone: exactly, where it computes with floats, and where its weights are in
blocks and its cache is in bytes too (`edgelm export --cache-bits 8`): those kernels sum a token's row in the same order
however many are read. A cache of floats has another kernel for single tokens, whose last digits differ; products that
round activations to integers make them grow, and a token that led by little may be another.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from edgelm.errors import UsageError
from edgelm.runtime.generation.decoder import Decoder
from edgelm.runtime.generation.rows import Row
from edgelm.runtime.generation.strategies import add_token, make_chooser
from edgelm.tasks.generation import GenerationSettings


class Drafter(Protocol):
    """What guesses the next tokens."""

    def __call__(self, tokens: np.ndarray, most: int) -> list[int]:
        """A guess of what comes behind the tokens, (tokens,) int64: up to `most`, also none."""


class PromptLookup:
    """Guesses that what followed the last tokens where they were seen before follows again (prompt lookup decoding,
    Saxena 2023): summaries, edits and answers repeat their source.

    Args:
        most: tokens of a guess; after one that was wrong early, the next has but one more than were right.
        longest: how many last tokens are looked for at first; then fewer, down to `shortest`.
        source: tokens that are looked through before the row's own, as those that an encoder read.
    """

    def __init__(self, *, most: int = 6, longest: int = 3, shortest: int = 2, source: tuple[int, ...] = ()) -> None:
        self._most, self._longest, self._shortest = most, longest, shortest
        self._source = np.array(source, dtype=np.int64)
        self._begin, self._guess = 0, [0] * most  # the newest guess, and where it stands

    def from_source(self, source: tuple[int, ...]) -> PromptLookup:
        """One that looks through these tokens as well."""
        return PromptLookup(most=self._most, longest=self._longest, shortest=self._shortest, source=source)

    def __call__(self, tokens: np.ndarray, most: int) -> list[int]:
        """See `Drafter`: what followed the newest place where the longest run was seen."""
        seen = np.concatenate([self._source, tokens]) if len(self._source) else tokens
        most = min(most, self._size(tokens))
        for size in range(min(self._longest, len(tokens)), self._shortest - 1, -1):
            tail = tokens[len(tokens) - size :]
            same = seen[: len(seen) - size] == tail[0]
            for place in range(1, size):
                same &= seen[place : len(seen) - size + place] == tail[place]
            found = np.flatnonzero(same)
            if len(found):
                begin = int(found[-1]) + size
                self._begin, self._guess = len(tokens), seen[begin : begin + most].tolist()
                return self._guess
        return []

    def _size(self, tokens: np.ndarray) -> int:
        """How many to guess, by how many of the newest guess were right: wrong ones cost time."""
        came = tokens[self._begin : self._begin + len(self._guess)]
        right = common_beginning(came, np.array(self._guess[: len(came)]))
        if not self._begin or right == len(self._guess):
            return min(self._most, 2 * max(len(self._guess), 1))
        return min(self._most, right + 1)


class DraftModel:
    """Guesses by a smaller model of the same vocabulary.

    Args:
        decoder: of that model, which is used for this alone.
        most: tokens of a guess.
    """

    def __init__(self, decoder: Decoder, *, most: int = 4) -> None:
        self._decoder, self._most = decoder, most
        self._read = np.zeros(0, dtype=np.int64)  # what the decoder has in its cache

    @property
    def vocabulary(self) -> int:
        """How many tokens it knows."""
        return self._decoder.vocabulary

    def __call__(self, tokens: np.ndarray, most: int) -> list[int]:
        """See `Drafter`: the tokens that the small model would write."""
        most = min(most, self._most)
        if self._decoder.context:
            most = min(most, self._decoder.context - len(tokens) + 1)
        if most <= 0:
            return []
        known = min(common_beginning(self._read, tokens), len(tokens) - 1)
        if known and self._decoder.rows == 1:
            self._decoder.truncate(known)
        else:
            known = 0
            self._decoder.start(1)
        guess: list[int] = []
        logits = self._decoder.step(tokens[None, known:])
        while True:
            guess.append(int(logits[0, -1].argmax()))
            if len(guess) == most:
                break
            logits = self._decoder.step(np.array([guess[-1:]], dtype=np.int64))
        self._read = np.concatenate([tokens, np.array(guess[:-1], dtype=np.int64)])
        return guess


def write_speculating(
    decoder: Decoder, row: Row, logits: np.ndarray, settings: GenerationSettings, drafter: Drafter
) -> Iterator[Row]:
    """As `edgelm.runtime.generation.strategies.write_tokens` for one row, with guesses.

    Yields:
        the row, each time a token was added to it.

    Raises:
        UsageError: the settings draw tokens or search beams.
    """
    if settings.do_sample or settings.num_beams > 1:
        raise UsageError(
            "speculation writes the likeliest tokens.", hint="Leave do_sample and num_beams out, or the draft."
        )
    choose = make_chooser(settings)
    add_token(row, choose(row, logits[0, -1]), settings)
    yield row
    while not row.finish:
        guess = drafter(row.tokens, row.left - 1)  # of n guesses that are right, n + 1 tokens come
        ids = np.array([[row.last, *guess]], dtype=np.int64)
        logits = decoder.step(ids, wanted=np.arange(ids.shape[1])[None])
        row.drafted += len(guess)
        for place in range(ids.shape[1]):
            add_token(row, choose(row, logits[0, place]), settings)
            right = place < len(guess) and row.last == guess[place]
            if right:
                row.accepted += 1
            else:
                decoder.truncate(len(row.tokens) - 1)
            yield row
            if row.finish or not right:
                break


def common_beginning(first: np.ndarray, second: np.ndarray) -> int:
    """How many tokens two texts begin with alike."""
    size = min(len(first), len(second))
    unlike = np.flatnonzero(first[:size] != second[:size])
    return int(unlike[0]) if len(unlike) else size
