"""What edgelm's graphs cost beside their limits: nodes, integer products, FP16 outputs, loading.

`EDGELM_DATA=FOLDER python benchmarks/graphs.py [--work build/teachers]`, with the models of `teachers.py` (the SST-2
model where no set is named): nodes of one FP32 encoder layer before and after fusion; time of the INT8 graph beside
that of its integer products alone (bare MatMulInteger of the same shapes with weights of their own, calls taking turns,
2 threads); FP16 outputs on test texts beside FP32's; time to make a session in a fresh process, beside that of an empty
graph.
"""

from __future__ import annotations

import edgelm  # noqa: F401  # isort: skip  # before onnxruntime: it turns its telemetry off

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from machine import print_machine
from onnx import TensorProto, helper, numpy_helper
from teachers import SETTINGS, load_rows, make_teacher

from edgelm import export, load_device
from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer, model_layers
from edgelm.checkpoint import open_checkpoint
from edgelm.export.precision import Material, to_precision
from edgelm.export.samples import encode, graph_rows
from edgelm.export.trace import export_graph
from edgelm.graph.rewrites import TRACED
from edgelm.graph.session import make_plain_session
from edgelm.progress import silent
from edgelm.quantize.settings import Quantization
from edgelm.runtime import open_bundle

MAX_LENGTH = 128
LOAD = """
import sys, time, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.log_severity_level = 2, 3
start = time.perf_counter()
onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
print((time.perf_counter() - start) * 1000)
"""


def float_graph(checkpoint: Path, *, layers: int | None = None) -> onnx.ModelProto:
    """The traced and fused graph; of the first layers alone where a number is given."""
    model = load_checkpoint(checkpoint)
    if layers:
        model.bert.encoder.layer = model.bert.encoder.layer[:layers]
        assert len(list(model_layers(model))) == layers
    task = open_checkpoint(checkpoint).task
    return export_graph(TaskModel(model, load_tokenizer(checkpoint), task, MAX_LENGTH), fused=True)


def show_nodes(checkpoint: Path, material: Material) -> None:
    """One layer is what a graph of three layers has more than one of two."""
    counts = []
    for layers in (2, 3):
        graph = float_graph(checkpoint, layers=layers)
        traced = next(entry.value for entry in graph.metadata_props if entry.key == TRACED)
        made = to_precision(graph, "fp32", material, load_device("cpu"), Quantization(), silent)
        counts.append((sum(json.loads(traced).values()), len(made.graph.graph.node)))
    before, after = (deep - flat for flat, deep in zip(*counts, strict=True))
    print(f"nodes of an FP32 encoder layer: {before} as traced, {after} in the bundle\n")


def options() -> onnxruntime.SessionOptions:
    """Threads stop spinning between calls, or those of one session would hinder the other."""
    found = onnxruntime.SessionOptions()
    found.intra_op_num_threads = 2
    found.log_severity_level = 3
    found.add_session_config_entry("session.force_spinning_stop", "1")
    return found


def products(shapes: list[tuple[int, int]], rows: int) -> Callable[[], Any]:
    """A call that computes one integer product (rows, in) x (in, out) for each shape, into memory that is there."""
    rng = np.random.default_rng(0)
    nodes, weights = [], [numpy_helper.from_array(np.uint8(128), "zero")]
    inputs = {size: helper.make_tensor_value_info(f"x{size}", TensorProto.UINT8, [rows, size]) for size, _ in shapes}
    outputs = []
    for index, (size, out) in enumerate(shapes):
        weights.append(numpy_helper.from_array(rng.integers(-127, 128, (size, out)).astype(np.int8), f"w{index}"))
        nodes.append(helper.make_node("MatMulInteger", [f"x{size}", f"w{index}", "zero"], [f"y{index}"]))
        outputs.append(helper.make_tensor_value_info(f"y{index}", TensorProto.INT32, [rows, out]))
    graph = helper.make_graph(nodes, "products", list(inputs.values()), outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options(), providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for size in inputs:
        binding.bind_ortvalue_input(
            f"x{size}", onnxruntime.OrtValue.ortvalue_from_numpy(rng.integers(0, 256, (rows, size)).astype(np.uint8))
        )
    memory = {out: onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros((rows, out), dtype=np.int32)) for _, out in shapes}
    for index, (_, out) in enumerate(shapes):
        binding.bind_ortvalue_output(f"y{index}", memory[out])
    return lambda: session.run_with_iobinding(binding)


def show_products(bundle: Path, model: Any, rounds: int) -> None:
    """The INT8 graph beside its 24 products."""
    config = model.config
    hidden, inner = config.hidden_size, config.intermediate_size
    shapes = [(hidden, 3 * hidden), (hidden, hidden), (hidden, inner), (inner, hidden)] * config.num_hidden_layers
    disabled = open_bundle(bundle).manifest.session["disabled_optimizers"]
    session = onnxruntime.InferenceSession(
        str(bundle / "model.onnx"), options(), providers=["CPUExecutionProvider"], disabled_optimizers=disabled
    )
    print("| batch x tokens | INT8 graph ms | its integer products alone ms | share |\n|---|---|---|---|")
    for batch, tokens in ((1, 8), (1, 25), (1, 128), (8, 128)):
        filled = {"input_ids": 5, "attention_mask": 1, "token_type_ids": 0}
        feed = {name: np.full((batch, tokens), value, dtype=np.int64) for name, value in filled.items()}
        whole, bare = take_turns([lambda feed=feed: session.run(None, feed), products(shapes, batch * tokens)], rounds)  # type: ignore[misc]
        print(f"| {batch} x {tokens} | {whole:.3f} | {bare:.3f} | {bare / whole:.2f} |", flush=True)
    print()


def take_turns(calls: list[Callable[[], Any]], rounds: int) -> list[float]:
    """Medians in ms of the calls, five of each in turn."""
    samples: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, found in zip(calls, samples, strict=True):
            call()
            for _ in range(5):
                start = time.perf_counter()
                call()
                found.append((time.perf_counter() - start) * 1000)
    return [statistics.median(found) for found in samples]


def show_half(name: str, checkpoint: Path) -> None:
    """The largest difference of each row of outputs, relative to the row's largest logit and to the set's median of
    those."""
    rows, tokenizer, task = load_rows(name), load_tokenizer(checkpoint), open_checkpoint(checkpoint).task
    material = Material(rows["dev"].for_task(task), None, tokenizer, task, MAX_LENGTH, 0)
    made = to_precision(float_graph(checkpoint), "fp16", material, load_device("cpu"), Quantization(), silent)
    texts = material.inputs(rows["test"].for_task(task))
    wanted = graph_rows(
        make_plain_session(float_graph(checkpoint)), encode(tokenizer, task, texts, max_length=MAX_LENGTH)
    )
    found = graph_rows(make_plain_session(made.graph), encode(tokenizer, task, texts, max_length=MAX_LENGTH))
    error, size = np.abs(found - wanted).max(axis=1), np.abs(wanted).max(axis=1)
    typical, own = error / np.maximum(size, np.median(size)), error / size
    changed = int(np.sum(found.argmax(axis=1) != wanted.argmax(axis=1)))
    print(
        f"| {name} | {len(texts)} | {typical.max():.4f} | {np.sum(typical > 1e-2)} | {np.sum(own > 1e-2)} | {changed} "
        "|",
        flush=True,
    )


def show_load(bundle: Path, rounds: int) -> None:
    """Fresh processes, taking turns."""
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.onnx"
        value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
        graph = helper.make_graph(
            [helper.make_node("Identity", ["x"], ["y"])], "empty", [value], [helper.make_tensor_value_info("y", 1, [1])]
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), empty)
        samples: list[list[float]] = [[], []]
        for _ in range(rounds):
            for index, path in enumerate((bundle / "model.onnx", empty)):
                done = subprocess.run(
                    [sys.executable, "-c", LOAD, str(path)], capture_output=True, text=True, check=True
                )
                samples[index].append(float(done.stdout))
    loaded, nothing = (statistics.median(found) for found in samples)
    print(
        f"session of the INT8 bundle: {loaded:.1f} ms; of an empty graph: {nothing:.1f} ms; difference "
        f"{loaded - nothing:.1f} ms"
    )


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/teachers"))
    parser.add_argument("--rounds", type=int, default=30)
    given = parser.parse_args()
    print_machine()
    checkpoint = make_teacher("sst2", given.work)
    rows, task = load_rows("sst2"), open_checkpoint(checkpoint).task
    material = Material(rows["dev"].for_task(task), None, load_tokenizer(checkpoint), task, MAX_LENGTH, 0)
    show_nodes(checkpoint, material)
    bundle = given.work / "sst2-quantized" / "int8"
    if not bundle.is_dir():
        export(checkpoint, output=bundle, device=load_device("cpu"), calibration=rows["dev"], max_length=MAX_LENGTH)
    show_products(bundle, load_checkpoint(checkpoint), given.rounds)
    show_load(bundle, given.rounds)
    print(
        "\n| set | rows | largest FP16 error | above 1e-2 | above 1e-2 of the row's own size | other answers "
        "|\n|---|---|---|---|---|---|"
    )
    for name in SETTINGS:
        show_half(name, make_teacher(name, given.work))


if __name__ == "__main__":
    main()
