"""What a matrix product costs in each precision, measured by onnxruntime on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import helper

from edgelm.graph.rewrites import MICROSOFT, add_weight
from edgelm.graph.session import make_plain_session

_COPIES = 8  # of the operator in one graph: the cost of a call is shared among them
_RUNS = 40


class KernelTimer:
    """Times operators by onnxruntime's kernels, in microseconds; each once, so that equal operators of one export cost
    the same. Two exports have a timer each: a busy minute of one is no matter of the other."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], float] = {}

    def product(self, tokens: int, shape: tuple[int, ...], *, integer: bool) -> float:
        """Median time of (tokens, in) x `shape` (in, out), with the quantization of its input where it is in
        integers."""
        key = (tokens, *shape, int(integer))
        if key not in self._known:
            self._known[key] = _time_product(tokens, shape[0], shape[1], integer=integer)
        return self._known[key]

    def multiply(self, tokens: int, width: int) -> float:
        """Median time of the Mul by channel that smooths (tokens, width)."""
        key = (tokens, width)
        if key not in self._known:
            self._known[key] = _time_multiply(tokens, width)
        return self._known[key]


def _time_product(tokens: int, width: int, height: int, *, integer: bool) -> float:
    rng = np.random.default_rng(0)

    def build(graph: onnx.ModelProto, index: int) -> list[onnx.NodeProto]:
        weight = rng.normal(size=(width, height)).astype(np.float32)
        if not integer:
            return [helper.make_node("MatMul", ["x", add_weight(graph, f"w{index}", weight)], [f"y{index}"])]
        scale, zero = add_weight(graph, f"s{index}", np.float32(0.02)), add_weight(graph, f"z{index}", np.uint8(128))
        matrix = add_weight(graph, f"w{index}", np.clip(weight * 40, -127, 127).astype(np.int8))
        scales = add_weight(graph, f"ws{index}", np.full(height, 0.02, dtype=np.float32))
        return [
            helper.make_node("QuantizeLinear", ["x", scale, zero], [f"q{index}"]),
            helper.make_node(
                "MatMulIntegerToFloat", [f"q{index}", matrix, scale, scales, zero], [f"y{index}"], domain=MICROSOFT
            ),
        ]

    return _time(build, tokens, width)


def _time_multiply(tokens: int, width: int) -> float:
    def build(graph: onnx.ModelProto, index: int) -> list[onnx.NodeProto]:
        factor = add_weight(graph, f"f{index}", np.full(width, 0.5 + index, dtype=np.float32))
        return [helper.make_node("Mul", ["x", factor], [f"y{index}"])]

    return _time(build, tokens, width)


def _time(build: Callable[[onnx.ModelProto, int], list[onnx.NodeProto]], tokens: int, width: int) -> float:
    source = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, tokens, width])
    outputs = [helper.make_empty_tensor_value_info(f"y{index}") for index in range(_COPIES)]
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)]
    graph = helper.make_model(helper.make_graph([], "cost", [source], outputs), opset_imports=opsets, ir_version=10)
    for index in range(_COPIES):
        graph.graph.node.extend(build(graph, index))
    session: Any = make_plain_session(graph)
    feed = {"x": np.random.default_rng(1).normal(size=(1, tokens, width)).astype(np.float32)}
    samples = []
    for index in range(_RUNS + 5):
        start = time.perf_counter()
        session.run(None, feed)
        if index >= 5:
            samples.append(time.perf_counter() - start)
    return statistics.median(samples) / _COPIES * 1e6
