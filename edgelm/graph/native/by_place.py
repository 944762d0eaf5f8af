"""What a graph computes from the number of tokens alone: a program has the results in tables."""

from __future__ import annotations

import onnx

from edgelm.graph.native.distance import bias_of
from edgelm.graph.native.rotary import angles_of
from edgelm.graph.native.view import GraphView


def nodes_by_place(view: GraphView) -> list[onnx.NodeProto]:
    """The nodes that compute nothing but what attention adds to its scores, or the angles of rotary positions."""
    found: list[onnx.NodeProto] = []
    names = set[str]()
    for node in reversed(view.nodes):
        alone = not set(node.output) & set(view.outputs)
        if alone and all(_reads_table(reader, name, names) for name in node.output for reader in view.readers[name]):
            found.append(node)
            names |= set(node.output)
    return found


def _reads_table(reader: onnx.NodeProto, name: str, names: set[str]) -> bool:
    if set(reader.output) & names:
        return True
    tables = {bias_of(reader), *angles_of(reader)}
    return name in tables and list(reader.input).count(name) == 1
