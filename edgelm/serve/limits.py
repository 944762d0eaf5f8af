"""What a server takes on at most, so that no client can make it grow or hang."""

from __future__ import annotations

from dataclasses import dataclass

from edgelm.errors import UsageError

LAST_WORDS_S = 5.0  # how long a thread is waited for, when all its requests are answered or given up


@dataclass(frozen=True)
class Limits:
    """Bounds of one server.

    Attributes:
        max_batch: samples that a model reads in one call.
        max_delay_ms: how long the first of a batch waits for others, where the model has nothing else to do; 0: a batch
            is what came while the one before was computed.
        queue: samples, or texts to write, that may wait for each model; more are refused with 429.
        max_texts: samples of one request.
        max_body_mb: of a request, in 10^6 bytes.
        max_tokens: that one answer may be asked to have; it ends there, as at the model's context.
        timeout_s: from a request's first byte to its answer's last.

    Raises:
        UsageError: an impossible value, by its name.
    """

    max_batch: int = 8
    max_delay_ms: float = 0.0
    queue: int = 256
    max_texts: int = 64
    max_body_mb: float = 4.0
    max_tokens: int = 4096
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        for name in ("max_batch", "queue", "max_texts", "max_tokens"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}.", hint="It is at least 1.")
        for name in ("max_body_mb", "timeout_s"):
            if not 0 < getattr(self, name) < 1e6:
                raise UsageError(f"{name} is {getattr(self, name)}.", hint="It is above 0, and below a million.")
        if not 0 <= self.max_delay_ms <= 1000:
            raise UsageError(f"max_delay_ms is {self.max_delay_ms}.", hint="It is between 0 and 1,000 ms.")

    @property
    def most_samples(self) -> int:
        """Samples of a request that can be answered at all: what the queue holds, at most."""
        return min(self.max_texts, self.queue)
