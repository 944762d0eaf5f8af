"""Computes the first token alone, from where nothing but a head that reads that token needs the others: the queries,
attention output and feed-forward network of the last layer. What comes out is the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgelm.graph.names import module_of
from edgelm.graph.rewrites import add_weight, count_readers, remove_unused, replace_nodes, weights_of

# Operators that give each row by that row alone: of any number of inputs with the rows, beside constants for all rows.
_BY_ROW = frozenset(
    (
        *("Add", "Sub", "Mul", "Div", "Pow", "Erf", "Tanh", "Relu", "Sigmoid", "Cast"),
        *("Gelu", "BiasGelu", "FastGelu", "QuickGelu", "LeakyRelu", "Elu", "Softplus"),
        *("LayerNormalization", "SkipLayerNormalization", "SimplifiedLayerNormalization"),
    )
)
_ROWS = 1  # the axis of tokens: values are (batch, tokens, ...)
_INDEX = "first_row"
_BIAS = 5  # the input of MultiHeadAttention that is added to the scores

Places = list[tuple[onnx.NodeProto, int]]


def read_first_rows(graph: onnx.ModelProto) -> None:
    """Push each choice of the first token towards the inputs, past every node whose other rows nobody reads.

    Keys and values of a last layer that is fused need all rows, its queries one. Attention that is not fused stays as
    it is; what follows it has one row.
    """
    weights, readers = weights_of(graph), count_readers(graph)
    outputs = {value.name for value in graph.graph.output}
    makers = {name: node for node in graph.graph.node for name in node.output}
    wanted: dict[str, Places] = {}
    for node in graph.graph.node:
        if _chooses_first(node, weights) and node.input[0] in makers:
            wanted.setdefault(node.input[0], []).append((node, 0))
    begun = set(wanted)
    stops: list[str] = []
    biased: list[onnx.NodeProto] = []
    for node in reversed(graph.graph.node):
        asked = [name for name in node.output if name in wanted]
        if not asked:
            continue
        places = _row_places(node, weights)
        alone = all(len(wanted.get(name, ())) == readers[name] for name in node.output) and not outputs & set(asked)
        if places is None or not alone:
            stops += asked
            continue
        if node.op_type == "MultiHeadAttention" and len(node.input) > _BIAS and node.input[_BIAS]:
            biased.append(node)
        for place in places:
            wanted.setdefault(node.input[place], []).append((node, place))
    stops += [name for name in wanted if name not in makers]
    nodes = list(graph.graph.node)
    for name in stops:
        if name in begun and all(_chooses_first(node, weights) for node, _ in wanted[name]):
            continue  # nothing was pushed past
        first = _first_query(graph, nodes, name, makers, readers) or _first_of(graph, nodes, name, makers)
        for node, place in wanted[name]:
            node.input[place] = first
    for node in biased:  # (batch or 1, heads or 1, queries, keys)
        node.input[_BIAS] = _first_of(graph, nodes, node.input[_BIAS], makers, axis=2)
    replace_nodes(graph, nodes)
    remove_unused(graph)


def _chooses_first(node: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> bool:
    if node.op_type != "Gather" or node.input[1] not in weights:
        return False
    return _axis(node) == _ROWS and numpy_helper.to_array(weights[node.input[1]]).tolist() == 0


def _row_places(node: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> list[int] | None:
    """Which inputs of a node need only the rows that its output has; None: that is not known."""
    computed = [place for place, name in enumerate(node.input) if name and name not in weights]
    constants = [weights[name] for name in node.input if name in weights]
    if node.op_type in _BY_ROW and all(len(each.dims) < 2 or each.dims[-2] == 1 for each in constants):
        return computed
    if node.op_type == "MatMul" and computed == [0] and len(constants[0].dims) == 2:
        return computed
    if node.op_type == "Split" and computed == [0]:
        return computed if _axis(node) in (-1, 2) else None
    if node.op_type == "MultiHeadAttention" and len(node.input) > 2 and not any(node.input[_BIAS + 1 :]):
        return [0]
    return None


def _axis(node: onnx.NodeProto) -> int:
    return next((each.i for each in node.attribute if each.name == "axis"), 0)


def _first_of(
    graph: onnx.ModelProto,
    nodes: list[onnx.NodeProto],
    name: str,
    makers: dict[str, onnx.NodeProto],
    axis: int = _ROWS,
) -> str:
    """(batch, 1, ...): the first row of a value."""
    if _INDEX not in weights_of(graph):
        add_weight(graph, _INDEX, np.zeros(1, dtype=np.int64))
    first = f"{name}/first"
    if not any(node.output[0] == first for node in nodes):
        place = module_of(makers[name]) if name in makers else name
        nodes.append(helper.make_node("Gather", [name, _INDEX], [first], name=f"{place}/First", axis=axis))
    return first


def _first_query(
    graph: onnx.ModelProto,
    nodes: list[onnx.NodeProto],
    name: str,
    makers: dict[str, onnx.NodeProto],
    readers: dict[str, int],
) -> str | None:
    """The first row of queries that are packed with keys and values in one product: a product of their own. None: they
    are not, or other layers share the matrix, or more than attention reads them (as DeBERTa's positions do)."""
    weights = weights_of(graph)
    split = makers.get(name)
    if split is None or split.op_type != "Split" or split.output[0] != name or len(split.input) < 2:
        return None
    if readers[name] > 1:
        return None
    added = makers[split.input[0]]
    product = makers.get(added.input[0]) if added.op_type == "Add" else None
    if product is None or product.op_type != "MatMul":
        return None
    names = (product.input[1], added.input[1], split.input[1])
    if any(each not in weights for each in names) or any(readers[each] > 1 for each in names[:2]):
        return None
    matrix, bias, sizes = (numpy_helper.to_array(weights[each]) for each in names)
    width, own = int(sizes[0]), module_of(split)
    first = _first_of(graph, nodes, product.input[0], makers)
    for part, columns, source in (
        ("query", slice(0, width), first),
        ("key_value", slice(width, None), product.input[0]),
    ):
        module = f"{own}.{part}"
        add_weight(graph, f"{module}.weight.T", np.ascontiguousarray(matrix[:, columns]))
        add_weight(graph, f"{module}.bias", np.ascontiguousarray(bias[columns]))
        nodes.append(
            helper.make_node("MatMul", [source, f"{module}.weight.T"], [f"{module}_product"], name=f"{module}/MatMul")
        )
        nodes.append(helper.make_node("Add", [f"{module}_product", f"{module}.bias"], [module], name=f"{module}/Add"))
    rest: Sequence[str] = split.output[1:]
    sized = add_weight(graph, f"{own}.key_value.sizes", np.ascontiguousarray(sizes[1:]))
    nodes.append(
        helper.make_node("Split", [f"{own}.key_value", sized], list(rest), name=f"{own}.key_value/Split", axis=-1)
    )
    nodes[:] = [node for node in nodes if node is not split]
    return f"{own}.query"
