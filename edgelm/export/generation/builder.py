"""Writes a graph node by node: the operators that decoders and encoders of generators are made of, on onnxruntime's
CPU kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx
from numpy.typing import DTypeLike
from onnx import helper

from edgelm.errors import ModelError
from edgelm.graph.rewrites import MICROSOFT, add_weight
from edgelm.runtime.graph_spec import Role, TensorSpec

_OPSET = 20
_IR_VERSION = 10
# An activation by the names of transformers: operator, its domain and its attributes.
_ACTIVATIONS: dict[str, tuple[str, str, dict[str, float]]] = {
    "gelu": ("Gelu", MICROSOFT, {}),
    "gelu_new": ("FastGelu", MICROSOFT, {}),
    "gelu_fast": ("FastGelu", MICROSOFT, {}),
    "gelu_pytorch_tanh": ("FastGelu", MICROSOFT, {}),
    "quick_gelu": ("QuickGelu", MICROSOFT, {"alpha": 1.702}),
    "relu": ("Relu", "", {}),
    "silu": ("QuickGelu", MICROSOFT, {"alpha": 1.0}),
    "swish": ("QuickGelu", MICROSOFT, {"alpha": 1.0}),
}


@dataclass(frozen=True)
class GeneratorGraph:
    """A graph with what its tensors are.

    Attributes:
        model: the graph; its constants lie in it.
        inputs, outputs: in the graph's order.
    """

    model: onnx.ModelProto
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Norm:
    """A norm over the last axis: of layers or, without a bias, of root mean squares.

    Attributes:
        name: of the module.
        weight: (width,) float32.
        epsilon: added to the variance.
        bias: (width,) float32, or None.
    """

    name: str
    weight: np.ndarray
    epsilon: float
    bias: np.ndarray | None = None


class GraphBuilder:
    """A graph that grows from its inputs to its outputs.

    A place is the name of a PyTorch module, `model.layers.0.mlp`. A node there is named `model.layers.0.mlp/Mul`, with
    a number behind it where that is taken, and so is what it gives.

    Attributes:
        opsets: of the operators that it writes, by their domains.
        half: whether the graph's floats are FP16.
        float_type: of the graph's floats.
        model: the graph.
    """

    opsets: ClassVar[dict[str, int]] = {"": _OPSET, MICROSOFT: 1}

    def __init__(self, name: str, *, half: bool = False) -> None:
        """Begin an empty graph.

        Args:
            half: its floats are FP16.
        """
        self.half = half
        self.float_type = np.dtype(np.float16 if half else np.float32)
        opsets = [helper.make_opsetid(domain, version) for domain, version in self.opsets.items()]
        self.model = helper.make_model(
            helper.make_graph([], name, [], []), opset_imports=opsets, ir_version=_IR_VERSION, producer_name="edgelm"
        )
        self._inputs: list[TensorSpec] = []
        self._outputs: list[TensorSpec] = []
        self._used = set[str]()
        self._made: dict[str, str] = {}

    def input(
        self, name: str, dtype: DTypeLike, shape: Sequence[int | str], role: Role, layer: int | None = None
    ) -> str:
        """Declare an input and return its name."""
        spec = TensorSpec(name, np.dtype(dtype).name, tuple(shape), role, layer)
        self._inputs.append(spec)
        self.model.graph.input.append(_value_info(spec))
        self._used.add(name)
        return name

    def output(
        self, name: str, dtype: DTypeLike, shape: Sequence[int | str], role: Role, layer: int | None = None
    ) -> str:
        """Declare an output, which a node gives by this name (`node_giving`), and return its name."""
        spec = TensorSpec(name, np.dtype(dtype).name, tuple(shape), role, layer)
        self._outputs.append(spec)
        self.model.graph.output.append(_value_info(spec))
        self._used.add(name)
        return name

    def finish(self) -> GeneratorGraph:
        """The graph, with what was declared."""
        return GeneratorGraph(self.model, tuple(self._inputs), tuple(self._outputs))

    def constant(self, name: str, values: np.ndarray | np.generic | Sequence[int] | int | float) -> str:
        """Add a constant, floats in the graph's own precision and Python's integers as INT64, and return its name: a
        second of the same name is the first."""
        if name not in self._used:
            array = np.asarray(values)
            floats = array.dtype.kind == "f"
            add_weight(self.model, name, array.astype(self.float_type) if floats else array)
            self._used.add(name)
        return name

    def raw_constant(self, name: str, values: np.ndarray) -> str:
        """Add a constant in its own type, and return its name: a second of the same name is the first."""
        if name not in self._used:
            add_weight(self.model, name, values)
            self._used.add(name)
        return name

    def node(self, operator: str, inputs: Sequence[str], place: str, *, domain: str = "", **attributes: object) -> str:
        """Add a node that gives one value, and return the value's name."""
        name = self._unused(f"{place}/{operator}")
        self._add(operator, inputs, [name], name, domain, attributes)
        return name

    def nodes(
        self, operator: str, inputs: Sequence[str], place: str, count: int, *, domain: str = "", **attributes: object
    ) -> list[str]:
        """Add a node that gives several values, and return their names."""
        name = self._unused(f"{place}/{operator}")
        given = [self._unused(f"{name}.{index}") for index in range(count)]
        self._add(operator, inputs, given, name, domain, attributes)
        return given

    def node_giving(
        self,
        outputs: Sequence[str],
        operator: str,
        inputs: Sequence[str],
        place: str,
        *,
        domain: str = "",
        **attributes: object,
    ) -> None:
        """Add a node whose values have the names that are given: outputs of the graph, empty for what nobody reads."""
        name = self._unused(f"{place}/{operator}")
        self._add(operator, inputs, outputs, name, domain, attributes)

    def cast(self, source: str, dtype: DTypeLike, place: str) -> str:
        """A value in another type."""
        return self.node("Cast", [source], place, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def split(self, source: str, sizes: Sequence[int], place: str) -> list[str]:
        """The parts of a value along its last axis."""
        return self.nodes("Split", [source, self.constant(f"{place}.sizes", list(sizes))], place, len(sizes), axis=-1)

    def reshape(self, source: str, shape: Sequence[int], place: str) -> str:
        """A value in another shape: 0 keeps an axis, -1 takes what is left."""
        text = "x".join(str(size) for size in shape)
        return self.node("Reshape", [source, self.constant(f"shape.{text}", list(shape))], place)

    def range(self, end: str, place: str) -> str:
        """(end,): from 0 up."""
        return self.node("Range", [self.constant("zero", 0), end, self.constant("one", 1)], place)

    def once(self, key: str, make: Callable[[], str]) -> str:
        """A value that many nodes read: made when it is first asked for."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def norm(self, source: str, norm: Norm) -> str:
        """A norm over the last axis."""
        scale = self.constant(f"{norm.name}.weight", norm.weight)
        operator, inputs = "SimplifiedLayerNormalization", [source, scale]
        if norm.bias is not None:
            operator = "LayerNormalization"
            inputs.append(self.constant(f"{norm.name}.bias", norm.bias))
        return self.node(operator, inputs, norm.name, axis=-1, epsilon=norm.epsilon)

    def add_norm(self, source: str, skip: str, norm: Norm) -> tuple[str, str]:
        """The norm of a sum, and the sum.

        Root mean square norms take the sum in; for layer norms the fused operator is the slower one
        (benchmarks/norms.py).
        """
        if norm.bias is not None:
            total = self.node("Add", [source, skip], norm.name)
            return self.norm(total, norm), total
        scale = self.constant(f"{norm.name}.weight", norm.weight)
        normed, total = (self._unused(f"{norm.name}/{part}") for part in ("Norm", "Sum"))
        self.node_giving(
            [normed, "", "", total],
            "SkipSimplifiedLayerNormalization",
            [source, skip, scale],
            norm.name,
            domain=MICROSOFT,
            epsilon=norm.epsilon,
        )
        return normed, total

    def activation(self, source: str, kind: str, place: str) -> str:
        """An activation by the name that transformers gives it.

        Raises:
            ModelError: no operator computes it.
        """
        operator, domain, attributes = _known(kind, place)
        return self.node(operator, [source], place, domain=domain, **attributes)

    def _add(
        self,
        operator: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        name: str,
        domain: str,
        attributes: dict[str, object],
    ) -> None:
        node = helper.make_node(operator, list(inputs), list(outputs), name=name, domain=domain, **attributes)
        self.model.graph.node.append(node)

    def _unused(self, name: str) -> str:
        found, count = name, 1
        while found in self._used:
            found, count = f"{name}_{count}", count + 1
        self._used.add(found)
        return found


def _known(kind: str, place: str) -> tuple[str, str, dict[str, float]]:
    """The operator of an activation.

    Raises:
        ModelError: there is none.
    """
    if kind not in _ACTIVATIONS:
        raise ModelError(
            f"{place}: the activation {kind!r} has no operator here.",
            hint=f"Known activations: {', '.join(_ACTIVATIONS)}.",
        )
    return _ACTIVATIONS[kind]


def _value_info(spec: TensorSpec) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(
        spec.name, helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), list(spec.shape)
    )
