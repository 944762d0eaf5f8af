"""A GGUF in llama.cpp: what bundles are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgelm.errors import InputError, UsageError
from edgelm.profile.generation.llama_cpp import VARIABLE, LlamaCpp

_FIRST_ROOM = 256  # tokens, as bundles begin with; then twice as many each time


class GgufEngine:
    """One text that grows in llama.cpp's cache; methods as those of `edgelm.profile.generation.bundle.BundleEngine`.

    Raises (when made):
        UsageError: llama.cpp's library is not there, or is of another version.
        InputError: llama.cpp does not take the file.
    """

    reads_sources = False

    def __init__(self, path: str | Path, *, threads: int | None) -> None:
        self._path, self._threads = path, threads
        self._model = self._open(_FIRST_ROOM)
        self.vocabulary = self._model.size
        self.chosen: dict[str, Any] = {"runs_on": "cpu, by llama.cpp", "provider": "cpu"}

    def forget(self, room: int) -> None:
        """Begin with nothing read; the cache, which llama.cpp makes at once, is made anew where it has no such room."""
        if room > self._model.context:
            self._model.close()
            self._model = self._open(1 << (room - 1).bit_length())
        self._model.cut(0)

    def read(self, ids: Sequence[int]) -> None:
        """Read a prompt up to the logits of the first token."""
        self._model.step(ids)

    def step(self, ids: Sequence[int]) -> None:
        """Read tokens behind those that are there, up to the logits of the next."""
        self._model.step(ids)

    def cut(self, length: int) -> None:
        """Forget all but the first tokens."""
        self._model.cut(length)

    def cache_bytes(self, length: int) -> None:
        """Not known: llama.cpp does not say it."""

    def _open(self, room: int) -> LlamaCpp:
        try:
            return LlamaCpp(self._path, context=room, threads=self._threads or 1)
        except ValueError as error:
            raise InputError(f"{str(error)[:200]}", hint="Give a GGUF that llama.cpp v0.5.0 runs.") from error
        except OSError as error:
            raise UsageError(
                f"{self._path}: llama.cpp is needed: {str(error)[:160]}",
                hint=f"Let {VARIABLE} name the folder of llama.cpp v0.5.0 (npm's @node-llama-cpp/linux-x64 3.22.1).",
            ) from error
