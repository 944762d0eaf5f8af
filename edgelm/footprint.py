"""What a bundle weighs and what a device of known figures would take, by the shapes of its layers: tables that nobody measured."""

from __future__ import annotations

import functools
from collections.abc import Callable

from edgelm.device import Device
from edgelm.errors import UsageError
from edgelm.latency import EncoderSizes, LatencyTable, count_operations

_WEIGHT_BYTES = {"fp32": 4.0, "fp16": 2.0, "bf16": 2.0, "int8": 1.0, "int8-dynamic": 1.0, "int8-weights": 1 + 2 / 32, "int4": 0.5 + 2 / 32}
_BESIDE_MB = 0.12  # manifest, golden samples, runtime and structure of the graph
_LAUNCH_MS = 0.004  # of a kernel on a GPU: a few microseconds, whatever it computes
_NODES = {"rest": 12, "attention": 4, "ffn": 3}  # kernels that are left after fusion


def row_bytes(sizes: EncoderSizes, precision: str) -> float:
    """Of a row of an embedding table: with integers, bytes and one FP32 scale."""
    return sizes.hidden + 4 if precision.startswith("int") else sizes.hidden * _WEIGHT_BYTES[precision]


def weigh(sizes: EncoderSizes, precision: str, *, tokenizer_mb: float) -> LatencyTable:
    """A table in 10^6 bytes of the bundle. Integers have one FP32 scale for each output, embeddings one for each row.

    Args:
        tokenizer_mb: of tokenizer.json, which goes into the bundle.
    """
    each = _WEIGHT_BYTES[precision]
    small = 4.0 if precision.startswith("int") or precision == "fp32" else 2.0  # biases, norms
    scale = 4.0 if precision in ("int8", "int8-dynamic") else 0.0
    table = (sizes.vocabulary + sizes.positions + sizes.types) * row_bytes(sizes, precision)
    norm = 2 * sizes.hidden * small
    layer = 3 * norm  # two norms, and the biases of two output projections
    head = sizes.hidden * sizes.hidden * each + sizes.hidden * (sizes.outputs * 4.0 + 8)

    def attention(heads: int) -> float:
        width = heads * sizes.head_size
        return (4 * width * sizes.hidden * each + 3 * width * (small + scale) + sizes.hidden * scale * (heads > 0)) / 1e6

    def ffn(channels: int) -> float:
        return (2 * channels * sizes.hidden * each + channels * (small + scale) + sizes.hidden * scale * (channels > 0)) / 1e6

    rest = (table + norm + head) / 1e6 + tokenizer_mb + _BESIDE_MB
    return _linear("counted", "MB", sizes, precision, 0, rest, layer / 1e6, attention, ffn)


def estimate(device: Device, sizes: EncoderSizes, precision: str, sequence: int) -> LatencyTable:
    """A latency table from a device's published figures, always *estimated*: for each block the longer of its operations at the peak rate
    and its weights at the memory's bandwidth (the roofline of Williams et al., 2009), and a few microseconds a kernel.

    Raises:
        UsageError: the device's file has no figures for the precision.
    """
    base = precision.partition("-")[0]
    rate = device.compute.get(base) or device.compute.get("fp16")  # type: ignore[call-overload]
    if not rate or not device.bandwidth_gb_s:
        raise UsageError(
            f"device {device.name} has no published figures to estimate a latency in {precision} from.",
            hint="Measure there with `edgelm profile MODEL --table FILE`, and give that file with --table.",
        )
    bandwidth = device.bandwidth_gb_s
    megabytes, multiplications = weigh(sizes, precision, tokenizer_mb=0.0), count_operations(sizes, sequence)

    def block(kind: str, units: int) -> float:
        operations = 2e6 * multiplications.module_cost(kind, units)  # each with its addition
        return max(operations / (rate * 1e9), megabytes.module_cost(kind, units) / bandwidth) + _NODES[kind] * _LAUNCH_MS

    rest, layer = _NODES["rest"] * _LAUNCH_MS, 2 * _LAUNCH_MS  # two norms a layer
    return _linear("estimated", "ms", sizes, precision, sequence, rest, layer, functools.partial(block, "attention"), functools.partial(block, "ffn"))


def _linear(
    source: str,
    unit: str,
    sizes: EncoderSizes,
    precision: str,
    sequence: int,
    rest: float,
    layer: float,
    attention: Callable[[int], float],
    ffn: Callable[[int], float],
) -> LatencyTable:
    heads = {0: 0.0} | {count: attention(count) for count in range(1, sizes.heads + 1)}
    step = max(1, sizes.ffn // 32)
    channels = {0: 0.0} | {count: ffn(count) for count in (*range(step, sizes.ffn, step), sizes.ffn)}
    return LatencyTable(source, unit, sizes, precision, sequence, rest, layer, heads, channels)
