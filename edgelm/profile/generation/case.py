"""What was timed of a model that writes: prompts up to their first token, and single tokens behind a context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgelm.profile.generation.worker import FIRST
from edgelm.profile.interval import Ratio
from edgelm.profile.samples import Samples, rounds_of


@dataclass(frozen=True)
class GenerationCase(Samples):
    """One length of a prompt, or one context.

    Attributes:
        measure: `first-token`: a prompt, or an encoder-decoder's source, is read from nothing up to the logits of what
            comes first; `token`: one token more is read behind a context, up to the logits of the next, and forgotten
            again.
        tokens: of the prompt, or of the context; an encoder-decoder has a source of as many beside it.
        samples_ms, block, inputs, ratio: as in `Samples`.
        cache_mb: what keys and values of so many tokens take (10^6 bytes), calculated; None: not known.
        peak_memory_mb: the most that a fresh process held which read a text of so many tokens (10^6 bytes), shorter
            ones before it; median of several. None for prompts.
    """

    measure: str
    tokens: int
    samples_ms: tuple[float, ...]
    block: int
    inputs: int = 1
    ratio: Ratio | None = None
    cache_mb: float | None = None
    peak_memory_mb: float | None = None

    @property
    def label(self) -> str:
        """The case in words."""
        return f"prompt of {self.tokens:,} tokens" if self.measure == FIRST else f"context of {self.tokens:,} tokens"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with statistics, and tokens a second (from the mean): those read of a prompt, or written."""
        read = self.tokens if self.measure == FIRST else 1
        what = {"measure": self.measure, "tokens": self.tokens}
        memory = {"cache_mb": self.cache_mb, "peak_memory_mb": self.peak_memory_mb}
        rate = {"tokens_per_s": 1000 * read / self.mean_ms, "samples_ms": list(self.samples_ms)}
        return what | self.statistics() | memory | rate

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GenerationCase:
        """The inverse of `to_dict`."""
        what = {name: values[name] for name in ("measure", "tokens", "cache_mb", "peak_memory_mb")}
        return cls(**what | rounds_of(values) | {"samples_ms": tuple(values["samples_ms"])})
