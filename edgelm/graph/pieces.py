"""A graph in pieces that are computed one after another: what follows a place can be computed again with other values
there, and what comes before it is computed once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from edgelm.graph.rewrites import weights_of
from edgelm.graph.session import make_plain_session

Values = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Place:
    """Nodes of a graph that read one value and constants, and nothing else.

    Attributes:
        source: name of that value, of floats.
        made: names of all values that the nodes make.
        ends: names of those among them that other nodes read.
    """

    source: str
    made: tuple[str, ...]
    ends: tuple[str, ...]


class Pieces:
    """A graph, cut behind places: one piece ends with each, and one more follows.

    Attributes:
        places: in the order in which they are computed.
    """

    def __init__(self, graph: onnx.ModelProto, places: Sequence[Place]) -> None:
        self._graph = graph
        self._weights = weights_of(graph)
        self._outputs = [value.name for value in graph.graph.output]
        cut = list(_cut(graph, places))
        self.places = [place for _, place in cut if place is not None]
        self._nodes = [nodes for nodes, _ in cut]
        read = [{name for node in nodes for name in node.input} for nodes in self._nodes]
        made = [{name for node in nodes for name in node.output} for nodes in self._nodes]
        known = {value.name for value in graph.graph.input}.union(*made)
        self._reads = [sorted((read[number] & known) - made[number]) for number in range(len(cut))]
        self._needed = [known & set(self._outputs).union(*read[number + 1 :]) for number in range(len(cut))]
        for number, place in enumerate(self.places):
            self._needed[number] |= {place.source}
        self._gives = [sorted(made[number] & self._needed[number]) for number in range(len(cut))]
        self._sessions: dict[int, Any] = {}

    def advance(self, number: int, values: Values) -> dict[str, np.ndarray]:
        """Compute piece `number` (from 0).

        Args:
            values: the graph's inputs, or what the piece before gave.

        Returns:
            what is needed from there on, and the source of the place at the end.
        """
        gives = self._gives[number]
        found = self._session(number, values).run(gives, {name: values[name] for name in self._reads[number]})
        every = dict(values) | dict(zip(gives, found, strict=True))
        return {name: every[name] for name in self._needed[number] if name in every}

    def finish(self, number: int, values: Values) -> list[np.ndarray]:
        """The graph's outputs from what piece `number` gave, with some of it replaced."""
        for later in range(number + 1, len(self._nodes)):
            values = self.advance(later, values)
        return [values[name] for name in self._outputs]

    def part(self, place: Place) -> onnx.ModelProto:
        """The nodes of a place as a graph of its own, from its source to its ends."""
        nodes = [node for nodes in self._nodes for node in nodes if node.output[0] in place.made]
        source = helper.make_tensor_value_info(place.source, onnx.TensorProto.FLOAT, None)
        return self._model(nodes, [source], place.ends)

    def _session(self, number: int, values: Values) -> Any:
        """Made when it is first asked for: types of its inputs are known then."""
        if number not in self._sessions:
            inputs = [
                helper.make_tensor_value_info(
                    name, helper.np_dtype_to_tensor_dtype(values[name].dtype), [None] * values[name].ndim
                )
                for name in self._reads[number]
            ]
            self._sessions[number] = make_plain_session(self._model(self._nodes[number], inputs, self._gives[number]))
        return self._sessions[number]

    def _model(
        self, nodes: Sequence[onnx.NodeProto], inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[str]
    ) -> onnx.ModelProto:
        read = {name for node in nodes for name in node.input}
        graph = helper.make_graph(
            nodes, "piece", inputs, [helper.make_empty_tensor_value_info(name) for name in outputs]
        )
        graph.initializer.extend(self._weights[name] for name in sorted(read & self._weights.keys()))
        return helper.make_model(graph, opset_imports=self._graph.opset_import, ir_version=self._graph.ir_version)


def _cut(graph: onnx.ModelProto, places: Sequence[Place]) -> Iterator[tuple[list[onnx.NodeProto], Place | None]]:
    """The graph's nodes, place by place: those of a place come as soon as its source is known."""
    of_places = {name: place for place in places for name in place.made}
    at_places: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.graph.node:
        if node.output[0] in of_places:
            at_places.setdefault(of_places[node.output[0]].source, []).append(node)
    begins = {place.source: place for place in places}
    nodes: list[onnx.NodeProto] = []
    known = [value.name for value in graph.graph.input]
    for node in [None, *graph.graph.node]:
        if node is not None:
            if node.output[0] in of_places:
                continue
            nodes.append(node)
            known = list(node.output)
        while known:  # one place may end where the next begins
            source = known.pop(0)
            if source in begins:
                nodes += at_places[source]
                known += [name for each in at_places[source] for name in each.output]
                yield nodes, begins[source]
                nodes = []
    yield nodes, None
