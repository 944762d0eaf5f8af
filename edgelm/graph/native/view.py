"""A saved graph, looked at from all sides: who makes a tensor, who reads it, and where its constants lie."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from edgelm.graph.branches import unbranch
from edgelm.graph.parts import part_before
from edgelm.graph.session import make_plain_session


class Unsupported(Exception):
    """The graph has something that no program can say; it runs by onnxruntime alone."""


class GraphView:
    """A graph whose larger constants lie in one file beside it."""

    def __init__(self, path: Path, weights: str) -> None:
        model = onnx.load(str(path), load_external_data=False)
        unbranch(model)
        self.nodes: list[onnx.NodeProto] = list(model.graph.node)
        self.opsets, self.ir_version = list(model.opset_import), int(model.ir_version)
        self.inputs = [value.name for value in model.graph.input]
        self.outputs = [value.name for value in model.graph.output]
        self._makers = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self.readers[name].append(node)
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self._weights = path.parent / weights
        self._sessions: dict[str, Any] = {}

    def is_constant(self, name: str) -> bool:
        """Whether a tensor is one of the graph's constants."""
        return name in self._tensors

    def constant(self, name: str) -> np.ndarray:
        """The values of a constant.

        Raises:
            Unsupported: it is none.
        """
        if name not in self._tensors:
            raise Unsupported(f"{name} is computed")
        tensor = self._tensors[name]
        offset = self.offset(name)
        if offset is None:
            return numpy_helper.to_array(tensor)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        shape = tuple(tensor.dims)
        if not self._weights.stat().st_size:
            raise Unsupported(f"{self._weights.name} is empty")
        return np.memmap(self._weights, dtype=dtype, mode="r", offset=offset, shape=shape)

    def compute(self, name: str, ids: np.ndarray) -> np.ndarray:
        """A value as the graph computes it where each of its inputs is this, (batch, sequence)."""
        if self.is_constant(name):
            return self.constant(name)
        if name not in self._sessions:
            self._sessions[name] = make_plain_session(
                part_before(
                    self.nodes,
                    name,
                    inputs=self.inputs,
                    constant=self._tensor,
                    opsets=self.opsets,
                    ir_version=self.ir_version,
                )
            )
        session = self._sessions[name]
        (found,) = session.run(None, {each.name: ids for each in session.get_inputs()})
        result: np.ndarray = found
        return result

    def _tensor(self, name: str) -> onnx.TensorProto | None:
        if not self.is_constant(name):
            return None
        return numpy_helper.from_array(np.ascontiguousarray(self.constant(name)), name)

    def offset(self, name: str) -> int | None:
        """Where a constant begins in the file beside the graph; None: it lies in the graph."""
        tensor = self._tensors[name]
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            return None
        return int({entry.key: entry.value for entry in tensor.external_data}.get("offset", "0"))

    def maker(self, name: str, *operators: str) -> onnx.NodeProto | None:
        """The node that computes a tensor, if it is of one of these operators."""
        node = self._makers.get(name)
        return node if node is not None and node.op_type in operators else None

    def only_reader(self, name: str, *operators: str) -> onnx.NodeProto | None:
        """The one node that reads a tensor, if it is of one of these operators and nothing else needs the tensor."""
        readers = self.readers[name]
        if name in self.outputs or len(readers) != 1 or readers[0].op_type not in operators:
            return None
        return readers[0]


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name."""
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def need(condition: bool, what: str) -> None:
    """Give up on what no program can say.

    Raises:
        Unsupported: the condition does not hold.
    """
    if not condition:
        raise Unsupported(what)
