"""What an ONNX file asks for, read without the package onnx and without loading its weights.

The fields are those of onnx.proto: ModelProto.graph, then GraphProto.input and, to be left out, GraphProto.initializer.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm.errors import InputError

_GRAPH, _INITIALIZER, _INPUT, _TENSOR_NAME = 7, 5, 11, 8
_TYPES = {1: "float32", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64"}  # TensorProto.DataType
_WIDTHS = {1: 8, 5: 4}  # wire types of fixed size: their bytes


@dataclass(frozen=True)
class GraphInput:
    """An input of a graph: its name, its type by numpy's name, and its shape; a dynamic axis is given by its name."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


def read_inputs(path: Path) -> tuple[GraphInput, ...]:
    """The graph's inputs, in its order; an axis without a size has its name, or none.

    Raises:
        InputError: no ONNX file, or a truncated one.
    """
    try:
        with path.open("rb") as file:
            graph = _last(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)), _GRAPH)
        constants = {bytes(_last(tensor, _TENSOR_NAME)).decode() for tensor in _all(graph, _INITIALIZER)}
        specs = tuple(map(_spec, _all(graph, _INPUT)))
    except (ValueError, IndexError) as error:
        raise InputError(
            f"{path}: not an ONNX file, or a truncated one.", hint="Give an ONNX file, a bundle or a checkpoint folder."
        ) from error
    return tuple(
        spec for spec in specs if spec.name not in constants
    )  # older files list their constants among the inputs


def _spec(value: memoryview) -> GraphInput:
    """ValueInfoProto: name 1, type 2; TypeProto: tensor_type 1; Tensor: elem_type 1, shape 2; dim 1: dim_value 1,
    dim_param 2."""
    tensor = _last(_last(value, 2), 1)
    kind = _last(tensor, 1, 0)
    shape = tuple(_last(axis, 1, None) or bytes(_last(axis, 2)).decode() for axis in _all(_last(tensor, 2), 1))
    return GraphInput(bytes(_last(value, 1)).decode(), _TYPES.get(kind, f"type {kind}"), shape)


def _last(message: memoryview, field: int, default: Any = b"") -> Any:
    """A field that is there once at most."""
    return next(reversed(list(_all(message, field))), default)


def _all(message: memoryview, field: int) -> Iterator[Any]:
    return (value for number, value in _fields(message) if number == field)


def _fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """Number and value of each field: an int, or the bytes of a text or message."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = _varint(message, at)
        elif kind in _WIDTHS:
            size = _WIDTHS[kind]
        else:
            raise ValueError(f"wire type {kind}")
        if at + size > len(message):
            raise ValueError("truncated")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
