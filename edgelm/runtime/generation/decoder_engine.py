"""The engine of a decoder, with its keys and values on the GPU from step to step.

A call reads them from one buffer and writes them, with the new ones behind, to another; the next call reads there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgelm.runtime.bundle import Bundle
from edgelm.runtime.engine import Engine, choose_profile
from edgelm.runtime.engine_plan import EngineRecord
from edgelm.runtime.generation.cache import head_sizes
from edgelm.runtime.graph_spec import GraphSpec
from edgelm.runtime.tensorrt import Backend

_FIRST = 256  # slots of a buffer; then twice as many each time


class DecoderEngine(Engine):
    """A `GrowingCache` (see `edgelm.runtime.generation.growing`) on the GPU.

    Attributes:
        slots: positions that the keys and values have.
        most_rows, most_tokens, most_slots: that the engine was built for.

    Raises (when made):
        BundleError, ResourceError: as `Engine`.
    """

    def __init__(
        self, bundle: Bundle, graph: GraphSpec, record: EngineRecord, backend: Backend, *, cache: Path | None = None
    ) -> None:
        super().__init__(bundle, graph, record, backend, cache=cache)
        self._pairs = graph.cache()
        self._heads = head_sizes(self._pairs)
        self._logits = graph.find("logits").name
        past = {spec.name for spec, _ in self._pairs}
        self._others = [name for name in self._inputs if name not in past]
        axes = [profile.axes for profile in record.plan.profiles]
        self.most_rows: int | None = max(sizes["batch"][2] for sizes in axes)
        self.most_tokens: int | None = max(sizes["sequence"][2] for sizes in axes)
        self.most_slots: int | None = max(sizes["past"][2] for sizes in axes) + 1
        self.slots = self._rows = 0
        self._half = 0  # which of the two buffers of each tensor holds the past
        self._there: dict[str, np.ndarray] = {}  # inputs that do not change from call to call

    def start(self, rows: int) -> None:
        """Have no slots in so many rows."""
        self.slots, self._rows = 0, rows

    def run(self, feeds: dict[str, np.ndarray]) -> np.ndarray:
        """Logits for the other inputs of the graph, (rows, n, vocabulary) float32.

        Raises:
            BundleError: no profile holds the call, or the engine fails.
        """
        stream, sizes = self._stream, self._sizes({name: feeds[name] for name in self._others}) | {"past": self.slots}
        context = self._contexts[choose_profile(self.record.plan.profiles, sizes)]
        held = []  # the copies must live until the GPU has read them
        for name in self._others:
            values = np.ascontiguousarray(feeds[name], dtype=self._types[name])
            held.append(values)
            address = stream.buffer(name, values.nbytes)
            if self._there.get(name) is not feeds[name]:
                address = stream.upload(name, values)
                self._there[name] = feeds[name]
            context.set_input_shape(name, values.shape)
            context.set_tensor_address(name, address)
        total = self.slots + sizes["sequence"]
        for (past, present), (heads, size) in zip(self._pairs, self._heads, strict=True):
            context.set_input_shape(past.name, (self._rows, heads, self.slots, size))
            context.set_tensor_address(past.name, self._buffer(past.name, self._half, self.slots, heads * size))
            context.set_tensor_address(present.name, self._buffer(past.name, 1 - self._half, total, heads * size))
        logits = np.empty(tuple(context.get_tensor_shape(self._logits)), dtype=self._types[self._logits])
        context.set_tensor_address(self._logits, stream.buffer(self._logits, logits.nbytes))
        self._execute(context)
        stream.download(self._logits, logits)
        stream.wait()
        self._keep_kernels()
        self._half, self.slots = 1 - self._half, total
        return logits.astype(np.float32, copy=False)

    def move(self, sources: np.ndarray, begins: np.ndarray, counts: np.ndarray, slots: int) -> None:
        """Have row i hold, on the right of so many slots, `counts[i]` slots of what row `sources[i]` holds, from
        `begins[i]` on."""
        before, self._rows = self.slots, len(sources)
        for (past, _), (heads, size) in zip(self._pairs, self._heads, strict=True):
            channel = size * self._types[past.name].itemsize  # bytes of a slot of one head
            source = self._buffer(past.name, self._half, 0, 0)
            target = self._buffer(past.name, 1 - self._half, slots, heads * size)
            for row, (origin, begin, count) in enumerate(zip(sources, begins, counts, strict=True)):
                self._stream.copy_rows(
                    (target + (row * heads * slots + slots - int(count)) * channel, slots * channel),
                    (source + (int(origin) * heads * before + int(begin)) * channel, before * channel),
                    width=int(count) * channel,
                    rows=heads,
                )
        self._half, self.slots = 1 - self._half, slots

    def _buffer(self, name: str, half: int, slots: int, width: int) -> int:
        """The address of room for keys or values of so many slots; a buffer that is too small is made anew, and what it
        held is lost."""
        room = _FIRST
        while room < slots:
            room *= 2
        if slots == 0 == width:  # as it is
            return self._stream.buffer(f"{name}.{half}", 1)
        return self._stream.buffer(f"{name}.{half}", self._rows * room * width * self._types[name].itemsize)
