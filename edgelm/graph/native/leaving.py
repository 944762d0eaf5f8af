"""Texts that leave early: what `edgelm.graph.branches` asks of the heads on the way, as a step for each of them."""

from __future__ import annotations

from dataclasses import replace

import onnx

from edgelm.graph.native.state import State
from edgelm.graph.native.values import Largest, Rows, Unneeded, Value
from edgelm.graph.native.view import Unsupported, attributes, need
from edgelm.graph.native.writer import bits

_ANYHOW = -1.0  # a threshold that every text is above


def largest(state: State, node: onnx.NodeProto) -> list[Value]:
    """TopK: the two largest logits of a head, and their places, which nobody reads."""
    rows, found = state.rows(node.input[0]), attributes(node)
    alike = found.get("axis", -1) in (-1, 1) and found.get("largest", 1) == 1 and found.get("sorted", 1) == 1
    need(alike and not rows.per_token, f"{node.name}: the largest of something else")
    need(state.view.constant(node.input[1]).reshape(-1).tolist() == [2], f"{node.name}: another number of them")
    return [Largest(rows), Unneeded()]


def split(value: Largest, node: onnx.NodeProto) -> list[Value]:
    """Each of the two alone."""
    apart = attributes(node).get("axis", 0) in (-1, 1) and len(node.output) == 2 and value == Largest(value.rows)
    need(apart, f"{node.name}: parts of something else")
    return [replace(value, place=0), replace(value, place=1)]


def subtract(state: State, node: onnx.NodeProto) -> Value:
    """How far the largest is above the next."""
    left, right = (state.value(name) for name in node.input)
    if not isinstance(left, Largest) or left.place != 0 or right != replace(left, place=1):
        raise Unsupported(f"{node.name}: a difference of something else")
    return Largest(left.rows, apart=True)


def above(state: State, node: onnx.NodeProto) -> Value:
    """Whether that is more than a threshold: the step by which texts leave."""
    value, threshold = state.value(node.input[0]), state.view.constant(node.input[1]).reshape(-1)
    if not isinstance(value, Largest) or not value.apart:
        raise Unsupported(f"{node.name}: a threshold of something else")
    need(threshold.size == 1 and float(threshold[0]) >= 0, f"{node.name}: another threshold")
    _leave(state, value.rows, float(threshold[0]))
    state.flat = False  # those who stay go on with all tokens
    return Largest(value.rows, told=True)


def choose(state: State, node: onnx.NodeProto) -> Value:
    """The answer of a head on the way, or a later one."""
    sure, early = state.value(node.input[0]), state.rows(node.input[1])
    if sure != Largest(early, told=True):
        raise Unsupported(f"{node.name}: a choice of something else")
    later = state.rows(node.input[2])
    return later if later == state.answers else _leave(state, later, _ANYHOW)


def _leave(state: State, rows: Rows, threshold: float) -> Rows:
    """Take the answers of all texts that have none yet and whose largest logit is so far above the next."""
    need(not rows.per_token, "answers for tokens")
    state.answers = state.answers or state.new_rows(rows.width, per_token=False)
    need(state.answers.width == rows.width, "answers of unlike widths")
    state.writer.step("leave", rows.width, rows.buffer, bits(threshold), state.answers.buffer)
    return state.answers
