"""A teacher's likeliest tokens by row, with what is left for all others, on disk: full logits of a million tokens would
take a hundred gigabytes, these take a few hundred megabytes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

_DONE = "done.json"  # how many batches of rows are written whole


@dataclass(frozen=True)
class TopLogits:
    """What is kept of rows of softened logits.

    A divergence from it takes all other tokens together as one event. By the log-sum inequality that is never more than
    the one from full logits; of KL(teacher‖student) exactly r KL(p‖q) is missing, where r is the teacher's probability
    of the rest, p and q are both distributions within the rest. Values in FP16 add at most 2⁻¹¹ |log p| of each kept
    token's logarithm.

    Attributes:
        tokens: (rows, k) int64, the likeliest tokens.
        values: (rows, k) float32, the logarithms of their softened probabilities.
        rest: (rows,) float32, the logarithm of the probability of all others together.
    """

    tokens: torch.Tensor
    values: torch.Tensor
    rest: torch.Tensor

    @classmethod
    def of(cls, log_probabilities: torch.Tensor, count: int) -> TopLogits:
        """Those of rows (rows, vocabulary)."""
        values, tokens = log_probabilities.topk(min(count, log_probabilities.shape[-1]), dim=-1)
        return cls(tokens, values, _remainder(log_probabilities, tokens))

    def events(self) -> torch.Tensor:
        """(rows, k + 1) logarithms of probabilities that sum to 1, the rest last."""
        found = torch.cat([self.values, self.rest.unsqueeze(-1)], dim=-1)
        return found - found.logsumexp(dim=-1, keepdim=True)  # what rounding moved

    def same_events(self, log_probabilities: torch.Tensor) -> torch.Tensor:
        """What another model gives to these events, (rows, k + 1), of its (rows, vocabulary)."""
        kept = log_probabilities.gather(-1, self.tokens)
        return torch.cat([kept, _remainder(log_probabilities, self.tokens).unsqueeze(-1)], dim=-1)

    def part(self, rows: slice) -> TopLogits:
        """Those of some rows."""
        return TopLogits(self.tokens[rows], self.values[rows], self.rest[rows])


def _remainder(log_probabilities: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """log Σ p over the tokens that are not named, summed over them: 1 - Σ would lose what is small. Where all are named
    there is next to nothing, but a logarithm that is finite."""
    lowest = -100.0
    others = log_probabilities.scatter(-1, tokens, lowest)
    return others.logsumexp(dim=-1)


class TopLogitsFile:
    """Rows of `TopLogits` in three memory-mapped files, written batch by batch, and taken up where writing was
    interrupted.

    Tokens are in 16 bits where the vocabulary allows that, values in FP16, the rest in FP32: 64 kept tokens of a
    vocabulary of 49,152 take 260 bytes a row.
    """

    def __init__(self, folder: Path, *, rows: int, count: int, vocabulary: int) -> None:
        """Open the files of a folder, or make them; those of another size are made anew."""
        self.folder = folder
        self._count = min(count, vocabulary)
        self._shape = {"rows": rows, "count": self._count, "vocabulary": vocabulary}
        small = vocabulary <= 1 << 16
        kinds = {"tokens": np.uint16 if small else np.int32, "values": np.float16, "rest": np.float32}
        shapes = {"tokens": (rows, self._count), "values": (rows, self._count), "rest": (rows,)}
        folder.mkdir(parents=True, exist_ok=True)
        done = self._read_done()
        mode = "w+" if done is None else "r+"
        self.done = done or 0
        self._arrays = {
            name: np.memmap(folder / f"{name}.bin", dtype=kind, mode=mode, shape=shapes[name])  # type: ignore[call-overload]
            for name, kind in kinds.items()
        }

    @staticmethod
    def nbytes(rows: int, count: int, vocabulary: int) -> int:
        """How much that takes."""
        count = min(count, vocabulary)
        return rows * (count * ((2 if vocabulary <= 1 << 16 else 4) + 2) + 4)

    def write(self, places: torch.Tensor, top: TopLogits) -> None:
        """Put rows at their places."""
        own = places.numpy()
        for name, values in (("tokens", top.tokens), ("values", top.values), ("rest", top.rest)):
            self._arrays[name][own] = values.cpu().numpy().astype(self._arrays[name].dtype)

    def finish_batches(self, done: int) -> None:
        """Note that so many batches are on disk."""
        for values in self._arrays.values():
            values.flush()
        self.done = done
        aside = self.folder / f"{_DONE}.new"
        aside.write_text(json.dumps(self._shape | {"batches": done}), encoding="utf-8")
        aside.replace(self.folder / _DONE)

    def read(self, places: Iterable[int] | torch.Tensor) -> TopLogits:
        """Rows by their places."""
        own = torch.as_tensor(places).numpy()
        kinds = {"tokens": np.int64, "values": np.float32, "rest": np.float32}
        found = [torch.from_numpy(self._arrays[name][own].astype(kind)) for name, kind in kinds.items()]
        return TopLogits(*found)

    def _read_done(self) -> int | None:
        file = self.folder / _DONE
        if not file.is_file():
            return None
        found = json.loads(file.read_text(encoding="utf-8"))
        done = found.pop("batches")
        return done if found == self._shape else None
