"""One generator in a process of its own: it reads prompts and tokens and times them when told to, for `generators.py`.

Run by the Python of an environment that has the engine; only edgelm's own, and models in PyTorch, need edgelm.
`generator_engines.py ENGINE PATH THREADS` reads lines of JSON, {"before": 256, "tokens": 1, "count": 30}: calls of so
many tokens after so many that were read before, each after a cut to them. It answers a line with the milliseconds of
CPU time and of wall time of each call, and with the most memory that the process has held, in MB.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from peak_memory import peak_mb

POSITIONS = 2048


class Engine(Protocol):
    """Tokens that one sequence has read."""

    def step(self, ids: Sequence[int]) -> object:
        """Read more tokens, and compute the logits of the last."""

    def cut(self, length: int) -> None:
        """Forget all tokens but the first `length`."""


class Edgelm:
    """A graph that `generators.py` made, run as a bundle's is: PATH is the folder."""

    def __init__(self, path: str, threads: int) -> None:
        import onnxruntime

        from edgelm.runtime.generation.reading import Reading
        from edgelm.runtime.graph_spec import GraphSpec
        from edgelm.runtime.pages import release_pages
        from edgelm.tasks.generation import GenerationSettings

        folder, self._settings = Path(path), GenerationSettings(max_new_tokens=1)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.enable_mem_pattern = threads, False
        session = onnxruntime.InferenceSession(folder / "decoder.onnx", options, providers=["CPUExecutionProvider"])
        release_pages(folder / "weights.bin")
        spec = GraphSpec.from_dict(json.loads((folder / "spec.json").read_text()))
        self._reading = Reading.of({"decoder": (session, spec)}, self._settings, context=POSITIONS)
        self.cut(0)

    def step(self, ids: Sequence[int]) -> object:
        decoder = self._reading.decoder
        if decoder.lengths[0] == 0:
            return self._reading([ids], self._settings)
        return decoder.step(np.array([ids], dtype=np.int64))

    def cut(self, length: int) -> None:
        if length:
            self._reading.decoder.truncate(length)
        else:
            self._reading.begin(1)


class LlamaCpp:
    """A GGUF; see `llama_cpp.py` for the library that it needs."""

    def __init__(self, path: str, threads: int) -> None:
        import llama_cpp

        self._model = llama_cpp.LlamaCpp(path, context=POSITIONS, threads=threads)

    def step(self, ids: Sequence[int]) -> object:
        return self._model.step(list(ids))

    def cut(self, length: int) -> None:
        self._model.cut(length)


class Genai:
    """A folder that onnxruntime-genai's model builder made."""

    def __init__(self, path: str, threads: int) -> None:
        import onnxruntime_genai

        self._genai = onnxruntime_genai
        config = onnxruntime_genai.Config(path)
        settings = {"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}
        config.overlay(json.dumps(settings))
        self._model = onnxruntime_genai.Model(config)
        self.cut(0)

    def step(self, ids: Sequence[int]) -> object:
        self._generator.append_tokens(np.array([ids], dtype=np.int32))
        return self._generator.get_logits()

    def cut(self, length: int) -> None:
        if length:
            self._generator.rewind_to(length)
            return
        settings = self._genai.GeneratorParams(self._model)
        settings.set_search_options(max_length=POSITIONS, do_sample=False)
        self._generator = self._genai.Generator(self._model, settings)


class Transformers:
    """A model folder, or a GGUF, in PyTorch FP32."""

    def __init__(self, path: str, threads: int) -> None:
        import torch
        from transformers import DynamicCache

        from edgelm.anatomy import load_checkpoint

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self._new: Any = DynamicCache
        self._model = load_checkpoint(path)
        self._cache: Any = DynamicCache()

    def step(self, ids: Sequence[int]) -> object:
        import torch

        return self._model(torch.tensor([ids]), past_key_values=self._cache, logits_to_keep=1).logits.numpy()

    def cut(self, length: int) -> None:
        if length:
            self._cache.crop(length - self._cache.get_seq_length())
        else:
            self._cache = self._new()


ENGINES: dict[str, Any] = {
    "edgelm": Edgelm,
    "llama.cpp": LlamaCpp,
    "onnxruntime-genai": Genai,
    "transformers": Transformers,
}


def measure(engine: Engine, before: int, tokens: int, count: int) -> tuple[list[float], list[float]]:
    """Milliseconds of CPU time and wall time of each of `count` calls."""
    engine.cut(0)
    if before:
        engine.step([5 + place % 400 for place in range(before)])
    cpu, wall = [], []
    for call in range(count + 1):  # the first one warms up
        started, clock = time.process_time(), time.perf_counter()
        engine.step([7 + (call + place) % 400 for place in range(tokens)])
        cpu.append(1000 * (time.process_time() - started))
        wall.append(1000 * (time.perf_counter() - clock))
        engine.cut(before)
    return cpu[1:], wall[1:]


def main() -> None:
    """Answer one line after another."""
    name, path, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    engine = ENGINES[name](path, threads)
    for line in sys.stdin:
        cpu, wall = measure(engine, **json.loads(line))
        print(json.dumps({"cpu": cpu, "wall": wall, "peak_mb": peak_mb()}), flush=True)


if __name__ == "__main__":
    main()
