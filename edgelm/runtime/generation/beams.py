"""Beam search: the likeliest whole texts, of the beginnings that are kept at each step.

The tokens are those of transformers' `generate(num_beams=n)`: a step looks at the likeliest (end tokens + 1, at least
2) * n continuations of a text's n beginnings; those that end are kept as texts, if among the first n, with their log
probability over their length to the power of `length_penalty`; the best n of the others go on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgelm.runtime.generation.logits import Processor, largest, log_softmax, make_processors
from edgelm.runtime.generation.rows import LENGTH, STOP, Row
from edgelm.runtime.generation.strategies import Steps
from edgelm.tasks.generation import GenerationSettings

_WORST = np.float32(-1e9)


def search_beams(decoder: Steps, rows: Sequence[Row], logits: np.ndarray, settings: GenerationSettings) -> None:
    """Write every row to its end; a row gets the tokens of its best text.

    Args:
        decoder: which has read the rows' prompts.
        logits: of the first new token of each, (rows, 1, vocabulary).
    """
    beams = settings.num_beams
    processors = make_processors(settings)
    searches = [_Search(row, settings, processors) for row in rows]
    logits = np.repeat(logits[:, -1], beams, axis=0)
    decoder.reorder(np.repeat(np.arange(len(rows)), beams))
    while True:
        origins = np.concatenate(
            [at * beams + search.advance(logits[at * beams : (at + 1) * beams]) for at, search in enumerate(searches)]
        )
        going = [at for at, search in enumerate(searches) if not search.done]
        if not going:
            break
        kept = np.concatenate([origins[at * beams : (at + 1) * beams] for at in going])
        searches = [searches[at] for at in going]
        decoder.reorder(kept)
        logits = decoder.step(np.concatenate([search.newest for search in searches]))[:, -1]


class _Search:
    """The beginnings and texts of one row.

    Attributes:
        done: no better text can come; the row has the best one.
    """

    def __init__(self, row: Row, settings: GenerationSettings, processors: tuple[Processor, ...]) -> None:
        self.row, self.settings, self.processors = row, settings, processors
        self.done = False
        beams = settings.num_beams
        self._ends = np.array(settings.eos_ids, dtype=np.int64)
        self._wanted = max(2, 1 + len(settings.eos_ids)) * beams
        self._running = np.empty((beams, row.prompt + row.most), dtype=np.int64)
        self._running[:, : row.prompt] = row.tokens
        self._new = 0
        self._scores = np.full(beams, _WORST, dtype=np.float32)  # all but the first stand for nothing yet
        self._scores[0] = 0
        self._texts: list[tuple[np.float32, list[int], bool]] = []  # score, tokens, whether an end token ended it
        self._hopeful = True  # whether a better text may come

    @property
    def newest(self) -> np.ndarray:
        """The last token of each beginning, (beams, 1) int64."""
        return self._running[:, self.row.prompt + self._new - 1 : self.row.prompt + self._new]

    def advance(self, logits: np.ndarray) -> np.ndarray:
        """Go one token further; where the beginnings come from, (beams,).

        Args:
            logits: of the next token of each, (beams, vocabulary).
        """
        beams, at = self.settings.num_beams, self.row.prompt + self._new
        shares = self._process(log_softmax(logits), at)
        shares += self._scores[:, None]
        chosen = self._choose(shares.reshape(-1))
        scores = shares.reshape(-1)[chosen]
        origins, tokens = np.divmod(chosen, shares.shape[1])
        continued = self._running[origins]
        continued[:, at] = tokens
        self._new += 1
        ended = np.isin(tokens, self._ends) | (self._new >= self.row.most)
        self._keep_texts(continued[:beams, self.row.prompt : at + 1], scores[:beams], ended[:beams])
        left = np.argsort(-(scores + ended.astype(np.float32) * _WORST), kind="stable")[:beams]
        self._running, self._scores = continued[left], (scores + ended.astype(np.float32) * _WORST)[left]
        self._look_for_end(all_ended=bool(ended.all()))
        return origins[left]

    def _process(self, shares: np.ndarray, at: int) -> np.ndarray:
        for beam in range(len(shares)) if self.processors else ():
            for processor in self.processors:
                processor(self._running[beam, :at], self._new, shares[beam])
        return shares

    def _choose(self, shares: np.ndarray) -> np.ndarray:
        """The continuations to look at, best first."""
        chosen = largest(shares, min(self._wanted, len(shares)))
        return chosen[np.lexsort((chosen, -shares[chosen]))]

    def _keep_texts(self, texts: np.ndarray, scores: np.ndarray, ended: np.ndarray) -> None:
        beams = self.settings.num_beams
        full = len(self._texts) == beams and self.settings.early_stopping
        if full or not self._hopeful:
            return
        length = np.float32(self._new**self.settings.length_penalty)
        for text, score in zip(texts[ended], scores[ended], strict=True):
            self._texts.append((score / length, text.tolist(), bool(np.isin(text[-1], self._ends))))
        self._texts.sort(key=lambda text: -text[0])
        del self._texts[beams:]

    def _look_for_end(self, *, all_ended: bool) -> None:
        full = len(self._texts) == self.settings.num_beams
        worst = self._texts[-1][0] if full else _WORST
        best = self._scores[0] / np.float32(self._new**self.settings.length_penalty)
        self._hopeful = self._hopeful and (not self._texts or bool(best > worst))
        if self._hopeful and not (full and self.settings.early_stopping) and not all_ended:
            return
        self.done = True
        _, tokens, stopped = self._texts[0]
        for token in tokens:
            self.row.append(token)
        self.row.finish = STOP if stopped else LENGTH
