"""Graphs of models that write in operators of the ONNX standard alone, for engines of TensorRT."""

from edgelm.export.generation.plain.builder import PlainGraphBuilder
from edgelm.export.generation.plain.heads import PlainHeads
from edgelm.export.generation.plain.products import PlainProducts

__all__ = ["PlainGraphBuilder", "PlainHeads", "PlainProducts"]
