"""The end of an encoder's graph: pooling, and what a head gives."""

from __future__ import annotations

from dataclasses import replace

import onnx

from edgelm.graph.native.state import State
from edgelm.graph.native.values import (
    FirstQuery,
    FloatColumns,
    Half,
    Input,
    MaskColumn,
    MaskCount,
    Masked,
    Memory,
    Product,
    Rotated,
    Rows,
    Value,
)
from edgelm.graph.native.view import Unsupported, attributes, need


def axes_of(state: State, node: onnx.NodeProto) -> list[int]:
    """The axes of a node, an attribute or its second input."""
    found = attributes(node).get("axes")
    if found is None and len(node.input) > 1:
        found = state.view.constant(node.input[1]).reshape(-1)
    return [int(axis) for axis in found] if found is not None else []


def multiply(left: Value, right: Value) -> Value | None:
    """Rows times the mask; None: something else."""
    for one, other in ((left, right), (right, left)):
        if isinstance(one, Rows) and one.per_token == 1 and other == MaskColumn(wide=True):
            return Masked(one)
    return None


def unsqueeze(state: State, node: onnx.NodeProto) -> Value:
    """The mask with an axis for the numbers of a row."""
    mask = state.value(node.input[0]) in (MaskColumn(), Input("attention_mask"))
    need(mask and axes_of(state, node) in ([-1], [2]), f"{node.name}: an axis")
    return MaskColumn(wide=True)


def reduce_sum(state: State, node: onnx.NodeProto) -> Value:
    """The sum over the tokens, of the mask or of rows."""
    value = state.value(node.input[0])
    need(axes_of(state, node) == [1] and attributes(node).get("keepdims", 1) == 0, f"{node.name}: a sum")
    if value == MaskColumn(wide=True):
        return MaskCount()
    if isinstance(value, Masked) and not value.summed:
        return replace(value, summed=True)
    raise Unsupported(f"{node.name}: a sum of something else")


def divide(state: State, node: onnx.NodeProto) -> Value:
    """The sum over the tokens divided by their number: the mean."""
    value = state.value(node.input[0])
    if not isinstance(value, Masked) or not value.summed or state.value(node.input[1]) != MaskCount():
        raise Unsupported(f"{node.name}: a quotient")
    state.writer.reads_mask = state.flat = True
    return _pooled(state, "mean", value.rows, masked=True)


def reduce_mean(state: State, node: onnx.NodeProto) -> Value:
    """The mean over all tokens."""
    need(axes_of(state, node) == [1] and attributes(node).get("keepdims", 1) == 0, f"{node.name}: a mean")
    need(not state.padding_stays, f"{node.name}: a mean with padding at 0")
    state.flat = True
    return _pooled(state, "mean", state.rows(node.input[0]), masked=False)


def gather_first(state: State, node: onnx.NodeProto) -> Value:
    """The row of the first token: with an axis of one token, where a last layer follows that has no other queries, or
    without."""
    index = state.view.constant(node.input[1])
    first = index.reshape(-1).tolist() == [0] and attributes(node).get("axis", 0) == 1
    need(first and not state.flat, f"{node.name}: other rows")
    state.flat = index.ndim == 0
    value = state.value(node.input[0])
    if isinstance(value, Rotated):
        need(index.ndim == 1, f"{node.name}: other rows")
        return replace(value, first=True)
    if isinstance(value, Memory) and (value.part, value.parts) == (0, 3) and index.ndim == 1:
        return FirstQuery(value)
    rows = state.rows(node.input[0])
    return first_row(state, rows) if rows.per_token else rows


def first_row(state: State, rows: Rows) -> Rows:
    """The row of the first token of each sequence."""
    return _pooled(state, "first", rows, masked=False)


def _pooled(state: State, kind: str, rows: Rows, *, masked: bool) -> Rows:
    need(rows.per_token > 0, "what is pooled already")
    state.writer.pin(rows.buffer)
    made = state.new_rows(rows.width, per_token=False)
    state.writer.step(kind, rows.width, rows.buffer, made.buffer, int(masked))
    return made


def unit(state: State, node: onnx.NodeProto) -> Value:
    """LpNormalization: rows divided by their length."""
    found, rows = attributes(node), state.rows(node.input[0])
    need(found.get("axis", -1) in (-1, 2 if rows.per_token else 1) and found.get("p", 2) == 2, f"{node.name}")
    made = state.new_rows(rows.width, per_token=rows.per_token)
    state.writer.step("unit", rows.width, rows.buffer, made.buffer)
    return made


def split(state: State, node: onnx.NodeProto) -> list[Value]:
    """Keys and values by one product, or queries too; or a product of floats, column by column: where an answer begins,
    and where it ends."""
    value = state.value(node.input[0])
    parts = len(node.output)
    if isinstance(value, Product) and all(_reads_memory(state, name) for name in node.output):
        sizes = state.view.constant(node.input[1]).tolist() if len(node.input) > 1 else []
        plain = value.activation == "none" and value.added is None and value.per_token > 0 and parts in (2, 3)
        need(plain and sizes in ([], [value.width // parts] * parts), f"{node.name}: queries, keys and values")
        need(value.width % parts == 0 and attributes(node).get("axis", 0) in (-1, 2), f"{node.name}: an axis")
        return [Memory(value, part, parts) for part in range(parts)]
    if isinstance(value, Product) and parts == 2 and value.width > parts:
        found = attributes(node)
        need(len(node.input) == 1 and value.width % 2 == 0 and found.get("axis", 0) in (-1, 2), f"{node.name}: halves")
        rows = state.rows(node.input[0])
        return [Half(rows, second=False), Half(rows, second=True)]
    if not isinstance(value, Product) or value.columns is None or value.width != len(node.output):
        raise Unsupported(f"{node.name}: parts of something else")
    need(attributes(node).get("axis", 0) in (-1, 2) and value.activation == "none" and not value.added, f"{node.name}")
    bias = state.view.constant(value.bias) if isinstance(value.bias, str) else value.bias
    columns, singles = value.columns, list[Value]()
    for at in range(value.width):
        part = FloatColumns(columns.rows, columns.weights[:, at : at + 1])
        head = ("dense", columns.rows.width, 1, columns.rows.buffer)
        singles.append(
            replace(
                value, head=head, width=1, columns=part, bias=None if bias is None else bias.reshape(-1)[at : at + 1]
            )
        )
    return singles


def _reads_memory(state: State, name: str) -> bool:
    """Whether what reads a part of a product is attention alone, and what is computed before it for it."""
    readers = [node for node in state.view.readers[name] if not set(node.output) <= state.done]
    kinds = {node.op_type for node in readers}
    return name not in state.view.outputs and kinds in ({"MultiHeadAttention"}, {"RotaryEmbedding"}, {"Gather"})


def squeeze(state: State, node: onnx.NodeProto) -> Value:
    """Rows of one number without their last axis."""
    value = state.value(node.input[0])
    if not isinstance(value, Rows | Product) or value.width != 1 or axes_of(state, node) not in ([-1], [2]):
        raise Unsupported(f"{node.name}: an axis")
    return value
