"""An ONNX graph of one matrix product, written byte by byte: a device has onnxruntime, but not the package onnx."""

from __future__ import annotations

from typing import Any

import numpy as np

_FLOAT, _UINT8, _INT8, _INT32 = 1, 2, 3, 6  # TensorProto.DataType
_IR_VERSION, _OPSET = 8, 13


def product_graph(weight: Any, rows: int) -> bytes:
    """The product of an input `a` and a constant, as `c`.

    Args:
        weight: (inner, columns). float32: `a` and `c` are float32 (MatMul); int8: `a` is uint8, `c` is int32
            (MatMulInteger).
        rows: of `a`.
    """
    inner, columns = weight.shape
    integer = weight.dtype == np.int8
    node = _text(1, "a") + _text(1, "b") + _text(2, "c") + _text(4, "MatMulInteger" if integer else "MatMul")
    constant = (
        _number(1, inner)
        + _number(1, columns)
        + _number(2, _INT8 if integer else _FLOAT)
        + _text(8, "b")
        + _bytes(9, weight.tobytes())
    )
    given = _value("a", _UINT8 if integer else _FLOAT, rows, inner)
    made = _value("c", _INT32 if integer else _FLOAT, rows, columns)
    graph = _bytes(1, node) + _text(2, "product") + _bytes(5, constant) + _bytes(11, given) + _bytes(12, made)
    return _number(1, _IR_VERSION) + _bytes(7, graph) + _bytes(8, _number(2, _OPSET))


def _value(name: str, element: int, *sizes: int) -> bytes:
    shape = b"".join(_bytes(1, _number(1, size)) for size in sizes)
    return _text(1, name) + _bytes(2, _bytes(1, _number(1, element) + _bytes(2, shape)))


# Protocol buffers: a field is its number and kind (0: an integer, 2: a length and so many bytes), then its content.


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, content: str) -> bytes:
    return _bytes(field, content.encode())


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; all bytes but the last have their highest bit set."""
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])
