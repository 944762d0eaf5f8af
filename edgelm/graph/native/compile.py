"""An encoder's INT8 graph as a program, by the patterns of its operators: no model is known here, so that every family
and every pruned shape that is written in them has one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx

from edgelm.graph.native import attention, embeddings, ending, halving, layers, leaving, rotary
from edgelm.graph.native.by_place import nodes_by_place
from edgelm.graph.native.state import State
from edgelm.graph.native.values import Half, Input, Largest, Lookups, MaskColumn, Value
from edgelm.graph.native.view import GraphView, Unsupported, need
from edgelm.graph.native.writer import ProgramWriter

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_ATTENTION = {"Attention", "MultiHeadAttention", "Softmax"}
_LOOKUPS, _INTEGERS = {"Gather", "GatherBlockQuantized"}, (np.int8, np.uint8)


def compile_program(graph: Path, weights: str, *, longest: int | None = None) -> bytes | None:
    """The program of a saved graph; None where it has something that no program can say, or no integers.

    Args:
        graph: an ONNX file, with a product of integers or, where it has no attention, a table of integers.
        weights: the name of the file beside it that its larger constants lie in; the program names places in it.
        longest: tokens of a text, if the graph itself sets no limit.
    """
    view = GraphView(graph, weights)
    if not _in_integers(view):
        return None
    try:
        return _compile(view, longest)
    except Unsupported:
        return None


def _in_integers(view: GraphView) -> bool:
    """Whether the work of a graph is done on integers: its products or, of a model without layers, its look-ups."""
    kinds = {node.op_type for node in view.nodes}
    if kinds & {"QAttention", "MatMulIntegerToFloat"}:
        return True
    lookups = [node for node in view.nodes if node.op_type in _LOOKUPS and view.is_constant(node.input[0])]
    return not kinds & _ATTENTION and any(view.constant(node.input[0]).dtype in _INTEGERS for node in lookups)


def _compile(view: GraphView, longest: int | None) -> bytes:
    need(set(view.inputs) <= set(INPUTS) and "input_ids" in view.inputs, "other inputs")
    state = State(view, ProgramWriter(view, longest))
    state.values |= {name: Input(name) for name in view.inputs}
    state.done |= {name for node in nodes_by_place(view) for name in node.output}
    for node in view.nodes:
        if all(name in state.done for name in node.output):
            continue
        if node.op_type in (*_HANDLERS, "Split", "TopK"):  # else: nothing that is needed, or it will be missed
            state.values |= dict(zip(node.output, _values(state, node), strict=True))
    for name in view.outputs:
        state.writer.output(name, state.rows(name).buffer)
    return state.writer.text()


def _values(state: State, node: onnx.NodeProto) -> list[Value]:
    if node.op_type == "TopK":
        return leaving.largest(state, node)
    if node.op_type == "Split":
        value = state.value(node.input[0])
        return leaving.split(value, node) if isinstance(value, Largest) else ending.split(state, node)
    return [_HANDLERS[node.op_type](state, node)]


def _multiply(state: State, node: onnx.NodeProto) -> Value:
    if state.view.is_constant(node.input[1]):
        return layers.scale(state, node)
    left, right = (state.value(name) for name in node.input)
    if isinstance(left, Lookups) and right == MaskColumn(wide=True):  # what a table gives is pooled as it is
        left = state.rows(node.input[0])
    if isinstance(left, Half) or isinstance(right, Half):
        return layers.gate(state, node)
    found = embeddings.multiply(left, right) or ending.multiply(left, right) or halving.multiply(left, right)
    if found is None:
        raise Unsupported(f"{node.name}: a product of something else")
    return found


def _add(state: State, node: onnx.NodeProto) -> Value:
    return embeddings.add(state, *node.input) or layers.add(state, node)


def _unsqueeze(state: State, node: onnx.NodeProto) -> Value:
    return halving.unsqueeze(state, node) or ending.unsqueeze(state, node)


def _squeeze(state: State, node: onnx.NodeProto) -> Value:
    return halving.squeeze(state, node) or ending.squeeze(state, node)


def _divide(state: State, node: onnx.NodeProto) -> Value:
    return halving.divide(*(state.value(name) for name in node.input)) or ending.divide(state, node)


def _gather(state: State, node: onnx.NodeProto) -> Value:
    return (embeddings.gather if state.view.is_constant(node.input[0]) else ending.gather_first)(state, node)


_HANDLERS: dict[str, Callable[[State, onnx.NodeProto], Value]] = {
    "Add": _add,
    "Attention": attention.float_attention,
    "AveragePool": halving.average_pool,
    "BiasGelu": layers.biased_gelu,
    "Cast": embeddings.cast,
    "Ceil": halving.ceil,
    "CumSum": embeddings.cumsum,
    "Div": _divide,
    "Equal": embeddings.equal,
    "Expand": embeddings.expand,
    "Gather": _gather,
    "GatherElements": embeddings.gather_elements,
    "GatherBlockQuantized": embeddings.gather_blocks,
    "Gemm": layers.float_product,
    "LayerNormalization": layers.norm,
    "LpNormalization": ending.unit,
    "MatMul": layers.float_product,
    "MatMulIntegerToFloat": layers.integer_product,
    "Max": halving.not_less,
    "Greater": leaving.above,
    "Mul": _multiply,
    "MultiHeadAttention": attention.multi_head,
    "Not": embeddings.not_,
    "QAttention": attention.integer_attention,
    "QuantizeLinear": layers.quantize,
    "ReduceMean": ending.reduce_mean,
    "ReduceSum": ending.reduce_sum,
    "RotaryEmbedding": rotary.rotary,
    "Shape": embeddings.shape,
    "Sub": leaving.subtract,
    "Slice": embeddings.slice_,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Where": leaving.choose,
    **dict.fromkeys(layers.ACTIVATIONS, layers.activation),
}
