"""Names that a person can read: of nodes and values by the module of the PyTorch model that they come from, of weights
by their PyTorch names."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping

import onnx

_SCOPES = "pkg.torch.onnx.name_scopes"  # the exporter's note: the modules around a node, then its own name
_MATRICES = ("MatMul", "Gemm")


def name_by_modules(graph: onnx.ModelProto) -> None:
    """Give every node, value and constant of a traced graph a name of its own that says where it comes from; inputs
    and outputs of the graph keep theirs.

    A node is named after its module and operator, `bert.encoder.layer.0.output.dense/MatMul`, and so is what it gives.
    A node that the exporter did not note is named by the part of its present name before the slash. Constants that
    have PyTorch names keep them; the matrix of a linear layer, which a graph holds as (in, out), is
    `bert.encoder.layer.0.output.dense.weight.T`, and others are named after the input of the node that reads them,
    `bert.embeddings/Slice.starts`. The notes themselves, with the stack of the exporting program, are taken out.
    """
    fixed = {value.name for value in (*graph.graph.input, *graph.graph.output)} | {""}
    constants = {tensor.name for tensor in graph.graph.initializer}
    used = fixed | {name for name in constants if "." in name}
    new = {name: name for name in used}
    nodes = set[str]()
    for node in graph.graph.node:
        scope = module_of(node)
        node.name = _unused(f"{scope}/{node.op_type}" if scope else node.op_type, nodes)
        for index, output in enumerate(node.output):
            if output not in new:
                new[output] = _unused(node.name if index == 0 else f"{node.name}.{index}", used)
        for index, name in enumerate(node.input):
            if name in constants and name not in new:
                new[name] = _unused(_constant_name(node, index, scope), used)
    _rename(graph, new)
    for part in (graph, graph.graph, *graph.graph.node, *graph.graph.initializer, *graph.graph.input):
        del part.metadata_props[:]
    for node in graph.graph.node:
        node.doc_string = ""


def name_by_places(graph: onnx.ModelProto) -> None:
    """Name the nodes of a finished graph, whose operators were exchanged since `name_by_modules`.

    Each is named after its module, which is in its name or in that of what it gives, and after its operator.
    """
    used = set[str]()
    for node in graph.graph.node:
        output = node.output[0]
        given = output.rpartition("/")[0] or output.rpartition(".")[0]
        place = node.name.rpartition("/")[0] or (node.name if "." in node.name else given)
        node.name = _unused(f"{place}/{node.op_type}" if place else node.op_type, used)


def describe(graph: onnx.ModelProto, values: Mapping[str, object]) -> None:
    """Put values into a graph's metadata, where viewers show them, under `edgelm.` and their names; text as it is, all
    else as JSON."""
    for name, value in values.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        graph.metadata_props.add(key=f"edgelm.{name}", value=text)


def module_of(node: onnx.NodeProto) -> str:
    """The module that a node comes from; empty: none that is known."""
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            modules = [str(name) for name in ast.literal_eval(entry.value)[:-1]]
            return modules[-1] if modules and not modules[-1].startswith("_") else ""
    return node.name.rpartition("/")[0]


def _constant_name(node: onnx.NodeProto, index: int, scope: str) -> str:
    if scope and index == 1 and node.op_type in _MATRICES:
        turned = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        return f"{scope}.weight" if turned else f"{scope}.weight.T"
    return f"{node.name}.{_input_name(node, index)}"


def _input_name(node: onnx.NodeProto, index: int) -> str:
    """What the operator calls an input, such as axes; a number for operators that onnx does not know."""
    if onnx.defs.has(node.op_type, node.domain):
        inputs = onnx.defs.get_schema(node.op_type, domain=node.domain).inputs
        if index < len(inputs):
            return str(inputs[index].name)
    return str(index)


def _unused(name: str, used: set[str]) -> str:
    """The name, with a number behind it where it is taken; it is taken then."""
    found, count = name, 1
    while found in used:
        found, count = f"{name}_{count}", count + 1
    used.add(found)
    return found


def _rename(graph: onnx.ModelProto, new: Mapping[str, str]) -> None:
    for node in graph.graph.node:
        for names in (node.input, node.output):
            renamed = [new[name] for name in names]
            del names[:]
            names.extend(renamed)
    for tensor in graph.graph.initializer:
        tensor.name = new[tensor.name]
