"""What a bundle weighs and what a device of known figures would take, by the shapes of its layers: tables that nobody
measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from edgelm.budgeting.carried import carried_mb
from edgelm.checkpoint import Checkpoint
from edgelm.cost.roofline import load_constants, price, total_ms
from edgelm.cost.synthetic import encoder_work
from edgelm.device import Device
from edgelm.latency_table import LatencyTable
from edgelm.precision import precision_of
from edgelm.quantize.blocks import BLOCK
from edgelm.quantize.matmuls import SMALLEST
from edgelm.quantize.target import target_of
from edgelm.runtime.script import vendored_files
from edgelm.shapes import LayerShape, ModelSizes

PROCESS_MB = 62.0  # Python, numpy, tokenizers and onnxruntime with an empty graph, and the tokenizer's tables
_BESIDE_MB = 0.06  # manifest, golden samples, C++ example and structure of the graph; the runtime is counted


def row_bytes(sizes: ModelSizes, precision: str, device: Device, embedding_bits: int = 8) -> float:
    """Bytes of one embedding row (hidden,).

    Floats: hidden x width. Integers on a CPU: one byte a value and an FP32 scale; with `embedding_bits` 4, half a byte
    and an FP16 scale per block.
    """
    if not (precision_of(precision).integers and target_of(device).integer_embeddings):
        return sizes.hidden * _float_bytes(precision, device)
    if embedding_bits == 4:
        return -(-sizes.hidden // 2) + 2 * -(-sizes.hidden // BLOCK)
    return sizes.hidden + 4


def size_table(
    sizes: ModelSizes, precision: str, device: Device, *, tokenizer_mb: float, embedding_bits: int = 8
) -> LatencyTable:
    """A table in 10^6 bytes of the bundle, without engines. Integers have one FP32 scale for each output; small
    matrices stay floats.

    Args:
        tokenizer_mb: of tokenizer.json, which goes into the bundle.
    """
    row = precision_of(precision)
    small = _float_bytes(precision, device)  # also biases and norms
    scale = row.column_bytes
    rows = sizes.vocabulary + sizes.types + (sizes.positions if sizes.position_table else 0)
    table = rows * row_bytes(sizes, precision, device, embedding_bits)
    norm = 2 * sizes.hidden * small
    layer = 3 * norm  # two norms, and the biases of two output projections

    def matrix(rows: int, columns: int) -> float:
        exact = row.integers and rows * columns < SMALLEST
        return rows * columns * (small if exact else row.weight_bytes)

    head = matrix(sizes.hidden, sizes.hidden) + matrix(sizes.hidden, sizes.outputs) + 8 * sizes.hidden

    def attention(heads: int) -> float:
        width = heads * sizes.head_size
        products = matrix(sizes.hidden, 3 * width) + matrix(width, sizes.hidden)
        return (products + 3 * width * (small + scale) + sizes.hidden * scale * (heads > 0)) / 1e6

    def ffn(channels: int) -> float:
        inner = sizes.ffn_matrices - 1  # of channels and gates, fused into one matrix
        products = matrix(sizes.hidden, inner * channels) + matrix(channels, sizes.hidden)
        return (products + inner * channels * (small + scale) + sizes.hidden * scale * (channels > 0)) / 1e6

    runtime_mb = carried_mb(vendored_files(generates=False).values())
    rest = (table + norm + head) / 1e6 + tokenizer_mb + runtime_mb + _BESIDE_MB
    # A point at every 16 channels: from one to the next, a matrix may become large enough for integers.
    return _linear("counted", "MB", sizes, precision, 0, rest, layer / 1e6, attention, ffn, points=sizes.ffn // 16)


def _float_bytes(precision: str, device: Device) -> float:
    """Of a number that is a float: beside integers FP32 on a CPU, and FP16 else."""
    return precision_of(precision_of(precision).floats or target_of(device).floats).weight_bytes


def tokenizer_mb(checkpoint: Checkpoint) -> float:
    """Of the tokenizer as a bundle holds it, 10^6 bytes: without the spaces that a checkpoint's has."""
    file = checkpoint.tokenizer_path / "tokenizer.json"
    if not file.is_file():
        return 0.0
    values = json.loads(file.read_text(encoding="utf-8"))
    return len(json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()) / 1e6


def estimate(device: Device, sizes: ModelSizes, precision: str, sequence: int) -> LatencyTable:
    """A latency table from a device's figures by the cost model (`edgelm.cost`), always *estimated*, with the band of
    its error.

    As in a table that is measured, what a module adds is its difference to the graph without heads and channels.

    Raises:
        UsageError: the device's file lacks a figure that this takes.
    """
    constants, target = load_constants(device.kind), target_of(device)

    def cost(*shapes: LayerShape) -> float:
        works = encoder_work(sizes, shapes, precision, batch=1, sequence=sequence, compiled=target.compiled)
        return total_ms(price(works, device, constants), constants)

    rest, norms = cost(), cost(LayerShape(0, 0))
    table = _linear(
        "estimated",
        "ms",
        sizes,
        precision,
        sequence,
        rest,
        norms - rest,
        lambda heads: cost(LayerShape(heads, 0)) - norms,
        lambda channels: cost(LayerShape(0, channels)) - norms,
        points=target.table_points,
    )
    return replace(table, band=constants.band)


def _linear(
    source: str,
    unit: str,
    sizes: ModelSizes,
    precision: str,
    sequence: int,
    rest: float,
    layer: float,
    attention: Callable[[int], float],
    ffn: Callable[[int], float],
    *,
    points: int = 32,
) -> LatencyTable:
    heads = {0: 0.0} | {count: attention(count) for count in range(1, sizes.heads + 1)}
    step = max(1, sizes.ffn // max(1, points))
    channels = {0: 0.0} | {count: ffn(count) for count in (*range(step, sizes.ffn, step), sizes.ffn)}
    return LatencyTable(source, unit, sizes, precision, sequence, rest, layer, heads, channels)
