"""What Prometheus is told: requests, waiting samples, sizes of batches, times and tokens."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The figures of one server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = there = CollectorRegistry()
        self._requests = Counter(
            "edgelm_requests", "Requests that were answered.", ("door", "model", "status"), registry=there
        )
        self._seconds = Histogram(
            "edgelm_request_seconds",
            "From a request's first byte to its answer's last.",
            ("door", "model"),
            buckets=_SECONDS,
            registry=there,
        )
        self._queue = Gauge("edgelm_queue_length", "Samples, or texts to write, that wait.", ("model",), registry=there)
        self._batches = Histogram(
            "edgelm_batch_size", "Samples that were read in one call.", ("model",), buckets=_SIZES, registry=there
        )
        self._tokens = Counter(
            "edgelm_tokens", "Tokens that were read, and written.", ("model", "kind"), registry=there
        )

    def request(self, door: str, model: str, status: int, seconds: float) -> None:
        """A request has ended.

        Args:
            door: which of the server's it came in by.
            model: a served one's name; empty where it asked for none.
        """
        self._requests.labels(door, model, str(status)).inc()
        self._seconds.labels(door, model).observe(seconds)

    def of(self, model: str, waiting: Callable[[], int]) -> ModelMetrics:
        """What a model tells.

        Args:
            waiting: how many samples wait for it.
        """
        self._queue.labels(model).set_function(waiting)
        return ModelMetrics(
            self._batches.labels(model).observe,
            self._tokens.labels(model, "read").inc,
            self._tokens.labels(model, "written").inc,
        )

    def text(self) -> bytes:
        """All figures, as Prometheus reads them."""
        return generate_latest(self._registry)


class ModelMetrics:
    """Where a model's figures go; each is called with a number."""

    def __init__(
        self, batch: Callable[[float], None], read: Callable[[float], None], written: Callable[[float], None]
    ) -> None:
        self.batch, self.read, self.written = batch, read, written
