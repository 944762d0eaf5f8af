"""GELU by its approximation with tanh, as exporters write it: eight operators that are one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from edgelm.graph.native.view import GraphView

_TERMS = {"cubic": 0.044715, "outer": 0.7978845608}


@dataclass(frozen=True)
class FastGelu:
    """Where it was found: the tensor that it gives, and all tensors before it that nothing else reads."""

    output: str
    inside: frozenset[str]


def find_fast_gelu(view: GraphView, name: str) -> FastGelu | None:
    """0.5 x (1 + tanh(0.798 (x + 0.0447 x^3))) of a tensor that nothing else reads; None: it is not what follows."""
    readers = {node.op_type: node for node in view.readers[name]}
    if sorted(node.op_type for node in view.readers[name]) != ["Add", "Mul", "Pow"] or name in view.outputs:
        return None
    half, cube = readers["Mul"], readers["Pow"]
    cubic = view.only_reader(cube.output[0], "Mul")
    inner = view.only_reader(cubic.output[0], "Add") if cubic else None
    outer = view.only_reader(inner.output[0], "Mul") if inner else None
    tanh = view.only_reader(outer.output[0], "Tanh") if outer else None
    one = view.only_reader(tanh.output[0], "Add") if tanh else None
    last = view.only_reader(one.output[0], "Mul") if one else None
    if not (cubic and inner and outer and tanh and one and last) or name not in inner.input:
        return None
    constants = [(half, 0.5), (cube, 3.0), (cubic, _TERMS["cubic"]), (outer, _TERMS["outer"]), (one, 1.0)]
    if not all(_has(view, node, value) for node, value in constants) or half.output[0] not in last.input:
        return None
    if view.only_reader(half.output[0], "Mul") is None:
        return None
    inside = {node.output[0] for node in (half, cube, cubic, inner, outer, tanh, one, last)}
    return FastGelu(last.output[0], frozenset(inside))


def _has(view: GraphView, node: onnx.NodeProto, value: float) -> bool:
    """Whether a node's one constant is this number."""
    found = [view.constant(name) for name in node.input if view.is_constant(name)]
    return len(found) == 1 and found[0].size == 1 and bool(np.isclose(found[0], value, rtol=1e-5).all())
