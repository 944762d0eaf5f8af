"""Looks through a serialized ONNX graph without the package `onnx`: what it would have onnxruntime read, run and make.

The walk visits the messages that lead to a tensor, as onnx.proto numbers their fields, and steps over everything else.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from edgelm.limits import ELEMENTS, NODES

# Fields of each message that are themselves messages to visit: number to message.
_MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {4: "operator", 5: "attribute", 7: "domain"},
    "attribute": {
        5: "constant",
        6: "subgraph",
        10: "constant",
        11: "subgraph",
        22: "sparse tensor",
        23: "sparse tensor",
    },
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {7: "integers", 8: "name", 9: "bytes", 13: "entry"},
    "entry": {1: "key", 2: "value"},
}
_MESSAGES |= {"subgraph": _MESSAGES["graph"], "constant": _MESSAGES["tensor"]}
_SKIPPED = {1: 8, 5: 4}  # wire types of 64 and 32 bits, and their bytes
_INTEGERS = 8  # number of an attribute's integers
_INT64 = 7  # a tensor's type
_LONGEST_SHAPE = 8 * 8  # bytes of the integers that say a shape
_ENDS = 1 << 62  # from here on a number is the end of any axis: no tensor is so large
_TAKE_PARTS = (b"Slice", b"Split")  # operators whose integers cannot make anything larger


@dataclass
class Scan:
    """What a graph holds.

    Attributes:
        locations: the files that tensors lie in.
        operators, domains: of nodes.
        parts: what else than one graph there is, in words: functions, training.
        branches: how many graphs lie inside of nodes.
        asked: the largest number of elements that some integers in it may be the shape of.
    """

    locations: set[bytes] = field(default_factory=set)
    operators: set[bytes] = field(default_factory=set)
    domains: set[bytes] = field(default_factory=set)
    parts: set[str] = field(default_factory=set)
    branches: int = 0
    asked: int = 0


_PARTS = {
    "training": "a graph for training",
    "function": "functions of its own",
}


def scan(data: bytes, about: str) -> Scan:
    """Look through a graph.

    Args:
        data: a serialized ONNX model.
        about: its name, for the message.

    Raises:
        BundleError: too many nodes and tensors.
        IndexError, ValueError: the message ends too early, or is none.
    """
    found = Scan()
    todo = [("model", 0, len(data))]
    shapes: dict[bytes, int] = {}  # elements, by the name of the tensor of integers
    nodes: list[tuple[int, int]] = []
    collected = {"operator": found.operators, "domain": found.domains}
    left = NODES.most
    while todo:
        message, begin, end = todo.pop()
        at = begin
        fields = _MESSAGES[message]
        if message in ("node", "tensor"):
            left -= 1
            if left < 0:
                NODES.check(NODES.most + 1, about)
        elif message in _PARTS:
            found.parts.add(_PARTS[message])
        found.branches += message == "subgraph"
        keys: set[bytes] = set()
        values: set[bytes] = set()
        integers: list[int] = []
        name, kind = b"", 0
        while at < end:
            tag, at = _varint(data, at)
            number, wire = (tag & 0xFFFFFFFF) >> 3, tag & 7
            if wire == 2:
                size, at = _varint(data, at)
                start, at = at, at + size
                inner = fields.get(number)
                if inner is None:
                    continue
                if at > end:
                    raise ValueError("a field that ends after its message")
                if inner in _MESSAGES:
                    todo.append((inner, start, at))
                elif inner == "bytes":
                    if size <= _LONGEST_SHAPE and not size % 8:
                        integers += struct.unpack(f"<{size // 8}q", data[start:at])
                elif inner == "integers":
                    if size <= 10 * _LONGEST_SHAPE:
                        integers += _varints(data, start, at)
                elif inner == "name":
                    name = data[start:at]
                else:
                    (keys if inner == "key" else values if inner == "value" else collected[inner]).add(data[start:at])
            elif wire == 0:
                value, at = _varint(data, at)
                if message == "attribute":
                    if number == _INTEGERS:
                        integers.append(value - (1 << 64) if value >> 63 else value)
                elif number == 2:
                    kind = value
            else:
                at += _SKIPPED[wire] if wire in _SKIPPED else _refuse_wire(wire)
        if at != end:
            raise ValueError("a field that ends after its message")
        if b"location" in keys:
            found.locations |= values or {b""}
        if message == "node":
            nodes.append((begin, end))
        elif message == "attribute" or kind == _INT64:
            elements = math.prod(max(value, 1) for value in integers)
            if message == "tensor":
                shapes[name] = elements
            elif elements < _ENDS:
                found.asked = max(found.asked, elements)
    large = {name: elements for name, elements in shapes.items() if ELEMENTS.most < elements < _ENDS}
    if large:
        read = {name for begin, end in nodes for name in _inputs(data, begin, end)}
        found.asked = max([found.asked, *(elements for name, elements in large.items() if name in read)])
    return found


def _inputs(data: bytes, at: int, end: int) -> list[bytes]:
    """The inputs of a node that `scan` has seen; none, where its operator takes parts of a tensor."""
    names: list[bytes] = []
    while at < end:
        tag, at = _varint(data, at)
        if tag & 7 == 2:
            size, at = _varint(data, at)
            if tag >> 3 == 1:
                names.append(data[at : at + size])
            elif tag >> 3 == 4 and data[at : at + size] in _TAKE_PARTS:
                return []
            at += size
        else:
            at = _varint(data, at)[1] if tag & 7 == 0 else at + _SKIPPED[tag & 7]
    return names


def _varints(data: bytes, at: int, end: int) -> Iterator[int]:
    while at < end:
        value, at = _varint(data, at)
        yield value - (1 << 64) if value >> 63 else value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """An integer of 7 bits a byte, and where it ends."""
    byte = data[at]
    if byte < 0x80:
        return byte, at + 1
    value, shift = byte & 0x7F, 7
    while byte >= 0x80:
        at += 1
        byte = data[at]
        value |= (byte & 0x7F) << shift
        shift += 7
        if shift > 70:
            raise ValueError("an integer of more than ten bytes")
    return value, at + 1


def _refuse_wire(wire: int) -> int:
    raise ValueError(f"wire type {wire}")
