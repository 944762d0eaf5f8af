"""A folder of onnxruntime-genai in its own engine: what bundles are compared with.

The package brings an onnxruntime of its own and stays out of edgelm's environment: EDGELM_GENAI_PYTHON names the
interpreter of one with `pip install onnxruntime-genai`, and the whole worker runs there.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgelm.errors import InputError, UsageError

VARIABLE = "EDGELM_GENAI_PYTHON"
CONFIG_FILE = "genai_config.json"
_FIRST_ROOM = 256  # tokens, as bundles begin with; then twice as many each time


class GenaiEngine:
    """One text that grows in the engine's cache; methods as those of
    `edgelm.profile.generation.bundle.BundleEngine`.

    Raises (when made):
        UsageError: this interpreter has no onnxruntime-genai.
        InputError: it does not open the folder, or the folder is no decoder's.
    """

    reads_sources = False

    def __init__(self, path: str | Path, *, threads: int | None) -> None:
        try:
            self._engine: Any = importlib.import_module("onnxruntime_genai")
        except ImportError as error:
            raise UsageError(
                f"{path}: onnxruntime-genai is needed: {str(error)[:160]}",
                hint=f"Let {VARIABLE} name the Python of an environment with `pip install onnxruntime-genai`.",
            ) from error
        self.vocabulary, self._context = read_sizes(path)
        try:
            config = self._engine.Config(str(path))
            config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}))
            self._model = self._engine.Model(config)
        except Exception as error:  # the package's errors have no common base but Exception
            raise InputError(
                f"{path}: onnxruntime-genai does not open it: {str(error).splitlines()[0][:160]}",
                hint="Make the folder again, such as by `edgelm export --format genai`.",
            ) from error
        self._room = 0
        self._text: Any = None
        version = getattr(self._engine, "__version__", "")
        self.chosen: dict[str, Any] = {
            "runs_on": f"cpu, by onnxruntime-genai {version}".strip(),
            "provider": "cpu",
        }

    def forget(self, room: int) -> None:
        """Begin with nothing read; the cache, which the engine makes at once, is made anew where it has no such
        room."""
        room = min(room, self._context)
        if room > self._room:
            self._text = None
            self._room = min(max(_FIRST_ROOM, 1 << (room - 1).bit_length()), self._context)
            settings = self._engine.GeneratorParams(self._model)
            settings.set_search_options(do_sample=False, max_length=self._room)
            self._text = self._engine.Generator(self._model, settings)
        self.cut(0)

    def read(self, ids: Sequence[int]) -> None:
        """Read a prompt up to the logits of the first token."""
        self.step(ids)

    def step(self, ids: Sequence[int]) -> None:
        """Read tokens behind those that are there, up to the logits of the next."""
        self._text.append_tokens(list(ids))

    def cut(self, length: int) -> None:
        """Forget all but the first tokens."""
        if self._text.token_count() > length:
            self._text.rewind_to(length)

    def cache_bytes(self, length: int) -> None:
        """Not known: the engine does not say it."""


def read_sizes(path: str | Path) -> tuple[int, int]:
    """Tokens of the vocabulary and positions that a folder's model can hold.

    Raises:
        InputError: its settings cannot be read, or are not those of a decoder that reads text.
    """
    file = Path(path) / CONFIG_FILE
    try:
        model = json.loads(file.read_text(encoding="utf-8"))["model"]
        if "decoder" not in model or {"encoder", "vision", "speech"} & model.keys():
            raise ValueError("it is of no decoder that reads text alone")
        return int(model["vocab_size"]), int(model["context_length"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file}: not the settings of a decoder: {type(error).__name__}: {str(error)[:160]}.",
            hint="Make the folder again, such as by `edgelm export --format genai`.",
        ) from error
