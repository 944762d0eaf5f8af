"""The operators that graphs of models that write are written in: onnxruntime's own, or those of the ONNX standard
alone, for TensorRT."""

from __future__ import annotations

from dataclasses import dataclass

from edgelm.device import Device
from edgelm.export.generation.builder import GraphBuilder
from edgelm.export.generation.heads import Heads
from edgelm.export.generation.plain import PlainGraphBuilder, PlainHeads, PlainProducts
from edgelm.export.generation.products import Products
from edgelm.precision import precision_of
from edgelm.quantize.target import target_of


@dataclass(frozen=True)
class Dialect:
    """One set of primitives, which all families are written with.

    Attributes:
        graph: norms and activations.
        products: matrix products and tables.
        heads: attention between its projections, with its cache.
        floats: precision of the floats beside weights in integers.
    """

    graph: type[GraphBuilder]
    products: type[Products]
    heads: type[Heads]
    floats: str

    def builder(self, name: str, precision: str) -> GraphBuilder:
        """An empty graph for weights of a precision."""
        floats = self.floats if precision_of(precision).integers else precision
        return self.graph(name, half=floats == "fp16")


ONNXRUNTIME = Dialect(GraphBuilder, Products, Heads, floats="fp32")
PLAIN = Dialect(PlainGraphBuilder, PlainProducts, PlainHeads, floats="fp16")


def dialect_of(device: Device) -> Dialect:
    """What a device's graphs are written in."""
    return ONNXRUNTIME if target_of(device).fused else PLAIN
