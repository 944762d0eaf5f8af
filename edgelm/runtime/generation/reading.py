"""Reads prompts into the cache: of a prompt that begins as the one before, only what is new.

Kernels sum in another order for one token than for several, and where activations are rounded to integers that shows: a
prompt is read in pieces of two tokens or more, so that it gives the same logits to the last bit however much of it was
there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edgelm.errors import DataError
from edgelm.runtime.generation.beams import search_beams
from edgelm.runtime.generation.decoder import DECODER, ENCODER, Decoder, SourceEncoder, pad
from edgelm.runtime.generation.growing import open_decoder
from edgelm.runtime.generation.logits import log_softmax
from edgelm.runtime.generation.rows import Row
from edgelm.runtime.generation.speculation import common_beginning
from edgelm.runtime.generation.strategies import write_tokens
from edgelm.runtime.graph_spec import GraphSpec
from edgelm.tasks.generation import GenerationSettings


class Reading:
    """A decoder, and which prompt its cache holds.

    Args:
        encoder: which reads sources, of an encoder-decoder.
        start_id: what the rows of an encoder-decoder begin with.
        pad_id: what fills shorter texts up; it is masked, so any token will do.

    Attributes:
        turn: rises each time something else is read: rows of before cannot go on then.
    """

    def __init__(
        self, decoder: Decoder, encoder: SourceEncoder | None = None, *, start_id: int = 0, pad_id: int = 0
    ) -> None:
        self.decoder, self.encoder = decoder, encoder
        self.start_id, self.pad_id = start_id, pad_id
        self.turn = 0
        self._row: Row | None = None  # whose tokens are in the cache

    @classmethod
    def of(cls, graphs: Mapping[str, tuple[Any, GraphSpec]], settings: GenerationSettings, *, context: int) -> Reading:
        """What reads by a bundle's graphs.

        Args:
            graphs: by name the session of each, and what the manifest says of it.
            settings: of the model.
            context: the longest text; an encoder-decoder without a table of positions writes as long as it is let.

        Raises:
            BundleError: the graphs do not go together.
        """
        session, spec = graphs[DECODER]
        encoder = SourceEncoder(*graphs[ENCODER], spec) if ENCODER in graphs else None
        limited = encoder is None or spec.names("positions")
        decoder = open_decoder(session, spec, context=context if limited else 0)
        return cls(decoder, encoder, start_id=settings.decoder_start_id or 0, pad_id=settings.pad_id or 0)

    def __call__(
        self, prompts: Sequence[Sequence[int]], settings: GenerationSettings, *, first: int = 0
    ) -> tuple[list[Row], np.ndarray]:
        """Read prompts, or sources of an encoder-decoder.

        Args:
            first: index of the first of the rows.

        Returns:
            the rows that they begin, and the logits of what comes first in each, (rows, 1, vocabulary).

        Raises:
            DataError: a prompt of more tokens than the model reads, or of none.
            BundleError: the graph fails.
        """
        context, most = self.decoder.context, settings.max_new_tokens
        for prompt in prompts:
            if not len(prompt) or (self.encoder is None and len(prompt) > context > 0):
                raise DataError(
                    f"a prompt of {len(prompt):,} tokens; the model reads from 1 to {context:,}.", hint="Shorten it."
                )
        starts = prompts if self.encoder is None else [[self.start_id]] * len(prompts)
        rooms = [min(most, context - len(start) + 1) if context else most for start in starts]
        rows = [
            Row(first + place, start, most=room, seed=settings.seed)
            for place, (start, room) in enumerate(zip(starts, rooms, strict=True))
        ]
        if self.encoder is not None or len(rows) > 1:
            self.begin(len(rows), None if self.encoder is None else prompts)
            ids, counts = pad(starts, self.pad_id)
            return rows, self.decoder.step(ids, counts=counts)
        tokens = rows[0].tokens
        known = self._known(tokens)
        if known:
            self.turn += 1
            self.decoder.truncate(known)
        else:
            self.begin(1)
        self._row = rows[0] if settings.num_beams == 1 else None
        for begin, end in _pieces(known, len(tokens), self.decoder.piece):
            logits = self.decoder.step(tokens[None, begin:end])
        return rows, logits

    def write(self, prompts: Sequence[Sequence[int]], settings: GenerationSettings, *, first: int = 0) -> list[Row]:
        """Read prompts, or sources, as a call does, and write behind each to its end."""
        rows, logits = self(prompts, settings, first=first)
        for _ in write_rows(self.decoder, rows, logits, settings):
            pass
        return rows

    def logits_at(
        self, tokens: np.ndarray, places: np.ndarray, *, source: Sequence[int] | None = None
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """What may come behind some tokens of a text that is there already, read piece by piece.

        Args:
            tokens: all of them, (tokens,) int64.
            places: of those that are asked for, (n,) int64, increasing.

        Yields:
            which of the places, and their logits, float32, which the next piece writes over.
        """
        self.begin(1, None if source is None else [source])
        done = 0
        for begin, end in _pieces(0, len(tokens), self.decoder.piece):
            part = slice(done, int(np.searchsorted(places, end)))
            wanted = places[part] - begin
            # A call asks for one place at least; what was not wanted is thrown away.
            asked = wanted if len(wanted) else np.zeros(1, dtype=np.int64)
            yield part, self.decoder.step(tokens[None, begin:end], wanted=asked[None])[0, : len(wanted)]
            done = part.stop

    def begin(self, rows: int, sources: Sequence[Sequence[int]] | None = None) -> None:
        """Forget what was read, and begin so many empty rows."""
        self.turn += 1
        self._row = None
        memory = self.encoder(sources, pad_id=self.pad_id) if self.encoder is not None and sources is not None else None
        self.decoder.start(rows, memory=memory)

    def score(self, ids: Sequence[int], *, source: Sequence[int] | None = None) -> np.ndarray:
        """The logarithm of the probability of each token but the first, given those before it, (tokens - 1,) float64.

        Raises:
            DataError: more tokens than the model reads.
        """
        if self.decoder.context and len(ids) > self.decoder.context:
            raise DataError(
                f"a text of {len(ids):,} tokens; the model reads {self.decoder.context:,}.", hint="Score it in parts."
            )
        tokens = np.array(ids, dtype=np.int64)
        before, targets = tokens[:-1], tokens[1:]
        found = np.zeros(len(targets))
        for part, logits in self.logits_at(before, np.arange(len(before)), source=source):
            shares = log_softmax(logits.astype(np.float64))
            found[part] = shares[np.arange(len(shares)), targets[part]]
        return found

    def _known(self, tokens: np.ndarray) -> int:
        """How many tokens of a prompt are in the cache, without the last two, which are read for the logits."""
        if self._row is None or self.decoder.rows != 1:
            return 0
        cached = self._row.tokens[: int(self.decoder.lengths[0])]
        return min(common_beginning(cached, tokens), max(len(tokens) - 2, 0))


def write_rows(decoder: Decoder, rows: list[Row], logits: np.ndarray, settings: GenerationSettings) -> Iterator[Row]:
    """Write every row to its end, by beams or token by token, as the settings say.

    Args:
        logits: of the first new token of each, (rows, 1, vocabulary).

    Yields:
        a row, each time a token was added to it; of beams, which are not known before the end, nothing.
    """
    if settings.num_beams > 1:
        search_beams(decoder, rows, logits, settings)
    else:
        yield from write_tokens(decoder, rows, logits, settings)


def _pieces(begin: int, end: int, most: int) -> Iterator[tuple[int, int]]:
    """Where the pieces of a prompt begin and end; none has one token alone, unless there is but one."""
    while end - begin > most + 1:
        yield begin, begin + most
        begin += most
    if begin < end:
        yield begin, end
