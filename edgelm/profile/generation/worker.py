"""What a worker does whose subject writes text: it reads prompts, and goes on from contexts, one token at a time."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgelm.errors import UsageError
from edgelm.profile.timed_calls import TimedCalls, sum_operators
from edgelm.runtime import open_bundle

if TYPE_CHECKING:
    from edgelm.profile.generation.bundle import BundleEngine

FIRST, NEXT = "first-token", "token"  # what is timed: a prompt up to its logits, or one more token behind a context
_FIRST_ID, _STRIDE = 5, 31  # made-up texts walk through the vocabulary, past the usual special tokens


class Engine(Protocol):
    """What runs a generator; see `edgelm.profile.generation.bundle.BundleEngine`."""

    vocabulary: int
    reads_sources: bool
    chosen: dict[str, Any]

    def forget(self, room: int) -> None: ...

    def read(self, ids: Sequence[int]) -> None: ...

    def step(self, ids: Sequence[int]) -> None: ...

    def cut(self, length: int) -> None: ...

    def cache_bytes(self, length: int) -> int | None: ...


class GenerationWorker(TimedCalls):
    """The subject, loaded, and the case at hand: of one feed, {"measure": ..., "tokens": ...}."""

    def __init__(
        self,
        *,
        kind: str,
        path: str,
        threads: int | None,
        session: dict[str, Any] | None,
        provider: str | None = None,
        precision: str = "fp32",
        compiled: str | None = None,
    ) -> None:
        super().__init__()
        if compiled:
            raise UsageError(f"{path} writes text; it is measured eager alone.", hint="Leave `compiled` out.")
        start = time.perf_counter()
        self.engine: Engine
        self._opened: BundleEngine | None = None
        if kind == "bundle":
            from edgelm.profile.generation.bundle import BundleEngine

            bundle = open_bundle(path)
            bundle = bundle if session is None else bundle.with_settings(session)
            self.engine = self._opened = BundleEngine(bundle, threads=threads, provider=provider)
        elif kind == "gguf":
            from edgelm.profile.generation.gguf import GgufEngine

            self.engine = GgufEngine(path, threads=threads)
        elif kind == "genai":
            from edgelm.profile.generation.genai import GenaiEngine

            self.engine = GenaiEngine(path, threads=threads)
        else:
            from edgelm.profile.generation.pytorch import PyTorchEngine

            self.engine = PyTorchEngine(path, threads=threads, provider=provider or "cpu", precision=precision)
        self.load_ms = (time.perf_counter() - start) * 1000
        self.chosen = self.engine.chosen
        self.call = self._call
        self._ids: list[int] = []

    def prepare(self, *, feeds: list[dict[str, Any]]) -> dict[str, Any]:
        """Come to where the case begins, and run it once. The answer has what keys and values take there, in 10^6
        bytes, where that is known."""
        (feed,) = self.feeds = feeds
        tokens = int(feed["tokens"])
        self._ids = made_up(tokens, self.engine.vocabulary)
        self.engine.forget(tokens + 1)
        self.engine.read(self._ids)
        if self.engine.reads_sources and tokens > 1:  # a translation is about as long as its source
            self.engine.step(self._ids[1:])
        held = self.engine.cache_bytes(tokens)
        self.ready(feed)
        self.call(feed)
        self.next = 0
        return {"cache_mb": None if held is None else held / 1e6}

    def ready(self, feed: dict[str, Any]) -> None:
        """A prompt is read from nothing; a token behind exactly its context."""
        if feed["measure"] == FIRST:
            self.engine.forget(len(self._ids) + 1)
        else:
            self.engine.cut(len(self._ids))

    def sessions(self, *, count: int) -> dict[str, Any]:
        """Time of making a bundle's sessions again, in ms; none for other subjects."""
        samples: list[float] = []
        if self._opened is None:
            return {"samples_ms": samples}
        for _ in range(count):
            start = time.perf_counter()
            self._opened.open_sessions()
            samples.append((time.perf_counter() - start) * 1000)
        return {"samples_ms": samples}

    def operators(self, *, runs: int) -> dict[str, Any]:
        """Time by operator of single tokens, by onnxruntime's own profiler, in a second session; of an encoder-decoder
        that of the decoder."""
        if self._opened is None:
            return {"operators": []}
        with tempfile.TemporaryDirectory() as folder:
            file = self._opened.trace(Path(folder) / "operators", self._ids, runs)
            return {"operators": sum_operators(json.loads(file.read_text()), runs)}

    def _call(self, feed: dict[str, Any]) -> None:
        if feed["measure"] == FIRST:
            self.engine.read(self._ids)
        else:
            self.engine.step(self._ids[:1])


def made_up(tokens: int, vocabulary: int) -> list[int]:
    """So many ids of a vocabulary, spread over it: which they are does not matter to how long they take."""
    room = max(1, vocabulary - _FIRST_ID)
    return [min(vocabulary - 1, _FIRST_ID + place * _STRIDE % room) for place in range(tokens)]
