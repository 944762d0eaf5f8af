"""Finds the files that an ONNX graph takes weights from, without the package `onnx`: a bundle's graph may name its own
weights alone.

onnxruntime reads whatever file a graph names beside itself or, for a graph in memory, beside the process. So the names
are looked up in the protobuf message before a session is made of it. The walk visits the messages that lead to a
tensor, as onnx.proto numbers their fields, and steps over everything else.
"""

from __future__ import annotations

from edgelm.errors import BundleError

# Fields of each message that are themselves messages to visit: number to message.
_MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {4: "operator", 5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
    "entry": {1: "key", 2: "value"},
}
_SKIPPED = {1: 8, 5: 4}  # wire types of 64 and 32 bits, and their bytes


def check_graph(data: bytes, weights: str | None, about: str) -> None:
    """Refuse a graph that would have onnxruntime read another file than the bundle's weights.

    Args:
        data: a serialized ONNX model.
        weights: the one file that its tensors may lie in; None: they must all be in the graph.
        about: the bundle and the graph's name in it, for the message.

    Raises:
        BundleError: it names another file, holds what a compiler of another machine made, or is no ONNX model.
    """
    try:
        locations, operators = _look_through(data)
    except (IndexError, ValueError) as error:
        raise BundleError(
            f"{about} cannot be read: it is no ONNX model.", hint="Copy or export the bundle again."
        ) from error
    if strange := sorted(locations - ({weights.encode()} if weights else set())):
        name = strange[0].decode(errors="replace")[:80]
        raise BundleError(
            f"{about} takes weights from {name!r}, which is not in the bundle.",
            hint="Do not use this bundle; get it from its maker again.",
        )
    if b"EPContext" in operators:  # its attributes name a file that an execution provider loads
        raise BundleError(
            f"{about} holds a compiled graph (EPContext).", hint="Do not use this bundle; get it from its maker again."
        )


def _look_through(data: bytes) -> tuple[set[bytes], set[bytes]]:
    """Names of the files that tensors lie in, and operator types.

    Raises:
        IndexError, ValueError: the message ends too early, or is none.
    """
    locations: set[bytes] = set()
    operators: set[bytes] = set()
    todo = [("model", 0, len(data))]
    while todo:
        message, at, end = todo.pop()
        fields = _MESSAGES[message]
        keys: set[bytes] = set()
        values: set[bytes] = set()
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
                else:
                    {"operator": operators, "key": keys, "value": values}[inner].add(data[start:at])
            elif wire == 0:
                _, at = _varint(data, at)
            else:
                at += _SKIPPED[wire] if wire in _SKIPPED else _refuse_wire(wire)
        if at != end:
            raise ValueError("a field that ends after its message")
        if b"location" in keys:
            locations |= values or {b""}
    return locations, operators


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
