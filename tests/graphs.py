"""A small float graph without any exporter: two products with a GELU between them, and an outlier channel."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from edgelm.graph.rewrites import MICROSOFT, add_weight
from edgelm.graph.session import make_plain_session

WIDTH, INNER, OUTPUTS = 128, 160, 128


def make_graph(*, outlier: float = 1.0, seed: int = 0) -> onnx.ModelProto:
    """(batch, sequence) of tokens 0 to 63 -> (batch, 128): embeddings, product, GELU, product, sum over the
    sequence."""
    rng = np.random.default_rng(seed)
    shape = helper.make_tensor_value_info("input_ids", onnx.TensorProto.INT64, ["batch", "sequence"])
    output = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", OUTPUTS])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)]
    graph = helper.make_model(helper.make_graph([], "small", [shape], [output]), opset_imports=opsets, ir_version=10)
    table = rng.normal(size=(64, WIDTH)).astype(np.float32)
    table[:, 5] *= outlier
    first, second = (rng.normal(scale=0.1, size=size).astype(np.float32) for size in ((WIDTH, INNER), (INNER, OUTPUTS)))
    first[5] /= outlier  # what the outlier says counts as much as any other channel
    names = [
        add_weight(graph, name, values)
        for name, values in (("table", table), ("first.weight", first), ("second.weight", second))
    ]
    biases = [
        add_weight(graph, f"{name}.bias", rng.normal(size=size).astype(np.float32))
        for name, size in (("first", INNER), ("second", OUTPUTS))
    ]
    axis = add_weight(graph, "axis", np.array([1]))
    graph.graph.node.extend(
        [
            helper.make_node("Gather", [names[0], "input_ids"], ["x"]),
            helper.make_node("MatMul", ["x", names[1]], ["product"]),
            helper.make_node("Add", ["product", biases[0]], ["inner"]),
            helper.make_node("Gelu", ["inner"], ["h"], domain=MICROSOFT),
            helper.make_node("MatMul", ["h", names[2]], ["out"]),
            helper.make_node("Add", ["out", biases[1]], ["tokens"]),
            helper.make_node("ReduceMean", ["tokens", axis], ["logits"], keepdims=0),
        ]
    )
    return graph


def make_feeds(count: int = 24, *, seed: int = 1, low: int = 8, high: int = 24) -> list[dict[str, np.ndarray]]:
    """Texts of random tokens, (1, tokens) each."""
    rng = np.random.default_rng(seed)
    return [{"input_ids": rng.integers(64, size=(1, int(rng.integers(low, high))))} for _ in range(count)]


def optimized_graph(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph as onnxruntime really runs it on this CPU, after its own fusions."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        make_plain_session(graph, optimized=path)
        result: onnx.ModelProto = onnx.load(path)
    return result


def output_error(weight: np.ndarray, rounded: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(out,) squared error of each output, mean over tokens: (w - q)ᵀ H (w - q)."""
    difference = weight.astype(np.float64) - rounded
    error: np.ndarray = (difference * (matrix @ difference)).sum(axis=0)
    return error
