"""Where a text may leave early, the nodes behind that place run for those alone that do not: a branch for each exit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import onnx
from onnx import TensorProto, helper

from edgelm.graph.rewrites import MICROSOFT, branches_of, constants_in

_SURE = ("Greater", "Sub", "Split", "TopK")  # what a choice between an early answer and a later one goes by, backwards
_QUESTION = ("Cast", "ReduceMin", "Cast")  # of the nodes of a branch, the one on which it hangs
_LATER = 2  # the input of Where that holds the answer of those who stay


def branch_at_exits(graph: onnx.ModelProto) -> None:
    """Put all that only a later answer needs, and its constants, behind the question whether any text of the batch
    waits for it.

    What comes out is the same: the rows of a batch in which one text stays still choose, each for itself. A graph
    without exits is left as it was, and so is one of standard operators, for compilers that know no branches.
    """
    if not any(entry.domain == MICROSOFT for entry in graph.opset_import):
        return
    weights = {tensor.name: tensor for tensor in graph.graph.initializer}
    nodes = _branched(list(graph.graph.node), weights)
    inside = {tensor.name for node in nodes for body in branches_of(node) for tensor in constants_in(body)}
    left = [tensor for name, tensor in weights.items() if name not in inside]
    del graph.graph.node[:], graph.graph.initializer[:]
    graph.graph.node.extend(nodes)
    graph.graph.initializer.extend(left)


def unbranch(graph: onnx.ModelProto) -> None:
    """Undo `branch_at_exits`: one list of nodes, in which an exit's question stands before all that hangs on it."""
    weights = list(constants_in(graph.graph))
    nodes = _unbranched(graph.graph.node)
    if len(nodes) == len(graph.graph.node):
        return
    del graph.graph.node[:], graph.graph.initializer[:]
    graph.graph.node.extend(nodes)
    graph.graph.initializer.extend(weights)


def is_exit(node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto]) -> bool:
    """Whether a node chooses between an early answer and a later one."""
    return node.op_type == "Where" and _threshold(node, makers) is not None


def _threshold(node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto]) -> str | None:
    """The name of the constant that an exit's largest logit must be further above the next; None: it is no exit."""
    at, threshold = makers.get(node.input[0]), None
    for operator in _SURE:
        while at is not None and at.op_type == "Cast":
            at = makers.get(at.input[0])
        if at is None or at.op_type != operator:
            return None
        threshold = threshold or at.input[1]
        at = makers.get(at.input[0])
    return threshold


def _branched(
    nodes: Sequence[onnx.NodeProto], weights: Mapping[str, onnx.TensorProto], read_before: frozenset[str] = frozenset()
) -> list[onnx.NodeProto]:
    """Nodes with their exits as branches; what nodes outside of them read, too, stays outside."""
    makers = {name: node for node in nodes for name in node.output}
    exits = [node for node in nodes if is_exit(node, makers)]
    inner = {name for node in exits for name in _before(node.input[_LATER], makers)}
    first = next((node for node in exits if node.output[0] not in inner), None)
    if first is None:
        return list(nodes)
    early = set[str]().union(*(_before(name, makers) for name in first.input[:_LATER]))
    behind = _before(first.input[_LATER], makers)
    later = [node for node in nodes if behind.intersection(node.output) and not early.intersection(node.output)]
    apart = {id(node) for node in (*later, first)}
    kept = [node for node in nodes if id(node) not in apart]
    outside = read_before.union(*(node.input for node in kept))
    body = [*_branched(later, weights, outside), first]
    deeper = {tensor.name for node in body for graph in branches_of(node) for tensor in constants_in(graph)}
    own = {name for node in later for name in node.input} - outside - deeper
    branch = _branch(first, body, [tensor for name, tensor in weights.items() if name in own], makers, weights)
    place = next((index for index, node in enumerate(kept) if first.output[0] in node.input), len(kept))
    return [*kept[:place], *branch, *kept[place:]]


def _branch(
    choice: onnx.NodeProto,
    body: Sequence[onnx.NodeProto],
    constants: Sequence[onnx.TensorProto],
    makers: Mapping[str, onnx.NodeProto],
    weights: Mapping[str, onnx.TensorProto],
) -> list[onnx.NodeProto]:
    """The question whether all texts leave, and what hangs on it: their answers, or the body, which ends in the
    choice."""
    name, (sure, answer, _) = choice.output[0], choice.input
    kind = weights[_threshold(choice, makers) or ""].data_type
    leaves = helper.make_node("Identity", [answer], [f"{name}/early"], name=f"{name}/Identity")
    stays = helper.make_node("Where", list(choice.input), [f"{name}/later"], name=f"{name}/Where")
    branches = {"then_branch": _body([leaves], [], kind), "else_branch": _body([*body[:-1], stays], constants, kind)}
    return [
        helper.make_node("Cast", [sure], [f"{name}/each"], name=f"{name}/Cast", to=TensorProto.INT32),
        helper.make_node("ReduceMin", [f"{name}/each"], [f"{name}/least"], name=f"{name}/ReduceMin", keepdims=0),
        helper.make_node("Cast", [f"{name}/least"], [f"{name}/all"], name=f"{name}/Cast_1", to=TensorProto.BOOL),
        helper.make_node("If", [f"{name}/all"], [name], name=f"{name}/If", **branches),
    ]


def _unbranched(nodes: Iterable[onnx.NodeProto]) -> list[onnx.NodeProto]:
    found: list[onnx.NodeProto] = []
    for node in nodes:
        if node.op_type != "If":
            found.append(node)
            continue
        del found[-len(_QUESTION) :]
        body = next(entry.g for entry in node.attribute if entry.name == "else_branch")
        inside = _unbranched(body.node)
        inside[-1].output[0] = node.output[0]
        found += inside
    return found


def _before(name: str, makers: Mapping[str, onnx.NodeProto]) -> set[str]:
    """A value and all that it is computed from."""
    found, waiting = set[str](), [name]
    while waiting:
        at = waiting.pop()
        if at not in found and at in makers:
            found |= {at, *makers[at].output}
            waiting += makers[at].input
    return found


def _body(nodes: Sequence[onnx.NodeProto], constants: Sequence[onnx.TensorProto], kind: int) -> onnx.GraphProto:
    """A branch, whose answer is the last node's."""
    answer = nodes[-1].output[0]
    value = helper.make_tensor_value_info(answer, kind, None)
    return helper.make_graph(nodes, answer, [], [value], initializer=constants)
