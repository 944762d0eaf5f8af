"""Token types that are the same for every token are no input, and their row becomes part of the positions' table."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import numpy_helper

from edgelm.graph.rewrites import add_weight, count_readers, read_instead, remove_unused, replace_nodes, weights_of
from edgelm.graph.unpadded import TOKENS, TYPES, drop_input

# Of these, what comes out holds nothing but elements of the first input.
_ARRANGES = frozenset(("Cast", "Expand", "Gather", "GatherElements", "Identity", "Reshape", "Slice", "Unsqueeze"))
_SUMS = frozenset(("Add", "SkipLayerNormalization"))


def fold_token_types(graph: onnx.ModelProto, *, given: bool) -> None:
    """Look up token types here, once, where all of them are 0: their row is added to every row of the table of
    positions or, without one, to the tokens' vectors.

    Outputs change by the rounding of one sum in another order.

    Args:
        given: whether the input may be anything but 0; False: texts do not come in pairs.
    """
    weights = weights_of(graph)
    zeros = _all_zero(graph, weights, set() if given else {TYPES})
    makers = {name: node for node in graph.graph.node for name in node.output}
    outputs = {value.name for value in graph.graph.output}
    rows: dict[str, np.ndarray] = {}
    for node in graph.graph.node:
        table = weights.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or len(table.dims) != 2 or node.output[0] in outputs:
            continue
        if node.input[1] in zeros and node.input[1] not in weights:  # a constant index may choose the row as a vector
            rows[node.output[0]] = numpy_helper.to_array(table)[0]
    gone: set[str] = set()  # values that nothing reads any more
    for name, row in rows.items():
        _move_row(graph, name, row, makers, gone)
    replace_nodes(graph, [node for node in graph.graph.node if not gone & set(node.output)])
    remove_unused(graph)


def drop_token_types(graph: onnx.ModelProto) -> None:
    """Take the input of token types out of a graph for which all of them are 0."""
    drop_input(graph, TYPES, fill=0)


def _all_zero(graph: onnx.ModelProto, weights: dict[str, onnx.TensorProto], known: set[str]) -> set[str]:
    """Names of whole numbers that are all 0, whatever their shape: those that are known to be, and what follows."""
    found = known | {
        name
        for name, tensor in weights.items()
        if tensor.data_type == onnx.TensorProto.INT64 and not numpy_helper.to_array(tensor).any()
    }
    for node in graph.graph.node:
        if node.op_type == "ConstantOfShape":
            value = next((numpy_helper.to_array(item.t) for item in node.attribute if item.name == "value"), None)
            if value is not None and value.dtype == np.int64 and not value.any():
                found.add(node.output[0])
        elif node.op_type in _ARRANGES and node.input[0] in found:
            found.add(node.output[0])
    return found


def _move_row(
    graph: onnx.ModelProto, name: str, row: np.ndarray, makers: dict[str, onnx.NodeProto], gone: set[str]
) -> None:
    """Add a row, which every token is given, to a table in the same sum; else give the sum the row itself."""
    readers = count_readers(graph)
    users = [node for node in graph.graph.node if name in node.input]
    outputs = {value.name for value in graph.graph.output}
    if len(users) == 1 and users[0].op_type == "Add" and readers[name] == 1 and users[0].output[0] not in outputs:
        for lookup in _summed(graph, users[0], makers, readers):
            if lookup.output[0] == name:
                continue
            table = weights_of(graph).get(lookup.input[0])
            if table is None or readers[table.name] != 1 or table.dims[1:] != list(row.shape):
                continue
            table.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(table) + row, table.name))
            other = users[0].input[1 - list(users[0].input).index(name)]
            read_instead(graph, {users[0].output[0]: other})
            gone.update((name, users[0].output[0]))
            return
    constant = add_weight(graph, f"{name}_row", np.ascontiguousarray(row))
    read_instead(graph, {name: constant})
    gone.add(name)


def _summed(
    graph: onnx.ModelProto, node: onnx.NodeProto, makers: dict[str, onnx.NodeProto], readers: dict[str, int]
) -> Iterator[onnx.NodeProto]:
    """Lookups in the same sum as a node's inputs, other than the tokens' own: inputs of the node, and of the
    sums that alone read it."""
    while True:
        for name in node.input[:2]:
            found = makers.get(name)
            if found is not None and found.op_type == "Gather" and found.input[1] != TOKENS and readers[name] == 1:
                yield found
        users = [user for user in graph.graph.node if node.output[0] in user.input]
        if node.op_type != "Add" or len(users) != 1 or users[0].op_type not in _SUMS:
            return
        node = users[0]
