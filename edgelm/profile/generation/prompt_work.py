"""What the reading of a prompt takes, counted in a bundle's graphs: operations by precision and bytes of weights."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgelm.cost.operators import PRODUCTS
from edgelm.runtime import Bundle
from edgelm.runtime.generation.decoder import DECODER
from edgelm.runtime.graph_spec import GraphSpec

_ROWS_ALONE = {"Gather", "GatherBlockQuantized", "GatherND"}  # which read rows of a table, not all of it
_ATTENTIONS = ("GroupQueryAttention", "MultiHeadAttention")
_VIEWS = ("Cast", "DequantizeLinear", "Reshape", "Transpose")  # between a constant and the product that takes it
_HALF, _INT4 = 10, (21, 22)  # TensorProto.FLOAT16; UINT4 and INT4


@dataclass(frozen=True)
class PromptWork:
    """One graph that reads a prompt, or the step that follows a source.

    Attributes:
        body: multiplications of one token with the matrices of its layers, by precision.
        head: those of one row of logits, by precision; once a prompt.
        widths: of each attention, its heads times their width.
        weights: bytes, each once.
        nodes: of the graph.
        every: whether it reads every token of the prompt; an encoder-decoder's decoder reads one.
        causal: whether a token sees none behind it: half of the pairs.
    """

    body: Counter[str]
    head: Counter[str]
    widths: tuple[int, ...]
    weights: int
    nodes: int
    every: bool
    causal: bool

    def operations(self, tokens: int) -> Counter[str]:
        """Of a prompt of so many tokens, by precision; a multiplication and an addition are two, attention's own are
        in FP32."""
        rows = tokens if self.every else 1
        found = Counter({name: 2 * rows * count for name, count in self.body.items()})
        found.update({name: 2 * count for name, count in self.head.items()})
        pairs = rows * tokens / (2 if self.causal and self.every else 1)
        found["fp32"] += round(4 * pairs * sum(self.widths))
        return found


def prompt_works(bundle: Bundle) -> list[PromptWork]:
    """Of each graph of a generator's bundle.

    In graphs of standard operators, whose attention does not say how many heads ask, it is counted by the heads that
    are kept.
    """
    import onnx

    several = len(bundle.manifest.graphs) > 1
    vocabulary = _vocabulary(bundle.manifest.graph(DECODER))
    return [
        _count(
            onnx.ModelProto.FromString(bundle.read(spec.file)),
            spec,
            vocabulary=vocabulary,
            every=spec.name != DECODER or not several,
        )
        for spec in bundle.manifest.graphs
    ]


def _vocabulary(decoder: GraphSpec) -> int | None:
    sizes = [spec.shape[-1] for spec in decoder.outputs if spec.role == "logits"]
    return sizes[0] if sizes and isinstance(sizes[0], int) else None


def _count(model: Any, spec: GraphSpec, *, vocabulary: int | None, every: bool) -> PromptWork:
    body: Counter[str] = Counter()
    head: Counter[str] = Counter()
    for precision, rows, columns in _matrices(model):
        part = head if vocabulary in (rows, columns) and spec.name == DECODER else body
        part[precision] += rows * columns
    causal = spec.name == DECODER
    return PromptWork(body, head, _widths(model, spec), weight_bytes(model), len(model.graph.node), every, causal)


def _matrices(model: Any) -> Iterator[tuple[str, int, int]]:
    """Precision and sizes of each constant that tokens are multiplied with."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type not in PRODUCTS:
            continue
        if node.op_type == "MatMulNBits":
            said = {entry.name: entry.i for entry in node.attribute}
            yield "int4" if said["bits"] == 4 else "int8-weights", said["K"], said["N"]
            continue
        name, stored = node.input[1], node.input[1]
        while stored not in constants and stored in makers and makers[stored].op_type in _VIEWS:
            stored = makers[stored].input[0]
        if stored not in constants:
            continue  # attention's own products
        tensor = constants[stored]
        sizes = [size for size in tensor.dims if size > 1]
        if len(sizes) >= 2:
            yield _precision(node.op_type, tensor.data_type, name != stored), math.prod(sizes[:-1]), sizes[-1]


def _precision(operator: str, kind: int, changed: bool) -> str:
    said = PRODUCTS[operator]
    if said is not None:
        return said
    if kind in _INT4:
        return "int4"
    return "fp16" if kind == _HALF else "fp32" if kind == 1 else "int8-weights" if changed else "fp32"


def _widths(model: Any, spec: GraphSpec) -> tuple[int, ...]:
    """Of each attention."""
    keys = [value for value in (*spec.inputs, *spec.outputs) if value.role in ("past-key", "cross-key")]
    sizes = [(value.shape[1], value.shape[3]) for value in keys]
    heads = [
        entry.i
        for node in model.graph.node
        if node.op_type in _ATTENTIONS
        for entry in node.attribute
        if entry.name == "num_heads"
    ]
    if heads and sizes:
        return tuple(count * int(sizes[0][1]) for count in heads)
    return tuple(int(count) * int(width) for count, width in sizes)


def weight_bytes(model: Any) -> int:
    """What a step of a graph reads of its weights: each once, tables of which it takes single rows not at all.

    Args:
        model: a `ModelProto`, with or without its external data.
    """
    readers: dict[str, set[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    sizes: dict[Any, int] = {}
    for tensor in model.graph.initializer:
        outside = {entry.key: entry.value for entry in tensor.external_data}
        if readers.get(tensor.name, set()) <= _ROWS_ALONE:
            continue
        place = (outside["location"], outside.get("offset", "0")) if outside else tensor.name
        sizes[place] = int(outside["length"]) if outside else tensor.ByteSize()
    return sum(sizes.values())
