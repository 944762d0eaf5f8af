"""The text of a program, which native/src/program.cpp reads: words between white space, then the bytes of constants
that do not lie in the bundle's weights."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from edgelm.graph.native.buffers import Buffer, share_buffers
from edgelm.graph.native.view import GraphView

_VERSION, _HALVING, _LATER = 1, 2, 3  # of the format: the least that a library must know
_OF_LATER = ("leave ", " nibbles ")  # words of steps: texts that leave early, tables of 4 bits
_ALIGNMENT = 4  # bytes


@dataclass(frozen=True)
class Quantizer:
    """How floats become bytes: round(x * factor / scale) + zero; factors: one a channel, None: 1."""

    scale: float
    zero: int
    factors: str | np.ndarray | None = None


class ProgramWriter:
    """Collects the buffers and steps of a program."""

    def __init__(self, view: GraphView, longest: int | None = None) -> None:
        self._view = view
        self._buffers: dict[str, Buffer] = {}
        self._pinned: set[str] = set()
        self._steps: list[str] = []
        self._outputs: list[str] = []
        self._data = bytearray()
        self._places: dict[tuple[str, str], str] = {}
        self.reads_mask = False
        self.longest = longest or 1 << 16  # tokens, until a table of positions says less

    def buffer(self, kind: str, width: int, *, per_token: int) -> str:
        """A buffer; a word for it.

        Args:
            kind: as native/src/program.h has them: floats, bytes, keys.
        """
        name = f"@{len(self._buffers)}"
        self._buffers[name] = Buffer(kind, width, per_token)
        return name

    def pin(self, buffer: str) -> None:
        """Leave a buffer to the rows that it has: it must be as wide as they are, or threads read rows of it that
        others made, and may do so while those are steps ahead."""
        self._pinned.add(buffer)

    def place(self, values: str | np.ndarray | None, dtype: type = np.float32) -> str:
        """Where a constant lies: in the weights, if it does already, else in the program; "-" for none.

        Args:
            values: a constant of the graph by its name, or an array.
        """
        if values is None:
            return "-"
        if isinstance(values, str):
            key = (values, np.dtype(dtype).name)
            if key not in self._places:
                array, offset = self._view.constant(values), self._view.offset(values)
                there = array.dtype == dtype and offset is not None
                self._places[key] = f"w:{offset}" if there else self._store(array, dtype)
            return self._places[key]
        return self._store(values, dtype)

    def _store(self, array: np.ndarray, dtype: type) -> str:
        self._data += b"\0" * (-len(self._data) % _ALIGNMENT)
        offset = len(self._data)
        self._data += np.ascontiguousarray(array, dtype=dtype).tobytes()
        return f"d:{offset}"

    def step(self, *words: object) -> None:
        """A step, word by word."""
        self._steps.append(" ".join(map(str, words)))

    def quantized(self, quantizer: Quantizer, buffer: str) -> str:
        """The words for bytes that go into a buffer."""
        return f"{buffer} {bits(quantizer.scale)} {quantizer.zero} {self.place(quantizer.factors)}"

    def output(self, name: str, buffer: str) -> None:
        """Say that a buffer is what the graph gives under this name."""
        self._pinned.add(buffer)
        self._outputs.append(f"{name} {buffer}")

    def text(self) -> bytes:
        """The program."""
        names, shared = share_buffers(self._buffers, self._pinned, self._steps)
        buffers = [f"{buffer.kind} {int(buffer.per_token)} {buffer.width}" for buffer in shared]
        version = _HALVING if any(buffer.per_token > 1 for buffer in shared) else _VERSION
        if any(word in f"{step} " for step in self._steps for word in _OF_LATER):
            version = _LATER
        lines = [f"edgelm-native {version}", f"longest {self.longest}", f"mask {int(self.reads_mask)}"]
        for name, entries in (("buffers", buffers), ("steps", self._steps), ("outputs", self._outputs)):
            renamed = (" ".join(names.get(word, word) for word in entry.split()) for entry in entries)
            lines += [f"{name} {len(entries)}", *renamed]
        return "\n".join(lines).encode() + b"\ndata\n" + bytes(self._data)


def bits(value: float) -> int:
    """A 32-bit float as the whole number of its bits, which every reader understands alike."""
    return int(struct.unpack("<I", struct.pack("<f", value))[0])
