"""How far the logits of graphs are from those of transformers, one sequence after the other: with a large vocabulary
those of all together are gigabytes."""

from __future__ import annotations

import numpy as np

from edgelm.runtime.graph_spec import Parity


class Agreement:
    """What is known after so many sequences.

    Attributes:
        scale: the largest logit of transformers, at least 1.
    """

    def __init__(self) -> None:
        self.scale = 1.0
        self._sequences = self._rows = self._logits = self._changed = 0
        self._largest, self._sum = 0.0, 0.0

    def add(self, found: np.ndarray, wanted: np.ndarray) -> None:
        """One more sequence: logits of graphs and of transformers, (rows, vocabulary) each."""
        errors = np.abs(found - wanted)
        self._sequences += 1
        self._rows += len(errors)
        self._logits += errors.size
        self._largest = float(np.maximum(self._largest, errors.max(initial=0.0)))  # what is no number stays none
        self._sum += float(errors.sum(dtype=np.float64))
        self._changed += int(_worse(found, wanted).sum())
        self.scale = max(self.scale, float(wanted.max(initial=0.0)), -float(wanted.min(initial=0.0)))

    def parity(self, tolerance: float, *, hard_texts: int) -> Parity:
        """What the manifest says of it; `tolerance` is what is accepted."""
        return Parity(
            samples=self._sequences,
            max_error=self._largest,
            mean_error=self._sum / self._logits,
            changed=round(self._changed / self._rows, 6),
            tolerance=tolerance,
            hard_texts=hard_texts,
        )


def _worse(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where the likeliest token of one is less than half as likely in the other as that one's own, (rows,)."""
    chosen = np.take_along_axis(wanted, found.argmax(axis=1)[:, None], axis=1)[:, 0]
    return ~(wanted.max(axis=1) - chosen <= np.log(2))  # also what is no number
