"""Runs a graph that lies in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

from edgelm.files.scratch import open_scratch
from edgelm.graph import external_data as files
from edgelm.graph.external_data import copy_graph, save_graph, stored_bytes, without_constants
from edgelm.runtime.saturation import EXACT_ENTRY

# Its CPU kernel is several times slower than the three operators that it would replace (benchmarks/norms.py).
DISABLED_OPTIMIZERS = ("SkipLayerNormFusion",)


def make_plain_session(
    graph: onnx.ModelProto,
    *,
    threads: int | None = None,
    exact: bool = False,
    optimize: bool = True,
    optimized: Path | None = None,
) -> Any:
    """An onnxruntime session on the CPU.

    Args:
        exact: INT8 products are summed exactly on every CPU, at the cost of time on x86 without VNNI.
        optimize: False keeps every node as it is.
        optimized: write the graph as it really runs there.
    """
    options = _options()
    if exact:
        options.add_session_config_entry(EXACT_ENTRY, "1")
    if not optimize:
        import onnxruntime

        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    if threads:
        options.intra_op_num_threads = threads
    if stored_bytes(graph) < files.LARGEST_MESSAGE:
        if optimized is not None:  # which is written with its constants
            return _start(graph.SerializeToString(), options)
        return _start_beside(graph, options)
    with open_scratch() as folder:
        save_graph(graph, folder / "model.onnx", "weights.bin")
        return _start(str(folder / "model.onnx"), options)


def make_file_session(path: Path, *, prepack: bool = True) -> Any:
    """An onnxruntime session on the CPU for a graph in a file, whose constants beside it are mapped into memory.

    Args:
        prepack: matrices are copied into the layout that the kernels like best. Of floats False takes half the memory,
            and more time for each prompt; blocks of few bits are computed in another way then, and more slowly.
    """
    options = _options()
    if not prepack:
        options.add_session_config_entry("session.disable_prepacking", "1")
    return _start(str(path), options)


def _options() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return options


def _start(source: str | bytes, options: Any) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(
        source, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(DISABLED_OPTIMIZERS)
    )


def _start_beside(graph: onnx.ModelProto, options: Any) -> Any:
    """A session that is given the larger constants as arrays: they are neither written into a message nor read out of
    one, which takes longer than all else where a graph is changed a little and tried again."""
    import onnxruntime

    structure, arrays = without_constants(graph)
    values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()}
    options.add_external_initializers(list(values), list(values.values()))
    session = _start(structure.SerializeToString(), options)
    session.constants = arrays, values  # they must live as long as it does
    return session


def make_watching_session(graph: onnx.ModelProto, values: Sequence[str]) -> Any:
    """A session that gives these computed values, after the graph's own outputs."""
    watched = copy_graph(graph)
    there = {value.name for value in watched.graph.output}
    watched.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in values if name not in there)
    return make_plain_session(watched)
