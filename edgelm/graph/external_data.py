"""A graph as files: the structure in one, the weights in another that a runtime maps into memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgelm.graph.branches import branch_at_exits

_ALIGNMENT = 64  # bytes: vector registers load from there at once
_SMALLEST = 1024  # bytes: smaller constants stay in the graph, where shape inference and optimizers read them
_PLAIN = frozenset(
    getattr(onnx.TensorProto, name) for name in ("FLOAT", "FLOAT16", "INT8", "UINT8", "INT32", "INT64", "BOOL")
)
LARGEST_MESSAGE = 2**31 - 2**24  # bytes: protobuf writes no message of 2 GB


def stored_bytes(graph: onnx.ModelProto) -> int:
    """Bytes of the graph's constants, in it and in files beside it, asking protobuf for nothing: beyond 2 GB it answers
    no question."""
    beside = (entry for tensor in graph.graph.initializer for entry in tensor.external_data if entry.key == "length")
    return sum(len(tensor.raw_data) for tensor in graph.graph.initializer) + sum(int(entry.value) for entry in beside)


def copy_graph(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A graph of its own, of any size: protobuf copies no message of 2 GB, but each constant in it."""
    copy = _structure(graph)
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
    equal bytes are stored once, also where two graphs have them. What only texts need that do not leave early becomes a
    branch.

    Args:
        graphs: by the names of their files.
        weights: name of the file of constants.
    """
    stored: dict[tuple[int, bytes], int] = {}  # size and hash: where it begins
    with (folder / weights).open("wb") as file:
        for name, graph in graphs.items():
            structure = _structure(graph)
            for tensor in graph.graph.initializer:
                raw = tensor.raw_data  # a copy, each time
                size = len(raw)
                if size < _SMALLEST:
                    structure.graph.initializer.append(tensor)
                    continue
                key = (size, hashlib.sha256(raw).digest())
                if key not in stored:
                    file.write(b"\0" * (-file.tell() % _ALIGNMENT))
                    stored[key] = file.tell()
                    file.write(raw)
                _say_elsewhere(structure, tensor, location=weights, offset=stored[key], length=size)
            branch_at_exits(structure)
            (folder / name).write_bytes(structure.SerializeToString())


def without_constants(graph: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """A copy of a graph whose constants of 1 kB and more are said to lie elsewhere, and these constants by name.

    Those of types that numpy does not have stay in the graph.
    """
    structure = _structure(graph)
    arrays = {}
    for tensor in graph.graph.initializer:
        raw = tensor.raw_data  # a copy, each time
        if len(raw) < _SMALLEST or tensor.data_type not in _PLAIN:
            structure.graph.initializer.append(tensor)
            continue
        _say_elsewhere(structure, tensor, location="memory", offset=0, length=len(raw))
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        arrays[tensor.name] = np.frombuffer(raw, dtype).reshape(tuple(tensor.dims))
    return structure, arrays


def _structure(graph: onnx.ModelProto) -> onnx.ModelProto:
    structure = _copy_without(graph, "graph")
    structure.graph.CopyFrom(_copy_without(graph.graph, "initializer"))
    return structure


def _say_elsewhere(structure: onnx.ModelProto, tensor: onnx.TensorProto, **place: object) -> None:
    entry = structure.graph.initializer.add(
        name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, data_location=onnx.TensorProto.EXTERNAL
    )
    for field, value in place.items():
        entry.external_data.add(key=field, value=str(value))


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
