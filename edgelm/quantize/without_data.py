"""A graph in any precision without a look at data: what it computes is worth nothing, what it costs is what a real
export costs."""

from __future__ import annotations

import onnx

from edgelm.graph.fusion import fuse_attention, split_norms
from edgelm.precision import precision_of
from edgelm.quantize.embeddings import quantize_embeddings
from edgelm.quantize.half import to_half
from edgelm.quantize.integers import QuantizationPlan, quantize_dynamic, quantize_static
from edgelm.quantize.matmuls import find_matmuls
from edgelm.quantize.weight_only import quantize_weights

_RANGE = (-4.0, 4.0)


def quantize_blindly(graph: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    """Convert a float graph for onnxruntime's CPU kernels, with the same range for every activation; the steps are
    those of an export."""
    row = precision_of(precision)
    if row.conversion == "none":
        fuse_attention(graph)
        return graph
    split_norms(graph)
    if row.conversion == "half":
        return to_half(graph, precision)
    if row.conversion == "blocks":
        return quantize_embeddings(quantize_weights(graph, bits=row.bits))
    if row.conversion == "dynamic":
        return quantize_embeddings(quantize_dynamic(graph, QuantizationPlan()))
    base = quantize_embeddings(graph)
    result = quantize_static(base, QuantizationPlan(ranges={product.source: _RANGE for product in find_matmuls(base)}))
    fuse_attention(result)
    return result
