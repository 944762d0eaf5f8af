"""Time from work and a device's figures: for each operator the longer of its operations and its bytes (the roofline of
Williams et al., 2009), at shares of the device's peaks that were fitted to measured pairs, and a launch."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm.cost.work import Work
from edgelm.device import Device
from edgelm.errors import UsageError
from edgelm.precision import precision_of
from edgelm.quantize.target import target_of

FILE = Path(__file__).parent / "constants.json"  # written by benchmarks/cost_model.py


@dataclass(frozen=True)
class Constants:
    """What was fitted for a kind of device.

    Attributes:
        launch_us: of one kernel.
        call_us: of one call of the runtime.
        memory: share of the bandwidth; above 1 where caches hold what is read.
        shares: of the peak rate, by precision for products, and by kind (attention, norm, pointwise,
            SkipLayerNormalization) of the FP32 rate.
        band: 10th and 90th percentile of measured over estimated, on pairs that were not fitted to.
        provenance: what was fitted to and held out, in words.
    """

    launch_us: float
    call_us: float
    memory: float
    shares: Mapping[str, float]
    band: tuple[float, float]
    provenance: str


@dataclass(frozen=True)
class Cost:
    """Of one work, in ms: by its operations, by its bytes, and by its launches alone."""

    work: Work
    compute: float
    memory: float
    launch: float

    @property
    def ms(self) -> float:
        """In all."""
        return self.launch + max(self.compute, self.memory)


@functools.cache
def load_constants(kind: str) -> Constants:
    """Those of a kind of device: cpu, gpu or jetson; a Jetson's are a GPU's."""
    values: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))["gpu" if kind == "jetson" else kind]
    names = ("launch_us", "call_us", "memory", "shares", "provenance")
    return Constants(**{name: values[name] for name in names}, band=(values["band"][0], values["band"][1]))


def is_compiled(device: Device) -> bool:
    """Whether its runtime fuses operators into kernels of its own: TensorRT does, onnxruntime on a CPU runs the graph
    as it is."""
    return target_of(device).compiled


def price(works: Sequence[Work], device: Device, constants: Constants | None = None) -> list[Cost]:
    """The time of each work on a device.

    Raises:
        UsageError: the device's file lacks a figure that this takes.
    """
    constants = constants or load_constants(device.kind)
    return [_price(work, device, constants) for work in works]


def total_ms(costs: Sequence[Cost], constants: Constants) -> float:
    """Of one call."""
    return sum(cost.ms for cost in costs) + constants.call_us / 1e3


def _price(work: Work, device: Device, constants: Constants) -> Cost:
    if not device.bandwidth_gb_s:
        raise _lacking(device, "memory bandwidth")
    rate = peak_rate(device, work.precision if work.kind in ("product", "attention") else "fp32")
    name = (
        work.precision if work.kind == "product" else work.operator if work.operator in constants.shares else work.kind
    )
    compute = work.operations / (rate * 1e9 * constants.shares.get(name, 1.0))
    memory = (work.weights + work.activations) / (device.bandwidth_gb_s * 1e6 * constants.memory)
    return Cost(work, compute, memory, work.launches * constants.launch_us / 1e3)


def peak_rate(device: Device, precision: str) -> float:
    """In 10^12 operations a second.

    Raises:
        UsageError: neither the device's file nor another of its rates says.
    """
    row = precision_of(precision)
    for name, share in row.gpu_rates if is_compiled(device) else row.cpu_rates:
        if rate := device.compute.get(name):
            return rate * share
    raise _lacking(device, f"{precision} rate")


def _lacking(device: Device, what: str) -> UsageError:
    return UsageError(
        f"device {device.name} has no {what} to estimate a latency from: it has no published figures.",
        hint="Measure there: `edgelm devices detect FILE`, or `edgelm latency-table MODEL --output FILE` and give that "
        "with --table.",
    )
