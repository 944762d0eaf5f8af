"""The work of encoders of any shape in any precision, without a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgelm.checkpoint import LayerShape
from edgelm.cost.work import Work, graph_work
from edgelm.graph.synthetic import encoder_graph
from edgelm.latency_table import EncoderSizes
from edgelm.quantize.without_data import quantize_blindly

WEIGHT_BYTES = {
    "fp32": 4.0,
    "fp16": 2.0,
    "bf16": 2.0,
    "int8": 1.0,
    "int8-dynamic": 1.0,
    "int8-weights": 1 + 2 / 32,
    "int4": 0.5 + 2 / 32,
}
_BESIDE = {
    "fp32": "fp32",
    "bf16": "bf16",
}  # what a graph for a GPU has beside its products; FP16 else, also beside integers


def encoder_work(
    sizes: EncoderSizes,
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
    works = graph_work(encoder_graph(small, shapes, blank=True), batch=batch, sequence=sequence, fused=True)
    return tuple(_as_precision(work, precision, beside or _BESIDE.get(precision, "fp16")) for work in works)


def _as_precision(work: Work, precision: str, beside: str) -> Work:
    """An FP32 work as it is in another precision."""
    activations = work.activations / 4 * WEIGHT_BYTES[beside]
    own = precision if work.kind == "product" else beside
    return replace(work, precision=own, activations=activations, weights=work.weights / 4 * WEIGHT_BYTES[own])
