"""Half as many tokens from here on: what `edgelm.graph.halving` put into a graph, as one step."""

from __future__ import annotations

from dataclasses import replace

import onnx

from edgelm.graph.native.ending import axes_of
from edgelm.graph.native.layers import wanted_results
from edgelm.graph.native.state import State
from edgelm.graph.native.values import (
    Input,
    LeftTokens,
    Lookups,
    MaskColumn,
    MaskPlane,
    Planes,
    Product,
    Rows,
    Value,
)
from edgelm.graph.native.view import Unsupported, attributes, need

_POOLING = {"kernel_shape": [2, 1], "strides": [2, 1], "pads": [1, 0, 1, 0], "count_include_pad": 0}


def unsqueeze(state: State, node: onnx.NodeProto) -> Value | None:
    """Rows, or the mask, with the axes that pooling asks for; None: other axes."""
    name, axes = node.input[0], axes_of(state, node)
    value = state.value(name)
    if value == MaskColumn() and axes == [1, 3]:
        return MaskPlane(1)
    if axes == [1] and isinstance(value, Rows | Product | Lookups):
        return Planes(state.rows(name))
    return None


def multiply(left: Value, right: Value) -> Value | None:
    """Rows of tokens, those of padding at 0; None: something else."""
    if not isinstance(left, Planes) or not isinstance(right, MaskPlane):
        return None
    need(not left.masked and right == MaskPlane(left.rows.per_token), "another mask")
    return replace(left, masked=True)


def average_pool(state: State, node: onnx.NodeProto) -> Value:
    """The first of the rows and the means of each two others; of the mask, which share of them is no padding."""
    need(attributes(node) == _POOLING, f"{node.name}: another pooling")
    value = state.value(node.input[0])
    if isinstance(value, MaskPlane):
        need(not value.shares, f"{node.name}: pooling of shares")
        return MaskPlane(value.per_token + 1, shares=True)
    if isinstance(value, Planes) and not value.halved:
        return replace(value, halved=True)
    raise Unsupported(f"{node.name}: pooling of something else")


def not_less(state: State, node: onnx.NodeProto) -> Value:
    """Max: shares that can be divided by."""
    value, least = state.value(node.input[0]), state.view.constant(node.input[1])
    need(isinstance(value, MaskPlane) and value.shares and bool((least <= 0.5).all()), f"{node.name}: a maximum")
    return value


def ceil(state: State, node: onnx.NodeProto) -> Value:
    """1 where anything but padding is left."""
    value = state.value(node.input[0])
    if not isinstance(value, MaskPlane) or not value.shares:
        raise Unsupported(f"{node.name}: rounding of something else")
    return replace(value, shares=False)


def divide(left: Value, right: Value) -> Value | None:
    """Sums of rows by how many of them were no padding; None: something else."""
    if not isinstance(left, Planes):
        return None
    whole = left.masked and left.halved and not left.divided
    need(whole and right == MaskPlane(left.rows.per_token + 1, shares=True), "a quotient of something else")
    return replace(left, divided=True)


def squeeze(state: State, node: onnx.NodeProto) -> Value | None:
    """The mask of what is left, or the rows: the step; None: something else."""
    value, axes = state.value(node.input[0]), axes_of(state, node)
    if isinstance(value, MaskPlane):
        need(not value.shares and axes == [1, 3], f"{node.name}: an axis")
        return LeftTokens(value.per_token)
    if not isinstance(value, Planes):
        return None
    need(value.halved and value.masked == value.divided and axes == [1], f"{node.name}: an axis")
    need(value.masked or not state.padding_stays, f"{node.name}: padding is seen")
    need(value.rows.per_token > 0, f"{node.name}: rows of sequences")
    state.writer.reads_mask = state.writer.reads_mask or value.masked
    state.writer.pin(value.rows.buffer)
    made, words = wanted_results(state, node.output[0], value.rows.width, per_token=value.rows.per_token + 1)
    state.writer.step("halve", value.rows.width, value.rows.buffer, int(value.masked), words)
    return made


def mask_level(state: State, name: str) -> int:
    """Which tokens a mask is of, as `per_token` counts; 0: it is another."""
    value = state.value(name)
    if isinstance(value, LeftTokens):
        return value.per_token
    return int(value == Input("attention_mask"))
