"""The graph that reads tokens and gives the logits of what may come next, with its cache; and an encoder before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgelm.errors import BundleError
from edgelm.runtime.generation.binding import Binding
from edgelm.runtime.generation.cache import Cache
from edgelm.runtime.graph_spec import GraphSpec, Role

DECODER, ENCODER = "decoder", "encoder"  # the graphs' names
SOURCES = "sources"  # the first axis of cross keys and values where rows of one source read them in common
_CROSS: tuple[Role, Role] = ("cross-key", "cross-value")


class Decoder:
    """Rows of tokens that grow step by step. Rows may differ in length after the first step.

    Args:
        session: of the graph.
        spec: what the manifest says of it: roles tokens and logits, past and present keys and values; where it reads
            them mask, positions, rows, memory-mask, cross keys and values.
        context: the longest row; 0: no limit.

    Attributes:
        lengths: how many tokens each row has, (rows,) int64.
        session: of the graph.
        vocabulary: how many logits a token has.
        piece: tokens of a long prompt that are best read at once; more take more memory and, on a CPU, no less time.
    """

    piece = 128

    def __init__(self, session: Any, spec: GraphSpec, *, context: int = 0) -> None:
        self.spec, self.context = spec, context
        self.lengths = np.zeros(0, dtype=np.int64)
        self._names = {role: spec.find(role).name for role in ("tokens", "logits")}
        self._names |= {
            role: spec.find(role).name for role in ("mask", "positions", "rows", "memory-mask") if spec.names(role)
        }
        shape = spec.find("logits").shape
        vocabulary = shape[-1] if shape else None
        if not isinstance(vocabulary, int):
            raise BundleError(
                "manifest.json: the number of logits of a generator must be known.", hint="Export the bundle again."
            )
        self.vocabulary = vocabulary
        self.session = session
        self._open()
        self._buffers: dict[str, np.ndarray] = {}
        self._ones = np.ones(0, dtype=np.int64)
        self._shared = 0  # first positions that all rows of one source have alike
        self._memory: Memory | None = None
        self._sources = np.zeros(0, dtype=np.int64)  # whose memory each row reads
        self._given: np.ndarray | None = None  # whose memory is bound
        # Whether the graph tells sources from rows, by the name of the axis.
        self._reads_sources = any(one.role in _CROSS and one.shape[0] == SOURCES for one in spec.inputs)

    @property
    def most_rows(self) -> int | None:
        """How many rows there may be; None: any number."""
        return None

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.lengths)

    def start(self, rows: int, *, memory: Memory | None = None) -> None:
        """Begin so many empty rows.

        Args:
            memory: what an encoder made of their sources, one a row.
        """
        self.lengths = np.zeros(rows, dtype=np.int64)
        self._shared = 0
        self._memory, self._sources, self._given = memory, np.arange(rows), None
        self._bind_memory()

    def step(
        self, ids: np.ndarray, *, counts: np.ndarray | None = None, wanted: np.ndarray | None = None
    ) -> np.ndarray:
        """Read the next tokens of every row.

        Args:
            ids: (rows, tokens) int64.
            counts: how many of them each row really has, (rows,); the others, behind them, are padding. None: all.
                Unlike counts only where the rows are empty: prompts.
            wanted: of which of them, by place, the logits are needed, (rows, n) int64; None: of the last of each.

        Returns:
            (rows, n, vocabulary) float32, which the next step writes over.

        Raises:
            BundleError: the graph fails.
        """
        rows, tokens = ids.shape
        lengths = self.lengths + (tokens if counts is None else counts)
        filled = int(self.lengths.max())
        positions = filled + tokens
        if filled:
            if positions > self.cache.capacity:  # buffers that nobody holds are freed as they are replaced
                self._binding.clear()
                self._given = None
                self._bind_memory()
            self.cache.reserve(positions, filled=filled)
        else:
            self.cache.start(rows, positions)
        binding = self._binding
        self._bind_cache()
        binding.read(self._names["tokens"], self._kept("ids", ids))
        if "mask" in self._names:
            binding.read(self._names["mask"], self._mask(lengths, positions))
        if "positions" in self._names:
            places = self.lengths[:, None] + np.arange(tokens)
            binding.read(self._names["positions"], self._kept("positions", places))
        if wanted is None:
            wanted = (np.array([[tokens]] * rows) if counts is None else counts[:, None]) - 1
        logits = self._logits(rows, wanted.shape[1] if "rows" in self._names else tokens)
        if "rows" in self._names:
            binding.read(self._names["rows"], self._kept("rows", wanted))
        binding.write(self._names["logits"], logits)
        binding.run()
        self.lengths = lengths
        return logits if "rows" in self._names else np.take_along_axis(logits, wanted[:, :, None], axis=1)

    def reorder(self, rows: np.ndarray) -> None:
        """Have row i go on from where row `rows[i]` is; there may be fewer of them then, or more."""
        filled, sources = int(self.lengths.max()), self._sources[rows]
        same_sources = np.array_equal(sources, self._sources)
        if len(rows) > self.rows:
            self._shared = int(self.lengths.min())  # of the prompts, which the rows of one source have in common
        self.cache.reorder(rows, shared=self._shared if same_sources else 0, filled=filled)
        self.lengths, self._sources = self.lengths[rows], sources
        self._bind_memory()

    def truncate(self, length: int) -> None:
        """Forget what is behind the first `length` tokens of each row."""
        self.lengths = np.minimum(self.lengths, length)
        self._shared = min(self._shared, length)

    def _open(self) -> None:
        """Make ready what the graph reads and writes."""
        self.cache = Cache(self.spec.cache(), context=self.context)
        self._binding = Binding(self.session)
        self._bound_version = 0

    def _give(self, memory: dict[str, np.ndarray]) -> None:
        """Have the graph read what an encoder made, by the names of its inputs."""
        for name, array in memory.items():
            self._binding.read(name, array)

    def _bind_cache(self) -> None:
        if self._bound_version != self.cache.version:
            for (past, present), buffer in zip(self.cache.pairs, self.cache.buffers, strict=True):
                self._binding.read(past.name, buffer)
                self._binding.write(present.name, buffer)
            self._bound_version = self.cache.version

    def _bind_memory(self) -> None:
        """Have each row read its source's memory. A graph that reads it once for all rows of a source, which then stand
        side by side and are equally many, is given it once."""
        if self._memory is None:
            return
        sources, rows = np.unique(self._sources), self._sources
        if self._reads_sources and np.array_equal(np.repeat(sources, len(rows) // len(sources)), rows):
            rows = sources
        if self._given is not None and np.array_equal(rows, self._given):
            return
        everyone = np.array_equal(rows, np.arange(len(self._memory.mask)))
        self._given, memory = rows, self._memory if everyone else self._memory.take(rows)
        masks = {self._names["memory-mask"]: memory.mask} if "memory-mask" in self._names else {}
        self._give(memory.arrays | masks)

    def _kept(self, name: str, values: np.ndarray) -> np.ndarray:
        """The values in an array that stays where it is, as long as their shape is the same."""
        buffer = self._buffers.get(name)
        if buffer is None or buffer.shape != values.shape:
            buffer = self._buffers[name] = np.empty(values.shape, dtype=np.int64)
        buffer[...] = values
        return buffer

    def _mask(self, lengths: np.ndarray, total: int) -> np.ndarray:
        """(rows, total) int64: 1 where a row has a token."""
        if len(lengths) > 1:
            return (np.arange(total) < lengths[:, None]).astype(np.int64)
        if len(self._ones) < total:
            self._ones = np.ones(max(2 * total, 256), dtype=np.int64)
        return self._ones[None, :total]

    def _logits(self, rows: int, count: int) -> np.ndarray:
        buffer = self._buffers.get("logits")
        if buffer is None or buffer.shape[:2] != (rows, count):
            buffer = self._buffers["logits"] = np.empty((rows, count, self.vocabulary), dtype=np.float32)
        return buffer


class Memory:
    """What an encoder made of sources: keys and values of cross attention, and where the sources have tokens.

    Attributes:
        arrays: by the decoder's names, each (rows, heads, source tokens, head size).
        mask: (rows, source tokens) int64.
    """

    def __init__(self, arrays: dict[str, np.ndarray], mask: np.ndarray) -> None:
        self.arrays, self.mask = arrays, mask

    def take(self, rows: np.ndarray) -> Memory:
        """Those of other rows."""
        return Memory({name: array[rows] for name, array in self.arrays.items()}, self.mask[rows])


class SourceEncoder:
    """The graph that reads sources.

    Args:
        session: of the graph.
        spec, decoder: what the manifest says of it and of the graph that reads what it gives.

    Raises:
        BundleError: the decoder reads what this graph does not give.
    """

    def __init__(self, session: Any, spec: GraphSpec, decoder: GraphSpec) -> None:
        self.session = session
        self._tokens, self._masked = spec.find("tokens").name, [*spec.names("mask")]
        given = {(output.role, output.layer): output.name for output in spec.outputs}
        self._names = {}  # of the decoder, by those of the encoder
        for wanted in decoder.inputs:
            if wanted.role in _CROSS:
                if (wanted.role, wanted.layer) not in given:
                    raise BundleError(
                        f"manifest.json: the encoder does not give {wanted.name}.", hint="Export the bundle again."
                    )
                self._names[given[wanted.role, wanted.layer]] = wanted.name

    def __call__(self, sources: Sequence[Sequence[int]], *, pad_id: int) -> Memory:
        """Read sources, each of at least one token.

        Raises:
            BundleError: the graph fails.
        """
        ids, counts = pad(sources, pad_id)
        mask = (np.arange(ids.shape[1]) < counts[:, None]).astype(np.int64)
        feeds = {self._tokens: ids} | dict.fromkeys(self._masked, mask)
        try:
            found = self.session.run(list(self._names), feeds)
        except Exception as error:  # onnxruntime's exceptions have no common base but Exception
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise BundleError(
                f"the encoder cannot take sources of shape {ids.shape}: {reason[:200]}",
                hint="`edgelm verify` checks the bundle; export it again if it passes.",
            ) from error
        return Memory(dict(zip(self._names.values(), found, strict=True)), mask)


def pad(texts: Sequence[Sequence[int]], pad_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Texts in one array, (texts, longest) int64, filled up on the right; and how long each is, (texts,)."""
    counts = np.array([len(text) for text in texts], dtype=np.int64)
    ids = np.full((len(texts), int(counts.max())), pad_id, dtype=np.int64)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = text
    return ids, counts
