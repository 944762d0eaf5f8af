"""The work of a graph: operations by precision, bytes that are read and written, and kernels that are started, operator
by operator."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import onnx
from onnx import helper

from edgelm.cost.operators import ATTENTIONS, NORMS, POINTWISE, PRODUCTS, SOFTMAX, Kind, kind_of
from edgelm.cost.shapes import Value, infer_values

_FLOATS = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16", "double": "fp32"}
_BOOKKEEPING = ("int64", "int32", "bool")


@dataclass(frozen=True)
class Work:
    """What one operator does in one call.

    Attributes:
        operator: ONNX type.
        kind: see `edgelm.cost.operators`.
        precision: of its operations, as a bundle's: fp32, fp16, bf16, int8, int8-dynamic, int8-weights or int4.
        operations: a multiplication and an addition are two.
        weights: bytes of constants that are read.
        activations: bytes of computed values that are read or written.
        launches: kernels; 0 where the work is done inside that of another operator.
    """

    operator: str
    kind: Kind
    precision: str
    operations: float
    weights: float
    activations: float
    launches: int


def graph_work(graph: onnx.ModelProto, *, batch: int, sequence: int, fused: bool = False) -> tuple[Work, ...]:
    """Count a graph.

    Args:
        batch, sequence: texts and tokens of each.
        fused: the runtime compiles the graph, as TensorRT does: elementwise operators, Q/DQ and the softmax of
            attention are done inside the kernel that made what they read, and the value between is written for other
            readers alone; sizes are known before. False: every node is a kernel.

    Raises:
        InputError: as `infer_values`.
    """
    values = infer_values(graph, batch, sequence)
    counter = _Counter(graph, values, fused)
    for node in graph.graph.node:
        if not all(values[name].constant for name in node.output if name):
            counter.add(node)
    return tuple(counter.works)


class _Counter:
    """The works so far, and which of them made each value."""

    def __init__(self, graph: onnx.ModelProto, values: dict[str, Value], fused: bool) -> None:
        self.works: list[Work] = []
        self._values, self._fused = values, fused
        self._readers = Counter(name for node in graph.graph.node for name in node.input)
        self._makers = {name: node for node in graph.graph.node for name in node.output}
        self._kernels: dict[str, int] = {}  # by value, the work in whose kernel it is made

    def add(self, node: onnx.NodeProto) -> None:
        kind = kind_of(node.op_type)
        if kind == "product" and not self._values[node.input[1]].constant:
            kind = "attention"
        made = {"product": self._product, "attention": self._attention}.get(kind, self._plain)(node, kind)
        into = self._joined(node, kind) if self._fused else None
        if into is not None:
            self._join(node, made[0], into)
        else:
            self.works += made
            for name in node.output:
                self._kernels[name] = len(self.works) - 1

    def _plain(self, node: onnx.NodeProto, kind: Kind) -> list[Work]:
        out = [self._values[name] for name in node.output if name]
        operations = {"norm": NORMS, "pointwise": POINTWISE}.get(kind, {}).get(node.op_type, float(kind == "pointwise"))
        elements = out[0].elements if not node.op_type.startswith("Reduce") else self._values[node.input[0]].elements
        written = sum(value.bytes for value in out)
        weights, read = self._read(node)
        if kind == "move":  # a look-up reads the rows that it gives, not the table
            constant = self._values[node.input[0]].constant
            weights, read = (written, 0.0) if constant else (0.0, written)
        if kind == "view":
            return [Work(node.op_type, kind, "fp32", 0.0, 0.0, 0.0, 0 if self._fused else 1)]
        known = self._fused and out[0].dtype in _BOOKKEEPING
        return [
            Work(
                node.op_type, kind, self._float(node), operations * elements, weights, read + written, 0 if known else 1
            )
        ]

    def _product(self, node: onnx.NodeProto, kind: Kind) -> list[Work]:
        out = self._values[node.output[0]]
        weights, read = self._read(node)
        return [
            Work(
                node.op_type,
                kind,
                self._precision(node),
                2.0 * out.elements * self._inner(node),
                weights,
                read + out.bytes,
                1,
            )
        ]

    def _attention(self, node: onnx.NodeProto, kind: Kind) -> list[Work]:
        """Scores, softmax and mixing; before them the projection, where the operator has it."""
        out = self._values[node.output[0]]
        weights, read = self._read(node)
        if node.op_type not in ATTENTIONS:
            return [
                Work(
                    node.op_type,
                    kind,
                    self._float(node),
                    2.0 * out.elements * self._inner(node),
                    0.0,
                    read + out.bytes,
                    1,
                )
            ]
        heads = helper.get_node_attr_value(node, "num_heads")
        batch, length, width = out.shape
        keys = self._values[node.input[1]].shape[1] if node.op_type == "MultiHeadAttention" else length
        scores = 4.0 * batch * length * keys * width + SOFTMAX * batch * heads * length * keys
        inner = Work(node.op_type, kind, self._float(node), scores, 0.0, 4.0 * out.bytes, 1)
        if node.op_type == "MultiHeadAttention":
            return [inner]
        size, columns = self._values[node.input[1]].shape
        packed = out.bytes / width * columns
        precision = ATTENTIONS[node.op_type] or self._float(node)
        return [
            Work(node.op_type, "product", precision, 2.0 * batch * length * size * columns, weights, read + packed, 1),
            inner,
        ]

    def _joined(self, node: onnx.NodeProto, kind: Kind) -> int | None:
        """The work in whose kernel a compiler does this node: the last that made one of its inputs, for nobody else
        unless the node quantizes it."""
        softmax = node.op_type == "Softmax" or (kind == "attention" and node.op_type in PRODUCTS)
        if kind not in ("pointwise", "view") and node.op_type != "Transpose" and not softmax:
            return None
        # A kernel also writes the integers of a value that others read as it is.
        shared = node.op_type == "QuantizeLinear"
        found = [
            self._kernels[name] for name in node.input if name in self._kernels and (shared or self._readers[name] == 1)
        ]
        if softmax:
            found = [index for index in found if self.works[index].kind == "attention"]
        return max(found, default=None)

    def _join(self, node: onnx.NodeProto, work: Work, into: int) -> None:
        """Its operations stay; what it makes and reads besides is moved, the value between the two is not read, nor
        written but for others."""
        host = self.works[into]
        between = [name for name in node.input if self._kernels.get(name) == into]
        read = sum(self._stored(name).bytes for name in between)
        unwritten = sum(self._stored(name).bytes for name in between if self._readers[name] == 1)
        moved = 0.0 if work.kind == "view" or node.op_type == "DequantizeLinear" else max(0.0, work.activations - read)
        self.works[into] = replace(
            host,
            weights=host.weights + work.weights,
            activations=max(0.0, host.activations - unwritten * bool(moved)) + moved,
        )
        self.works.append(replace(work, weights=0.0, activations=0.0, launches=0))
        for name in node.output:
            self._kernels[name] = into

    def _read(self, node: onnx.NodeProto) -> tuple[float, float]:
        """Bytes of constants and of computed values."""
        weights = read = 0.0
        for name in filter(None, node.input):
            value = self._values[name]
            if value.constant:
                weights += self._stored(name).bytes
            else:
                read += self._stored(name).bytes
        return weights, read

    def _stored(self, name: str) -> Value:
        """A value as it lies in memory: what DequantizeLinear makes lies there as integers."""
        maker = self._makers.get(name)
        return (
            self._values[maker.input[0]]
            if maker is not None and maker.op_type == "DequantizeLinear"
            else self._values[name]
        )

    def _inner(self, node: onnx.NodeProto) -> int:
        """The size that a product sums over."""
        shape = self._values[node.input[0]].shape
        turned = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return shape[-2] if turned else shape[-1]

    def _precision(self, node: onnx.NodeProto) -> str:
        """Of a product with a constant."""
        said = PRODUCTS[node.op_type]
        if node.op_type == "MatMulNBits":
            return "int4" if helper.get_node_attr_value(node, "bits") == 4 else "int8-weights"
        if said is not None:
            dynamic = (
                node.op_type == "MatMulInteger"
                and getattr(self._makers.get(node.input[0]), "op_type", "") == "DynamicQuantizeLinear"
            )
            return "int8-dynamic" if dynamic else said
        integers = [self._stored(name) is not self._values[name] for name in node.input[:2]]
        return "int8" if all(integers) else "int8-weights" if integers[1] else self._float(node)

    def _float(self, node: onnx.NodeProto) -> str:
        return _FLOATS.get(self._values[node.output[0]].dtype, "fp32")
