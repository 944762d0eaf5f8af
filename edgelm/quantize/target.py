"""One quantized model, two dialects: what each runtime wants integers to look like, and what they cost there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx

from edgelm.quantize.integers import QuantizationPlan, quantize_qdq, quantize_static
from edgelm.quantize.kernel_timing import multiply_microseconds, product_microseconds


@dataclass(frozen=True)
class Target:
    """How a runtime is told of integers.

    Attributes:
        quantize: writes the graph.
        symmetric: activations are signed and have no zero point.
        residuals: it adds residuals in integers, and gains by it.
        product_cost: of a product, by tokens, (in, out) and whether it is in integers.
        multiply_cost: of a Mul by channel, by tokens and channels.
        cost_unit: of both.
    """

    name: str
    quantize: Callable[[onnx.ModelProto, QuantizationPlan], onnx.ModelProto]
    symmetric: bool
    residuals: bool
    product_cost: Callable[[int, tuple[int, ...], bool], float]
    multiply_cost: Callable[[int, int], float]
    cost_unit: str


def _operations(tokens: int, shape: tuple[int, ...], integer: bool) -> float:
    return (
        tokens * float(np.prod(shape)) / 1e6 / (2 if integer else 1)
    )  # every device that runs INT8 does so at twice FP16's rate


ONNXRUNTIME_CPU = Target(
    "onnxruntime",
    quantize_static,
    False,
    False,
    lambda tokens, shape, integer: product_microseconds(tokens, shape[0], shape[1], integer=integer),
    multiply_microseconds,
    "microseconds, measured",
)
TENSORRT = Target(
    "tensorrt",
    quantize_qdq,
    True,
    True,
    _operations,
    lambda tokens, width: tokens * width / 1e6,
    "10^6 operations, estimated",
)
