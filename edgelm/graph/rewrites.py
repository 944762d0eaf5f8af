"""Small rewrites of an ONNX graph: each computes exactly what it replaces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgelm.errors import UsageError

MICROSOFT = "com.microsoft"
TRACED = "edgelm.traced_operators"  # in a graph's metadata: counts of operators before fusion, as JSON


def weights_of(graph: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Constant tensors by name."""
    return {tensor.name: tensor for tensor in graph.graph.initializer}


def add_weight(graph: onnx.ModelProto, name: str, values: np.ndarray | np.generic) -> str:
    """Add a constant tensor and return its name."""
    array = np.asarray(values)
    tensor = graph.graph.initializer.add(
        name=name, data_type=helper.np_dtype_to_tensor_dtype(array.dtype), dims=array.shape
    )
    tensor.raw_data = array.tobytes()  # in the graph at once: a table of all tokens is large
    return name


def import_microsoft(graph: onnx.ModelProto) -> None:
    """Let the graph use onnxruntime's own operators."""
    if not any(entry.domain == MICROSOFT for entry in graph.opset_import):
        graph.opset_import.append(helper.make_opsetid(MICROSOFT, 1))


def count_readers(graph: onnx.ModelProto) -> Counter[str]:
    """How many inputs of nodes read each value or constant."""
    return Counter(name for node in graph.graph.node for name in node.input)


def rename_value(graph: onnx.ModelProto, old: str, new: str) -> None:
    """Rename a computed value wherever it is written or read."""
    for node in graph.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new


def read_instead(graph: onnx.ModelProto, other: Mapping[str, str]) -> None:
    """Have every node that reads one of these values or constants read another."""
    for node in graph.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = other.get(name, name)


def replace_nodes(graph: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> None:
    """Give the graph these nodes, in an order in which every input is computed before it is used."""
    ready = {value.name for value in graph.graph.input} | {tensor.name for tensor in graph.graph.initializer} | {""}
    waiting, ordered = list(nodes), []
    while waiting:
        later = []
        for node in waiting:
            if all(name in ready for name in node.input):
                ordered.append(node)
                ready.update(node.output)
            else:
                later.append(node)
        if len(later) == len(waiting):
            raise ValueError(f"the graph has a cycle or a missing input at {later[0].op_type} {later[0].name}")
        waiting = later
    del graph.graph.node[:]
    graph.graph.node.extend(ordered)


def remove_unused(graph: onnx.ModelProto) -> None:
    """Drop nodes and constants that no output needs."""
    needed = {value.name for value in graph.graph.output}
    kept = []
    for node in reversed(graph.graph.node):
        if any(name in needed for name in node.output):
            needed.update(node.input)
            kept.append(node)
    kept.reverse()
    for node in kept:  # optional outputs that nobody reads cost a kernel its short cut
        if node.op_type in ("Split", "TopK"):  # have as many outputs as sizes, and always both
            continue
        names = [name if name in needed else "" for name in node.output]
        while names and not names[-1]:
            names.pop()
        del node.output[:]
        node.output.extend(names)
    tensors = [tensor for tensor in graph.graph.initializer if tensor.name in needed]
    del graph.graph.node[:]
    graph.graph.node.extend(kept)
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(tensors)


def fold_weight_joins(graph: onnx.ModelProto) -> None:
    """Compute joins of constant tensors (packed query, key and value matrices) once, here."""
    weights = weights_of(graph)
    nodes = []
    for node in graph.graph.node:
        if node.op_type == "Concat" and all(name in weights for name in node.input):
            axis = helper.get_node_attr_value(node, "axis")
            values = np.concatenate([numpy_helper.to_array(weights[name]) for name in node.input], axis=axis)
            add_weight(graph, node.output[0], values)
        else:
            nodes.append(node)
    replace_nodes(graph, nodes)


def branches_of(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The graphs inside of a node."""
    return [entry.g for entry in node.attribute if entry.type == onnx.AttributeProto.GRAPH]


def constants_in(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """The constants of a graph, and of those inside of it."""
    yield from graph.initializer
    for node in graph.node:
        for body in branches_of(node):
            yield from constants_in(body)


def nodes_in(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph, and of those inside of it."""
    for node in graph.node:
        yield node
        for body in branches_of(node):
            yield from nodes_in(body)


def operator_counts(*graphs: onnx.ModelProto) -> dict[str, int]:
    """How many nodes of each operator there are in all graphs together and in their branches, most frequent first."""
    counts: dict[str, int] = {}
    for node in chain.from_iterable(nodes_in(graph.graph) for graph in graphs):
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def check_opset(graph: onnx.ModelProto, opset: int) -> None:
    """Refuse an opset of the standard operators that lacks one of the graph's.

    Raises:
        UsageError: it is too old.
    """
    schemas = onnx.defs.get_all_schemas_with_history()
    born: dict[str, int] = {}
    for schema in schemas:
        if schema.domain == "":
            born[schema.name] = min(born.get(schema.name, schema.since_version), schema.since_version)
    name = max((node.op_type for node in graph.graph.node if node.domain == ""), key=lambda name: born[name])
    if born[name] > opset:
        raise UsageError(
            f"opset {opset} is too old: {name} came with {born[name]}.", hint=f"Give --opset {born[name]} or more."
        )
