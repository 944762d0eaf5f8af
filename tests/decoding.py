"""Greedy decoding of a decoder's graph in plain onnxruntime, in as few lines as it takes: what tests of graphs compare
with transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgelm.export.generation.builder import GeneratorGraph
from edgelm.graph.session import make_plain_session


class Decoding:
    """A batch of texts that grow; each call adds tokens to every one."""

    def __init__(self, graph: GeneratorGraph, batch: int = 1, *, capacity: int | None = None) -> None:
        """Begin with no tokens.

        Args:
            capacity: positions of a cache that is written in place; None: keys and values are new at each call.
        """
        self.graph, self.capacity = graph, capacity
        self.session = make_plain_session(graph.model, threads=1, exact=True)  # some CPUs cut sums of INT8 off
        self.lengths = np.zeros(batch, dtype=np.int64)
        self.cache = {
            spec.name: np.zeros((batch, spec.shape[1], capacity or 0, spec.shape[3]), dtype=spec.dtype)
            for spec in graph.inputs
            if spec.role in ("past-key", "past-value")
        }

    def add(self, tokens: Sequence[Sequence[int]], rows: Sequence[Sequence[int]] | None = None) -> np.ndarray:
        """Logits (batch, rows, vocabulary) at some of the new tokens; by default at the last of each text."""
        counts = np.array([len(row) for row in tokens])
        ids = np.zeros((len(tokens), counts.max()), dtype=np.int64)
        for line, row in zip(ids, tokens, strict=True):
            line[: len(row)] = row
        places = self.lengths[:, None] + np.arange(ids.shape[1])
        self.lengths = self.lengths + counts
        total = places.max() + 1  # room for the padding of the new tokens too
        feeds = {
            "input_ids": ids,
            "attention_mask": (np.arange(total) < self.lengths[:, None]).astype(np.int64),
            "logit_positions": counts[:, None] - 1 if rows is None else np.array(rows),
        }
        if any(spec.role == "positions" for spec in self.graph.inputs):
            feeds["position_ids"] = places
        return self._run(feeds) if self.capacity is None else self._run_in_place(feeds)

    def write(self, prompts: Sequence[Sequence[int]], count: int) -> tuple[list[list[int]], np.ndarray]:
        """Greedy tokens after the prompts, and their logits (batch, count, vocabulary)."""
        logits = [self.add(prompts)[:, 0]]
        while len(logits) < count:
            logits.append(self.add(logits[-1].argmax(axis=-1)[:, None].tolist())[:, 0])
        together = np.stack(logits, axis=1)
        return together.argmax(axis=-1).tolist(), together

    def _run(self, feeds: dict[str, np.ndarray]) -> np.ndarray:
        names = [spec.name for spec in self.graph.outputs]
        given = dict(zip(names, self.session.run(names, feeds | self.cache), strict=True))
        self.cache = {name: given[name.replace("past_key_values", "present")] for name in self.cache}
        logits: np.ndarray = given["logits"]
        return logits

    def _run_in_place(self, feeds: dict[str, np.ndarray]) -> np.ndarray:
        import onnxruntime

        binding: Any = self.session.io_binding()
        binding.bind_output("logits")
        for name, values in feeds.items():
            binding.bind_cpu_input(name, values)
        for name, values in self.cache.items():
            buffer = onnxruntime.OrtValue.ortvalue_from_numpy(values)  # of numpy's memory
            binding.bind_ortvalue_input(name, buffer)
            binding.bind_ortvalue_output(name.replace("past_key_values", "present"), buffer)
        self.session.run_with_iobinding(binding)
        logits: np.ndarray = binding.get_outputs()[0].numpy()
        return logits
