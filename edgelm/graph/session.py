"""Runs a graph that lies in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
from onnx import helper


def make_plain_session(graph: onnx.ModelProto, *, threads: int | None = None, optimize: bool = True) -> Any:
    """An onnxruntime session on the CPU; `optimize=False` keeps every node as it is."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if threads:
        options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])


def make_watching_session(graph: onnx.ModelProto, values: Sequence[str]) -> Any:
    """A session that gives these computed values, after the graph's own outputs."""
    watched = onnx.ModelProto()
    watched.CopyFrom(graph)
    there = {value.name for value in watched.graph.output}
    watched.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in values if name not in there)
    return make_plain_session(watched)
