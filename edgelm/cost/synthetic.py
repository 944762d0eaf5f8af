"""The work of encoders of any shape in any precision, without a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgelm.cost.work import Work, graph_work
from edgelm.graph.synthetic import encoder_graph
from edgelm.precision import precision_of
from edgelm.quantize.target import TENSORRT
from edgelm.quantize.without_data import quantize_blindly
from edgelm.shapes import LayerShape, ModelSizes


def encoder_work(
    sizes: ModelSizes,
    shapes: Sequence[LayerShape],
    precision: str,
    *,
    batch: int,
    sequence: int,
    compiled: bool,
    beside: str | None = None,
) -> tuple[Work, ...]:
    """Of the graph that an export has.

    Args:
        compiled: as `graph_work`'s `fused`.
        beside: of a compiled graph, the precision of what lies between the products, and of attention's own; None: as
            an export has it, FP16 beside integers.
    """
    small = replace(sizes, vocabulary=min(sizes.vocabulary, 2048))  # a text reads few rows
    if not compiled:
        return graph_work(quantize_blindly(encoder_graph(small, shapes), precision), batch=batch, sequence=sequence)
    graph = encoder_graph(small, shapes, blank=True, first_rows=False)  # as exports for TensorRT are
    works = graph_work(graph, batch=batch, sequence=sequence, fused=True)
    beside = beside or precision_of(precision).floats or TENSORRT.floats
    return tuple(_as_precision(work, precision, beside) for work in works)


def _as_precision(work: Work, precision: str, beside: str) -> Work:
    """An FP32 work as it is in another precision."""
    own = precision if work.kind == "product" else beside
    return replace(
        work,
        precision=own,
        activations=work.activations / 4 * precision_of(beside).weight_bytes,
        weights=work.weights / 4 * precision_of(own).weight_bytes,
    )
