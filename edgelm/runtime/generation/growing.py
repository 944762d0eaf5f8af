"""A decoder whose keys and values grow, a tensor for the past and one with the new tokens behind: what graphs in
standard operators do, and engines of TensorRT.

Rows stand on the right: a shorter one is padded on the left, so that the new tokens of all of them follow each other in
the same slots.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from edgelm.errors import UsageError
from edgelm.runtime.generation.binding import refusal
from edgelm.runtime.generation.cache import head_sizes
from edgelm.runtime.generation.decoder import Decoder, Memory
from edgelm.runtime.generation.decoder_engine import DecoderEngine
from edgelm.runtime.graph_spec import GraphSpec
from edgelm.runtime.session import CUDA

_GPU_PIECE = 512  # tokens that a GPU reads at once about as fast as a few


class GrowingCache(Protocol):
    """Runs a graph, and keeps the keys and values that it gives for the next run.

    Attributes:
        slots: how many positions they have.
        most_rows, most_tokens, most_slots: that a run takes; None: any number.
    """

    slots: int
    most_rows: int | None
    most_tokens: int | None
    most_slots: int | None

    def start(self, rows: int) -> None:
        """Have no slots in so many rows."""

    def run(self, feeds: dict[str, np.ndarray]) -> np.ndarray:
        """Logits for the other inputs of the graph; there are as many more slots as tokens then.

        Raises:
            BundleError: the graph fails.
        """

    def move(self, sources: np.ndarray, begins: np.ndarray, counts: np.ndarray, slots: int) -> None:
        """Have row i hold, on the right of so many slots, `counts[i]` slots of what row `sources[i]` holds, from
        `begins[i]` on."""


class SessionCache:
    """A `GrowingCache` for a session of onnxruntime, on the device that it runs on: what it gives as present, it reads
    there as past. Logits alone come back to the host at each run.

    Args:
        session: of the graph.
        spec: what the manifest says of it.

    Attributes:
        device: by onnxruntime's name, `cuda` or `cpu`.
    """

    most_rows: int | None = None
    most_tokens: int | None = None
    most_slots: int | None = None

    def __init__(self, session: Any, spec: GraphSpec) -> None:
        import onnxruntime

        self.slots = 0
        self.device = "cuda" if session.get_providers()[0] == CUDA else "cpu"
        self._session, self._pairs, self._sizes = session, spec.cache(), head_sizes(spec.cache())
        self._values, self._binding = onnxruntime.OrtValue, session.io_binding()
        self._logits = spec.find("logits").name
        self._past: list[Any] = []
        self._there: dict[str, np.ndarray] = {}  # inputs by what is bound; they live as long as they are

    def start(self, rows: int) -> None:
        """See `GrowingCache`."""
        self.slots = 0
        self._past = [
            self._put(np.zeros((rows, heads, 0, size), dtype=past.dtype))
            for (past, _), (heads, size) in zip(self._pairs, self._sizes, strict=True)
        ]

    def run(self, feeds: dict[str, np.ndarray]) -> np.ndarray:
        """See `GrowingCache`."""
        binding = self._binding
        try:
            for name, values in feeds.items():
                if self._there.get(name) is not values:  # keys and values of a source go to the device once
                    self._there[name] = np.ascontiguousarray(values)
                    binding.bind_cpu_input(name, self._there[name])
            binding.bind_output(self._logits)
            for (past, present), value in zip(self._pairs, self._past, strict=True):
                binding.bind_ortvalue_input(past.name, value)
                binding.bind_output(present.name, self.device)  # made anew, as long as it must be
            self._session.run_with_iobinding(binding)  # returns when the device is done
        except Exception as error:  # onnxruntime's exceptions have no common base but Exception
            raise refusal(error, feeds) from error
        logits, *self._past = binding.get_outputs()
        self.slots = self._past[0].shape()[2]
        found: np.ndarray = logits.numpy()
        return found

    def move(self, sources: np.ndarray, begins: np.ndarray, counts: np.ndarray, slots: int) -> None:
        """See `GrowingCache`. It goes by the host: onnxruntime moves nothing within a device."""
        self.slots = slots
        for place, value in enumerate(self._past):
            old = value.numpy()
            new = np.zeros((len(sources), old.shape[1], slots, old.shape[3]), dtype=old.dtype)
            for row, (source, begin, count) in enumerate(zip(sources, begins, counts, strict=True)):
                new[row, :, slots - count :] = old[source, :, begin : begin + count]
            self._past[place] = self._put(new)

    def _put(self, values: np.ndarray) -> Any:
        # What is empty has no place on a GPU: onnxruntime takes it from the host.
        return self._values.ortvalue_from_numpy(values, self.device if values.size else "cpu", 0)


class GrowingDecoder(Decoder):
    """Rows of tokens that grow step by step, see `Decoder`.

    Args:
        session: of the graph; one that is a `GrowingCache` itself keeps keys and values where it runs.
    """

    def __init__(self, session: Any, spec: GraphSpec, *, context: int = 0) -> None:
        self._fed: dict[str, np.ndarray] = {}
        super().__init__(session, spec, context=context)

    @property
    def most_rows(self) -> int | None:
        """How many rows there may be; None: any number."""
        return self._grown.most_rows

    def start(self, rows: int, *, memory: Memory | None = None) -> None:
        """See `Decoder.start`.

        Raises:
            UsageError: more rows than the graph was built for.
        """
        self._check_rows(rows)
        self._grown.start(rows)
        super().start(rows, memory=memory)

    def step(
        self, ids: np.ndarray, *, counts: np.ndarray | None = None, wanted: np.ndarray | None = None
    ) -> np.ndarray:
        """See `Decoder.step`; more tokens than the graph takes at once are read in pieces."""
        rows, tokens = ids.shape
        new = np.full(rows, tokens) if counts is None else counts
        padding = tokens - new
        ids = np.stack([np.roll(row, shift) for row, shift in zip(ids, padding, strict=True)])
        places = np.full((rows, 1), tokens - 1) if wanted is None else wanted + padding[:, None]
        asked = places if "rows" in self._names else np.broadcast_to(np.arange(tokens), (rows, tokens))
        most = self._grown.most_tokens or tokens
        logits = np.empty((rows, asked.shape[1], self.vocabulary), dtype=np.float32)
        for begin in range(0, tokens, most):
            end = min(begin + most, tokens)
            after = np.clip(end - padding, 0, new)  # tokens of each row that are read then
            here = np.flatnonzero(((asked >= begin) & (asked < end)).any(axis=0))
            some = asked[:, here] if len(here) else np.full((rows, 1), begin)  # a call asks for one place at least
            part = self._run(ids[:, begin:end], self.lengths + after, np.clip(some - begin, 0, end - begin - 1))
            for place, column in enumerate(here):
                inside = (asked[:, column] >= begin) & (asked[:, column] < end)
                logits[inside, column] = part[inside, place]
        self.lengths = self.lengths + new
        return logits if "rows" in self._names else np.take_along_axis(logits, places[:, :, None], axis=1)

    def reorder(self, rows: np.ndarray) -> None:
        """See `Decoder.reorder`."""
        self._check_rows(len(rows))
        self._move(rows, self.lengths[rows])
        self._sources = self._sources[rows]
        self._bind_memory()

    def truncate(self, length: int) -> None:
        """See `Decoder.truncate`."""
        self._move(np.arange(self.rows), np.minimum(self.lengths, length))

    def _open(self) -> None:
        self._grown: DecoderEngine | SessionCache = (
            self.session if isinstance(self.session, DecoderEngine) else SessionCache(self.session, self.spec)
        )
        if isinstance(self._grown, DecoderEngine) or self._grown.device == "cuda":
            self.piece = _GPU_PIECE
        most = self._grown.most_slots
        if most is not None:
            self.context = min(self.context or most, most)

    def _give(self, memory: dict[str, np.ndarray]) -> None:
        self._fed = memory

    def _run(self, ids: np.ndarray, lengths: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """Logits of a piece of tokens, where rows have so many once it is read."""
        tokens = ids.shape[1]
        total = self._grown.slots + tokens
        slots = np.arange(total)
        feeds = {self._names["tokens"]: np.ascontiguousarray(ids)}
        if "mask" in self._names:
            feeds[self._names["mask"]] = (slots >= total - lengths[:, None]).astype(np.int64)
        if "positions" in self._names:
            places = slots[total - tokens :] - (total - lengths[:, None])
            feeds[self._names["positions"]] = np.maximum(places, 0)
        if "rows" in self._names:
            feeds[self._names["rows"]] = np.ascontiguousarray(wanted)
        return self._grown.run(feeds | self._fed)

    def _move(self, sources: np.ndarray, lengths: np.ndarray) -> None:
        """Have row i hold the first `lengths[i]` tokens of row `sources[i]`."""
        slots, held = int(lengths.max()), self.lengths[sources]
        same = len(sources) == self.rows and (sources == np.arange(len(sources))).all() and (held == lengths).all()
        if not same or slots != self._grown.slots:
            self._grown.move(sources, self._grown.slots - held, lengths, slots)
        self.lengths = lengths

    def _check_rows(self, rows: int) -> None:
        most = self.most_rows
        if most is not None and rows > most:
            raise UsageError(
                f"the engine writes {most} rows at once, and {rows} are asked for.",
                hint="Give fewer beams, or --provider cpu.",
            )


def open_decoder(session: Any, spec: GraphSpec, *, context: int = 0) -> Decoder:
    """A decoder of the kind that the graph is for."""
    return (GrowingDecoder if spec.grows else Decoder)(session, spec, context=context)
