"""A graph as files: the structure in one, the weights in another that a runtime maps into memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

_ALIGNMENT = 64  # bytes: vector registers load from there at once
_SMALLEST = 1024  # bytes: smaller constants stay in the graph, where shape inference and optimizers read them
LARGEST_MESSAGE = 2**31 - 2**24  # bytes: protobuf writes no message of 2 GB


def stored_bytes(graph: onnx.ModelProto) -> int:
    """Bytes of the graph's constants, in it and in files beside it, asking protobuf for nothing: beyond 2 GB it answers
    no question."""
    beside = (entry for tensor in graph.graph.initializer for entry in tensor.external_data if entry.key == "length")
    return sum(len(tensor.raw_data) for tensor in graph.graph.initializer) + sum(int(entry.value) for entry in beside)


def copy_graph(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A graph of its own, of any size: protobuf copies no message of 2 GB, but each constant in it."""
    copy = _copy_without(graph, "graph")
    copy.graph.CopyFrom(_copy_without(graph.graph, "initializer"))
    for tensor in graph.graph.initializer:
        copy.graph.initializer.add().CopyFrom(tensor)
    return copy


def save_graph(graph: onnx.ModelProto, path: Path, weights: str) -> None:
    """Write a graph, and its constants of 1 kB and more into a file beside it (ONNX external data).

    Args:
        weights: name of that file.
    """
    save_graphs({path.name: graph}, path.parent, weights)


def save_graphs(graphs: Mapping[str, onnx.ModelProto], folder: Path, weights: str) -> None:
    """Write graphs, and their constants of 1 kB and more into one file beside them (ONNX external data): constants of
    equal bytes are stored once, also where two graphs have them.

    Args:
        graphs: by the names of their files.
        weights: name of the file of constants.
    """
    stored: dict[tuple[int, bytes], int] = {}  # size and hash: where it begins
    with (folder / weights).open("wb") as file:
        for name, graph in graphs.items():
            structure = _copy_without(graph, "graph")
            structure.graph.CopyFrom(_copy_without(graph.graph, "initializer"))
            for tensor in graph.graph.initializer:
                size = len(tensor.raw_data)
                if size < _SMALLEST:
                    structure.graph.initializer.append(tensor)
                    continue
                key = (size, hashlib.sha256(tensor.raw_data).digest())
                if key not in stored:
                    file.write(b"\0" * (-file.tell() % _ALIGNMENT))
                    stored[key] = file.tell()
                    file.write(tensor.raw_data)
                entry = structure.graph.initializer.add(
                    name=tensor.name,
                    data_type=tensor.data_type,
                    dims=tensor.dims,
                    data_location=onnx.TensorProto.EXTERNAL,
                )
                for field, value in (("location", weights), ("offset", stored[key]), ("length", size)):
                    entry.external_data.add(key=field, value=str(value))
            (folder / name).write_bytes(structure.SerializeToString())


def _copy_without(message: Any, omitted: str) -> Any:
    """A protobuf message but for one field."""
    copy = type(message)()
    for field, value in message.ListFields():
        if field.name == omitted:
            continue
        if field.message_type is None and not field.is_repeated:
            setattr(copy, field.name, value)
        else:
            getattr(copy, field.name).MergeFrom(value)
    return copy
