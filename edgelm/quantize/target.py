"""The noun Target: which kernels a device computes a graph with, what they want it to look like, and what integers
cost there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import onnx

from edgelm.device import Device
from edgelm.precision import TargetName
from edgelm.quantize.integers import QuantizationPlan, quantize_qdq, quantize_static
from edgelm.quantize.kernel_timing import KernelTimer


class KernelCosts(Protocol):
    """What operators cost, in one unit."""

    def product(self, tokens: int, shape: tuple[int, ...], *, integer: bool) -> float:
        """Of (tokens, in) x `shape` (in, out), with the quantization of its input where it is in integers."""

    def multiply(self, tokens: int, width: int) -> float:
        """Of the Mul by channel that smooths (tokens, width)."""


@dataclass(frozen=True)
class Target:
    """The kernels that compute a graph on a device.

    Attributes:
        name: in calibration tables.
        quantize: writes a graph in integers as these kernels read it.
        symmetric: activations are signed and have no zero point; else they are unsigned, with one.
        residuals: residuals are added in integers too, and the target gains by it.
        costs: makes what measures or counts the cost of operators; one for each export.
        cost_unit: of what `costs` makes.
        fused: graphs are written for onnxruntime, with its fused operators; else with standard ones.
        compiled: the runtime fuses operators into kernels of its own; else it runs the graph as it is.
        integer_embeddings: embedding tables become integers where weights are.
        floats: precision of the floats beside integers.
        pair_sums: neighbouring products of bytes may be summed in 16 bits, on x86 without VNNI.
        here: this machine's onnxruntime runs the same graph by the same kernels, so it can be checked and timed here.
        table_points: how many counts of channels an estimated latency table is made for.
    """

    name: TargetName
    quantize: Callable[[onnx.ModelProto, QuantizationPlan], onnx.ModelProto]
    symmetric: bool
    residuals: bool
    costs: Callable[[], KernelCosts]
    cost_unit: str
    fused: bool
    compiled: bool
    integer_embeddings: bool
    floats: str
    pair_sums: bool
    here: bool
    table_points: int


class OperationCounter:
    """Costs as operations, in 10^6: every device that runs INT8 does so at twice FP16's rate."""

    def product(self, tokens: int, shape: tuple[int, ...], *, integer: bool) -> float:
        """Multiply-accumulates of a matrix product; half of them in integers."""
        return tokens * float(np.prod(shape)) / 1e6 / (2 if integer else 1)

    def multiply(self, tokens: int, width: int) -> float:
        """Products of numbers."""
        return tokens * width / 1e6


ONNXRUNTIME_CPU = Target(
    "onnxruntime",
    quantize=quantize_static,
    symmetric=False,
    residuals=False,
    costs=KernelTimer,
    cost_unit="microseconds, measured",
    fused=True,
    compiled=False,
    integer_embeddings=True,
    floats="fp32",
    pair_sums=True,
    here=True,
    table_points=8,
)
TENSORRT = Target(
    "tensorrt",
    quantize=quantize_qdq,
    symmetric=True,
    residuals=True,
    costs=OperationCounter,
    cost_unit="10^6 operations, estimated",
    fused=False,
    compiled=True,
    integer_embeddings=False,
    floats="fp16",
    pair_sums=False,
    here=False,
    table_points=32,
)

# Integers as TensorRT has them, floats as a CPU has them: OpenVINO writes those of 16 bits itself.
OPENVINO = replace(TENSORRT, name="openvino", residuals=False, floats="fp32", pair_sums=True)


def target_of(device: Device) -> Target:
    """The kernels that a device's bundles are made for: onnxruntime's on a CPU, TensorRT's on a GPU or a Jetson."""
    return ONNXRUNTIME_CPU if device.kind == "cpu" else TENSORRT
