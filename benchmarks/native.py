"""edgelm-native beside onnxruntime, in one interleaved run: `python benchmarks/native.py [--model FOLDER]
[--family bert] [--work build/native-benchmark] [--lengths 8,25,128] [--threads 1,2] [--rounds 15] [--rivals]`.

Each subject runs in this process, turn by turn, some calls at a time, so that what else the machine does hits all of
them: the bundle by edgelm-native, the same bundle by onnxruntime, and onnxruntime's dynamic INT8 of the same model;
with --rivals OpenVINO with NNCF and CTranslate2 as well, where they are installed (`native_rivals.py`). Without --model
it is a classifier of a family (bert, mpnet, modernbert, deberta-v2) in MiniLM-L6's shape with random weights: speed
depends on the shape alone. The peak is that of edgelm-native on products of 512 rows by 1024 and 4096 columns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from machine import print_machine
from native_rivals import make_rivals, open_rival
from random_encoders import make_classifier

from edgelm import export, load_device
from edgelm.data.dataset import Dataset, load_dataset
from edgelm.files.shipped import shipped_folder
from edgelm.graph.native.writer import ProgramWriter, Quantizer, bits
from edgelm.runtime.bundle import open_bundle
from edgelm.runtime.native import NativeSession
from edgelm.runtime.session import make_session

PRECISIONS = ("int8", "int8-dynamic")
_WARM, _CALLS = 5, 8  # calls of a turn that are not measured, to fill the caches again; and those that are
_PAUSE = 0.03  # seconds before each turn: threads of the turn before spin for a while after their last call
_ROWS, _NARROW, _WIDE, _PAIRS = 512, 1024, 4096, 4  # of the products that the peak is measured on


def load_rows() -> Dataset:
    """What quantization is calibrated on."""
    return load_dataset(shipped_folder("calibration_data") / "intents" / "train.jsonl").take(range(64))


def make_bundles(source: Path, work: Path) -> dict[str, Path]:
    """A bundle of each precision, by its name."""
    rows = load_rows()
    bundles = {precision: work / f"{precision}.bundle" for precision in PRECISIONS}
    for precision, bundle in bundles.items():
        if not bundle.exists():
            export(source, output=bundle, device=load_device("cpu"), precision=precision, calibration=rows)
    return bundles


def make_subjects(bundles: dict[str, Path], threads: int) -> dict[str, Callable[[dict[str, np.ndarray]], object]]:
    """What answers feeds, by its name in the table."""
    static, dynamic = (open_bundle(bundles[precision]) for precision in PRECISIONS)
    native = NativeSession(static, static.manifest.graph(), threads=threads)
    here, theirs = make_session(static, threads=threads), make_session(dynamic, threads=threads)
    return {
        "native": lambda feeds: native.run(None, feeds),
        "bundle by onnxruntime": lambda feeds: here.run(None, feeds),
        "onnxruntime dynamic": lambda feeds: theirs.run(None, feeds),
    }


def peak(threads: int, rounds: int) -> float:
    """Multiplications a second in large products of integers, at best."""
    import edgelm_native

    run = edgelm_native.Encoder(_large_products(), b"\0")
    feeds = {"input_ids": np.zeros((1, _ROWS), np.int64)}
    run(feeds, threads=threads)
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run(feeds, threads=threads)
        times.append(time.perf_counter() - start)
    return 2 * _PAIRS * _ROWS * _NARROW * _WIDE / min(times)


def _large_products() -> bytes:
    writer = ProgramWriter(None)  # type: ignore[arg-type]  # no constant of a graph is named
    writer.longest = _ROWS
    random, grid = np.random.default_rng(0), Quantizer(0.05, 128)
    narrow, wide = (writer.buffer("bytes", width, per_token=True) for width in (_NARROW, _WIDE))
    rows, first = (writer.buffer("floats", _NARROW, per_token=per_token) for per_token in (True, False))
    scales = writer.place(np.full(1, 1e-3, np.float32))
    table = writer.place(random.normal(size=(1, _NARROW)))
    writer.step("embed", _NARROW, rows, 1, f"ids 1 0 -1 floats {table}")
    writer.step("quantize", _NARROW, rows, writer.quantized(grid, narrow))
    shapes = ((_NARROW, _WIDE), (_WIDE, _NARROW))  # of weights that are spread as those of models are
    weights = [writer.place(random.normal(0, 24, shape).clip(-63, 63), np.int8) for shape in shapes]
    for _ in range(_PAIRS):
        for (source, inputs), (target, outputs), place in zip(
            ((narrow, _NARROW), (wide, _WIDE)), ((wide, _WIDE), (narrow, _NARROW)), weights, strict=True
        ):
            words = (source, place, 0, scales, bits(grid.scale), grid.zero, "-", "none", "from 0", "bytes")
            writer.step("linear", inputs, outputs, *words, writer.quantized(grid, target))
    writer.pin(rows)
    writer.step("first", _NARROW, rows, first, 0)
    writer.output("rows", first)
    return writer.text()


def products(bundle: Path, tokens: int) -> int:
    """Multiplications of integers that a text of so many tokens takes."""
    import onnx

    graph = onnx.load(str(bundle / "model.onnx"), load_external_data=False).graph
    shapes = {tensor.name: tensor.dims for tensor in graph.initializer}
    weights = [shapes[node.input[1]] for node in graph.node if node.op_type in ("QAttention", "MatMulIntegerToFloat")]
    return tokens * sum(rows * columns for rows, columns in weights)


def measure(
    subjects: dict[str, Callable[[dict[str, np.ndarray]], object]], feeds: dict[str, np.ndarray], rounds: int
) -> dict[str, list[float]]:
    """The median of each turn in ms, by subject."""
    found: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, answer in subjects.items():
            time.sleep(_PAUSE)
            times = []
            for call in range(_WARM + _CALLS):
                start = time.perf_counter()
                answer(feeds)
                if call >= _WARM:
                    times.append(time.perf_counter() - start)
            found[name].append(1e3 * statistics.median(times))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--family", default="bert")
    parser.add_argument("--work", type=Path, default=Path("build/native-benchmark"))
    parser.add_argument("--lengths", default="8,25,128")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--rivals", action="store_true")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    model = arguments.model or arguments.work / "model"
    if not model.exists():
        make_classifier(load_rows().texts, model, family=arguments.family)
    bundles = make_bundles(model, arguments.work)
    rivals = make_rivals(model, load_rows().texts, arguments.work) if arguments.rivals else {}
    print_machine()
    others = "".join(f" {name} ms |" for name in rivals)
    heads = "native ms | bundle ms | onnxruntime dynamic ms |" + others + " over dynamic | of the peak"
    print(f"| threads | tokens | {heads} |")
    print("|---" * (7 + len(rivals)) + "|")
    for threads in map(int, arguments.threads.split(",")):
        best, subjects = peak(threads, arguments.rounds), make_subjects(bundles, threads)
        for tokens in map(int, arguments.lengths.split(",")):
            random = np.random.default_rng(tokens)
            inputs = {spec.name for spec in open_bundle(bundles["int8"]).manifest.inputs}
            ones = {name: np.ones((1, tokens), np.int64) for name in inputs}
            ids = random.integers(5, 2000, (1, tokens))
            feeds = ones | {"input_ids": ids, "token_type_ids": np.zeros_like(ids)}
            feeds = {name: feeds[name] for name in inputs}
            beside = {name: open_rival(name, path, tokens=tokens, threads=threads) for name, path in rivals.items()}
            found = measure(subjects | beside, feeds, arguments.rounds)
            ratios = [there / here for here, there in zip(found["native"], found["onnxruntime dynamic"], strict=True)]
            share = products(bundles["int8"], tokens) / (min(found["native"]) / 1e3) / best
            times = " | ".join(f"{statistics.median(turns):.3f} (best {min(turns):.3f})" for turns in found.values())
            print(f"| {threads} | {tokens} | {times} | {statistics.median(ratios):.2f} x | {share:.0%} |", flush=True)
        print(f"# peak with {threads} threads: {best / 1e9:.0f} billion products a second", flush=True)


if __name__ == "__main__":
    main()
