"""Skip, bias and norm in one operator or in three: `python benchmarks/norms.py [--tokens 25] [--hidden 384] [--threads
1]`.

onnxruntime's SkipLayerNormalization against Add, Add and LayerNormalization, on the CPU, calls taking turns; medians in
ms of twelve layers' norms, as a model of six layers has them.
"""

from __future__ import annotations

import edgelm  # noqa: F401  # isort: skip  # before onnxruntime: it turns its telemetry off

import argparse
import time

import numpy as np
import onnx
import onnxruntime
from machine import print_machine
from onnx import helper, numpy_helper

NORMS = 12


def make_session(fused: bool, hidden: int, threads: int) -> onnxruntime.InferenceSession:
    """A chain of norms, each fed by the one before."""
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=hidden).astype(np.float32) for name in ("scale", "shift", "bias")}
    nodes = []
    for index in range(NORMS):
        source, output = f"x{index}", f"x{index + 1}"
        if fused:
            inputs = [source, "skip", "scale", "shift", "bias"]
            nodes.append(
                helper.make_node("SkipLayerNormalization", inputs, [output], domain="com.microsoft", epsilon=1e-12)
            )
        else:
            nodes.append(helper.make_node("Add", [source, "bias"], [f"biased{index}"]))
            nodes.append(helper.make_node("Add", [f"biased{index}", "skip"], [f"sum{index}"]))
            nodes.append(
                helper.make_node(
                    "LayerNormalization", [f"sum{index}", "scale", "shift"], [output], axis=-1, epsilon=1e-12
                )
            )
    values = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", "tokens", hidden])
        for name in ("x0", "skip", f"x{NORMS}")
    ]
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "norms", values[:2], values[2:], constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = (
        onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    )  # or it would fuse the three again
    return onnxruntime.InferenceSession(
        helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString(), options
    )


def main() -> None:
    """Print both medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=25)
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=1000)
    options = parser.parse_args()
    print_machine()
    rng = np.random.default_rng(1)
    feeds = {name: rng.normal(size=(1, options.tokens, options.hidden)).astype(np.float32) for name in ("x0", "skip")}
    sessions = {name: make_session(name == "fused", options.hidden, options.threads) for name in ("fused", "split")}
    outputs = [session.run(None, feeds)[0] for session in sessions.values()]
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-4)
    samples: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(options.runs):
        for name, session in sessions.items():
            start = time.perf_counter()
            session.run(None, feeds)
            samples[name].append((time.perf_counter() - start) * 1000)
    fused, split = (float(np.median(samples[name])) for name in ("fused", "split"))
    print(
        f"fused {fused:.3f} ms, split {split:.3f} ms, ratio {fused / split:.2f} (onnxruntime {onnxruntime.__version__})"
    )


if __name__ == "__main__":
    main()
