"""Writes texts: the likeliest token each time (greedy), or one that is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from edgelm.runtime.generation.logits import Processor, make_processors, softmax
from edgelm.runtime.generation.rows import LENGTH, STOP, Row
from edgelm.tasks.generation import GenerationSettings


class Steps(Protocol):
    """What reads tokens and gives the logits of the next ones; see `edgelm.runtime.generation.decoder.Decoder`."""

    def step(self, ids: np.ndarray, *, wanted: np.ndarray | None = None) -> np.ndarray:
        """Read the next tokens of every row, (rows, tokens) int64.

        Args:
            wanted: of which of them, by place, the logits are needed, (rows, n) int64; None: of the last.

        Returns:
            (rows, n, vocabulary) float32, which the next step writes over.
        """

    def reorder(self, rows: np.ndarray) -> None:
        """Have row i go on from where row `rows[i]` is; there may be fewer of them then, or more."""


def write_tokens(
    decoder: Steps, rows: Sequence[Row], logits: np.ndarray, settings: GenerationSettings
) -> Iterator[Row]:
    """Write every row to its end.

    Who iterates may end a row sooner by setting its `finish`.

    Args:
        decoder: which has read the rows' prompts.
        logits: of the first new token of each, (rows, 1, vocabulary).

    Yields:
        a row, each time a token was added to it.
    """
    choose = make_chooser(settings)
    active = list(rows)
    while True:
        for place, row in enumerate(active):
            add_token(row, choose(row, logits[place, -1]), settings)
            yield row
        going = [place for place, row in enumerate(active) if not row.finish]
        if not going:
            return
        if len(going) < len(active):
            decoder.reorder(np.array(going))
            active = [active[place] for place in going]
        logits = decoder.step(np.array([[row.last] for row in active], dtype=np.int64))


def add_token(row: Row, token: int, settings: GenerationSettings) -> None:
    """Write a token, and say so where it is the last."""
    row.append(token)
    if token in settings.eos_ids:
        row.finish = STOP
    elif not row.left:
        row.finish = LENGTH


def make_chooser(settings: GenerationSettings) -> Callable[[Row, np.ndarray], int]:
    """What chooses the next token of a row by its logits, (vocabulary,) float32, which it leaves as they are."""
    processors = make_processors(settings)

    def likeliest(row: Row, logits: np.ndarray) -> int:
        return int(process(processors, row, logits).argmax())

    def drawn(row: Row, logits: np.ndarray) -> int:
        shares = softmax(process(processors, row, logits))
        there = np.flatnonzero(shares)
        sums = np.cumsum(shares[there], dtype=np.float64)
        place = int(np.searchsorted(sums, row.rng.random() * sums[-1], side="right"))
        return int(there[min(place, len(there) - 1)])

    return drawn if settings.do_sample else likeliest


def process(processors: tuple[Processor, ...], row: Row, logits: np.ndarray) -> np.ndarray:
    """Logits as the processors change them; the same array where there are none."""
    if processors:
        logits, tokens = logits.copy(), row.tokens
        for processor in processors:
            processor(tokens, row.new, logits)
    return logits
