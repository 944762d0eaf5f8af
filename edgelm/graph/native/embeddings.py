"""The beginning of an encoder's graph: inputs, positions and tables."""

from __future__ import annotations

import numpy as np
import onnx

from edgelm.graph.native.state import State
from edgelm.graph.native.values import Index, Input, Length, Lookup, Lookups, MaskColumn, NotPadding, Unneeded, Value
from edgelm.graph.native.view import Unsupported, attributes, need
from edgelm.quantize.blocks import BLOCK

_INPUTS = {"input_ids": "ids", "token_type_ids": "types"}
_FLOAT = onnx.TensorProto.FLOAT
_BLOCKS = {"bits": 4, "block_size": BLOCK, "gather_axis": 0, "quantize_axis": 1}  # that a program can say


def cast(state: State, node: onnx.NodeProto) -> Value:
    """Another type of the same; of the mask as floats is read how many tokens a sequence has. What reads a constant so
    looks it up itself."""
    if state.view.is_constant(node.input[0]):
        return Unneeded()
    value = state.value(node.input[0])
    if value == Input("attention_mask") and attributes(node)["to"] == _FLOAT:
        return MaskColumn()
    return value


def shape(state: State, node: onnx.NodeProto) -> Value:
    """The sizes of an input: the number of tokens, or of something that no program needs."""
    found = attributes(node)
    if isinstance(state.value(node.input[0]), Input) and (found.get("start", 0), found.get("end")) == (1, 2):
        return Length()
    return Unneeded()


def slice_(state: State, node: onnx.NodeProto) -> Value:
    """The first numbers of a constant row, as many as there are tokens: positions, or types that are all 0."""
    starts = state.view.constant(node.input[1]).reshape(-1).tolist()
    axes = state.view.constant(node.input[3]).reshape(-1).tolist() if len(node.input) > 3 else [0]
    row = state.view.constant(node.input[0])
    if starts != [0] or axes != [row.ndim - 1] or not isinstance(state.value(node.input[2]), Length):
        raise Unsupported(f"{node.name}: a slice of something else")
    return _index(row)


def expand(state: State, node: onnx.NodeProto) -> Value:
    """A constant row, repeated: of use where it is all 0, whatever its sizes are."""
    found = _index(state.view.constant(node.input[0]))
    if found.source != "zero":
        raise Unsupported(f"{node.name}: a row that is repeated")
    return found


def gather_elements(state: State, node: onnx.NodeProto) -> Value:
    """Elements of what is all 0 are 0, whichever they are."""
    if state.values.get(node.input[0]) != Index("zero"):
        raise Unsupported(f"{node.name}: elements")
    return Index("zero")


def _index(row: np.ndarray) -> Index:
    numbers = row.reshape(-1)
    if not numbers.any():
        return Index("zero")
    if row.shape[:-1] in ((1,), ()) and np.array_equal(numbers, np.arange(numbers[0], numbers[0] + len(numbers))):
        return Index("positions", int(numbers[0]))
    raise Unsupported("positions that do not follow each other")


def equal(state: State, node: onnx.NodeProto) -> Value:
    """Which tokens are padding, by their ids."""
    padding = state.view.constant(node.input[1])
    if state.value(node.input[0]) != Input("input_ids") or padding.size != 1:
        raise Unsupported(f"{node.name}: a comparison")
    return NotPadding(int(padding.reshape(-1)[0]), inverted=True)


def not_(state: State, node: onnx.NodeProto) -> Value:
    """Which tokens are no padding."""
    value = state.value(node.input[0])
    if not isinstance(value, NotPadding) or not value.inverted:
        raise Unsupported(f"{node.name}: a negation")
    return NotPadding(value.padding)


def cumsum(state: State, node: onnx.NodeProto) -> Value:
    """How many tokens were no padding so far, this one included."""
    value, found = state.value(node.input[0]), attributes(node)
    axis = state.view.constant(node.input[1]).reshape(-1).tolist()
    plain = axis == [1] and not found.get("reverse") and not found.get("exclusive")
    if not plain or not isinstance(value, NotPadding) or value.inverted or value.counted:
        raise Unsupported(f"{node.name}: sums")
    return NotPadding(value.padding, counted=True)


def multiply(left: Value, right: Value) -> Value | None:
    """Counts times what is no padding; bytes of a table times their scales. None: neither."""
    for one, other in ((left, right), (right, left)):
        if isinstance(one, NotPadding) and isinstance(other, NotPadding) and one.counted and not one.masked:
            same = other == NotPadding(one.padding)
            return NotPadding(one.padding, counted=True, masked=True) if same else None
        if isinstance(one, Lookup) and isinstance(other, Lookup) and one.scale is None and other.table is None:
            return Lookups((Lookup(one.table, other.scale, one.index),)) if one.index == other.index else None
    return None


def add(state: State, left: str, right: str) -> Value | None:
    """Counts after an offset; rows of tables added up, in the graph's order. None: neither."""
    for name, other in ((left, right), (right, left)):
        value = state.values.get(name)
        if isinstance(value, NotPadding) and value.masked and state.view.is_constant(other):
            offset = int(state.view.constant(other).reshape(-1)[0])
            return Index("counted", offset, value.padding)
    first, second = state.values.get(left), state.values.get(right)
    if isinstance(first, Lookups) and isinstance(second, Lookups):
        if len(second.parts) > 1 and len(first.parts) > 1:
            return None  # two sums are added, which is another order
        long, short = (first, second) if len(first.parts) >= len(second.parts) else (second, first)
        return Lookups(long.parts + short.parts)
    return None


def gather(state: State, node: onnx.NodeProto) -> Value:
    """Rows of a table: of floats, or the bytes or the scales of one in INT8."""
    table = state.view.constant(node.input[0])
    index = _rows_asked(state, node)
    need(attributes(node).get("axis", 0) == 0 and table.ndim == 2, f"{node.name}: rows of something else")
    if table.dtype == np.int8:
        return Lookup(node.input[0], None, index)
    if table.shape[1] == 1:
        return Lookup(None, node.input[0], index)
    return Lookups((Lookup(node.input[0], None, index),))


def gather_blocks(state: State, node: onnx.NodeProto) -> Value:
    """Rows of a table in 4 bits, whose blocks of 32 have a scale each, of 16 bits in the file."""
    table, index = state.view.constant(node.input[0]), _rows_asked(state, node)
    cast = state.view.maker(node.input[2], "Cast")
    need(cast is not None and len(node.input) == 3, f"{node.name}: blocks of another kind")
    assert cast is not None
    scales = state.view.constant(cast.input[0])
    need(attributes(node) == _BLOCKS and table.dtype == np.uint8 and table.ndim == 2, f"{node.name}: other blocks")
    expected = (table.shape[0], -(-2 * table.shape[1] // BLOCK))
    need(scales.dtype == np.float16 and scales.shape == expected, f"{node.name}: other scales")
    return Lookups((Lookup(node.input[0], cast.input[0], index),))


def _rows_asked(state: State, node: onnx.NodeProto) -> Index:
    """Which rows of a table a node looks up."""
    index = state.value(node.input[1])
    if isinstance(index, Input) and index.name in _INPUTS:
        index = Index(_INPUTS[index.name])
    if not isinstance(index, Index):
        raise Unsupported(f"{node.name}: rows of something else")
    return index
