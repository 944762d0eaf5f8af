"""A generator's bundle, driven step by step as its own writing is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgelm.profile.generation.cache import cache_bytes
from edgelm.runtime import Bundle, load
from edgelm.runtime.generation.decoder import DECODER
from edgelm.runtime.session import make_session
from edgelm.tasks.generation import GenerationSettings


class BundleEngine:
    """One text that grows in the cache of a bundle's graphs.

    Attributes:
        vocabulary: how many tokens there are.
        reads_sources: an encoder reads what is given; the decoder's text then begins with one token.
        chosen: what runs it, and why.
    """

    def __init__(self, bundle: Bundle, *, threads: int | None, provider: str | None) -> None:
        self._bundle, self._threads = bundle, threads
        generator = load(bundle, threads=threads, provider=provider)
        self._reading = generator.reading
        self._decoder = self._reading.decoder
        self._settings = GenerationSettings(max_new_tokens=1)
        self.vocabulary = int(self._decoder.vocabulary)
        self.reads_sources = self._reading.encoder is not None
        opened = generator.opened
        self.chosen: dict[str, Any] = {"runs_on": opened.why, "provider": opened.provider, "engine": None}
        self.chosen["passed"] = [{"name": entry.name, "reason": entry.reason} for entry in opened.passed]

    def forget(self, room: int) -> None:
        """Begin with nothing read; the cache grows by itself to the room that is needed."""
        self._reading.begin(1)

    def read(self, ids: Sequence[int]) -> None:
        """Read a prompt, or a source, up to the logits of the first token."""
        self._reading([list(ids)], self._settings)

    def step(self, ids: Sequence[int]) -> None:
        """Read tokens behind those that are there, up to the logits of the next."""
        self._decoder.step(np.array([ids], dtype=np.int64))

    def cut(self, length: int) -> None:
        """Forget all but the first tokens."""
        self._decoder.truncate(length)

    def cache_bytes(self, length: int) -> int:
        """What keys and values of so many tokens take, and those of a source of as many."""
        return cache_bytes(self._decoder.spec, length)

    def open_sessions(self) -> None:
        """Make the sessions of its graphs again; they are not kept."""
        bundle = replace(self._bundle, check_hashes=False)
        for graph in bundle.manifest.graphs:
            make_session(bundle, name=graph.name, threads=self._threads, growing=graph.name == DECODER)

    def trace(self, prefix: Path, ids: Sequence[int], runs: int) -> Path:
        """Have onnxruntime's profiler watch so many steps, of a text that begins empty or with a source; its file."""
        session = make_session(self._bundle, name=DECODER, threads=self._threads, growing=True, profile=str(prefix))
        decoder = type(self._decoder)(session, self._decoder.spec, context=self._decoder.context)
        encoder = self._reading.encoder
        decoder.start(1, memory=None if encoder is None else encoder([list(ids)], pad_id=0))
        for number in range(runs):
            if decoder.context and decoder.lengths[0] == decoder.context:
                decoder.truncate(1)
            decoder.step(np.array([[ids[number % len(ids)]]], dtype=np.int64))
        return Path(session.end_profiling())
