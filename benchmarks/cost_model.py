"""The cost model against what was measured here and what is published: `python benchmarks/cost_model.py
build|measure|fit|calibrate [--work build/cost]`.

`build` writes encoders of 16 shapes in six precisions, and what they do at a batch and length each; `measure` finds
this machine's rates with `edgelm devices detect` and times the graphs on one thread, in groups of processes that take
turns; with every group runs the same INT8 MiniLM, and rounds in which it is more than a tenth slower than at its best
do not count. `fit` finds the constants that `edgelm/cost/constants.json` holds, by regularized least squares on the
logarithms: those of CPUs on eight of the shapes, those of GPUs on NVIDIA's figures for T4 and A100
(`published_bert.json`), and prints how far off they are on the other shapes, on an A30, and on every Jetson that MLPerf
has BERT of. `calibrate` needs nothing but that file: how far the published figures of a device are from what the cost
model says once it is multiplied by another figure of the same device over its own estimate, as `edgelm advise
--profile` does.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from machine import print_machine
from scipy.optimize import least_squares

from edgelm import load_device
from edgelm.cost import roofline
from edgelm.cost.roofline import Constants, price, total_ms
from edgelm.cost.synthetic import encoder_work
from edgelm.cost.work import Work, graph_work
from edgelm.device import Device
from edgelm.graph.external_data import save_graph
from edgelm.graph.session import DISABLED_OPTIMIZERS
from edgelm.graph.synthetic import encoder_graph
from edgelm.hardware.detect import detect_device
from edgelm.hardware.machine import describe_machine
from edgelm.profile.interleave import BLOCK_CALLS, WorkerClient, take_turns
from edgelm.profile.subject import Subject
from edgelm.progress import silent
from edgelm.quantize.without_data import quantize_blindly
from edgelm.shapes import ModelSizes

PUBLISHED = Path(__file__).parent / "published_bert.json"
PRECISIONS = ("fp32", "int8", "int8-dynamic", "int8-weights", "int4", "fp16")
# Layers, width, heads, FFN channels.
FITTED = (
    (2, 128, 2, 512),
    (4, 256, 4, 1024),
    (6, 384, 12, 1536),
    (4, 512, 8, 2048),
    (3, 384, 6, 768),
    (2, 768, 12, 3072),
    (6, 384, 12, 608),
    (4, 312, 12, 1216),
)
HELD_OUT = (
    (2, 256, 4, 1024),
    (3, 312, 12, 608),
    (6, 384, 6, 1152),
    (4, 384, 12, 1536),
    (6, 512, 8, 2048),
    (3, 768, 12, 3072),
    (2, 384, 4, 384),
    (4, 768, 12, 768),
)
CASES = ((1, 8), (1, 128), (1, 25), (4, 32), (1, 16), (1, 64), (2, 64), (1, 32), (8, 16))  # texts, tokens
REFERENCE = ((6, 384, 12, 1536), "int8", (1, 25))
GROUP, ROUNDS, ALIKE = 12, 8, 1.1
# what a constant that is e times its first guess costs, in the unit of a graph that is off by this factor of e
HELD_BACK = 0.15
CPU = {
    "launch_us": 2.0,
    "call_us": 10.0,
    "memory": 1.0,
    "fp32": 0.6,
    "fp16": 0.4,
    "int8": 0.5,
    "int8-dynamic": 0.4,
    "int8-weights": 0.3,
    "int4": 0.3,
}
CPU |= {"attention": 0.3, "norm": 0.2, "pointwise": 0.2, "SkipLayerNormalization": 0.05}
GPU = {"launch_us": 4.0, "call_us": 20.0, "memory": 0.7, "fp16": 0.5, "int8": 0.5, "attention": 0.3}
Pair = tuple[tuple[Work, ...], Device, float]


def build(work: Path) -> None:
    """Write every graph, and what it does."""
    work.mkdir(parents=True, exist_ok=True)
    entries = [_entry(work, "reference", *REFERENCE, held_out=False)]
    for number, shape in enumerate((*FITTED, *HELD_OUT)):
        for index, precision in enumerate(PRECISIONS):
            case = CASES[(number * len(PRECISIONS) + index) % len(CASES)]
            entries.append(_entry(work, f"{number}-{precision}", shape, precision, case, held_out=shape in HELD_OUT))
    (work / "graphs.json").write_text(json.dumps(entries))
    print(f"{len(entries)} graphs in {work}")


def _entry(
    work: Path, name: str, shape: Sequence[int], precision: str, case: tuple[int, int], *, held_out: bool
) -> dict[str, Any]:
    layers, hidden, heads, ffn = shape
    sizes = ModelSizes(layers, hidden, heads, ffn, vocabulary=2048)
    graph = quantize_blindly(encoder_graph(sizes, sizes.full()), precision)
    save_graph(graph, work / f"{name}.onnx", f"{name}.bin")
    works = [asdict(item) for item in graph_work(graph, batch=case[0], sequence=case[1])]
    return {
        "name": name,
        "shape": shape,
        "precision": precision,
        "batch": case[0],
        "tokens": case[1],
        "held_out": held_out,
        "works": works,
    }


def measure(work: Path, threads: int, wanted: str) -> None:
    """Time every graph; ms and the spread of the reference go beside what `build` wrote."""
    file = work / f"device-{threads}.yaml"
    device = detect_device(file, threads=threads, overwrite=True).device
    entries = [
        entry
        for entry in json.loads((work / "graphs.json").read_text())
        if wanted in entry["name"] or entry["name"] == "reference"
    ]
    reference, others = entries[0], entries[1:]
    rounds: list[tuple[list[dict[str, Any]], np.ndarray]] = []
    for start in range(0, len(others), GROUP):
        group = [reference, *others[start : start + GROUP]]
        rounds.append((group[1:], _rounds(work, group, threads)))
        print(
            f"{min(start + GROUP, len(others))} of {len(others)}: reference {rounds[-1][1][0].min():.3f} to "
            f"{rounds[-1][1][0].max():.3f} ms",
            flush=True,
        )
    best = min(found[0].min() for _, found in rounds)
    slow = 0
    for group, found in rounds:
        kept = found[0] <= ALIKE * best
        slow += int((~kept).sum())
        if kept.sum() < 2:
            kept = found[0] <= np.sort(found[0])[1]
        for entry, times in zip(group, found[1:], strict=True):
            entry["ms"] = float(np.median(times[kept]))
    print(
        f"{slow} of {ROUNDS * len(rounds)} rounds left out, in which the reference took more than {ALIKE} times its "
        f"best {best:.3f} ms"
    )
    machine = describe_machine()
    where = {
        "cpu": machine.cpu,
        "onnxruntime": machine.versions.get("onnxruntime"),
        "threads": threads,
        "rounds": ROUNDS * len(rounds),
        "left_out": slow,
    }
    (work / f"pairs-{threads}.json").write_text(
        json.dumps({"machine": where, "device": device.to_dict(), "pairs": others})
    )


def _rounds(work: Path, group: Sequence[dict[str, Any]], threads: int) -> np.ndarray:
    """(graphs, rounds): the median of each block of calls."""
    session = {"disabled_optimizers": list(DISABLED_OPTIMIZERS)}
    with ExitStack() as stack:
        workers = []
        for entry in group:
            workers.append(
                WorkerClient(
                    Subject(
                        entry["name"], work / f"{entry['name']}.onnx", "onnx", entry["precision"], 0.0, session=session
                    ),
                    threads=threads,
                )
            )
            stack.callback(workers[-1].close)
            rows = [[5] * entry["tokens"]] * entry["batch"]
            ones, zeros = ([[value] * entry["tokens"]] * entry["batch"] for value in (1, 0))
            workers[-1].ask("prepare", feeds=[{"input_ids": rows, "attention_mask": ones, "token_type_ids": zeros}])
        samples = take_turns(workers, 5, ROUNDS * BLOCK_CALLS, "graphs", silent)
    return np.median(np.asarray(samples).reshape(len(group), ROUNDS, BLOCK_CALLS), axis=2)


def fit(work: Path, write: bool) -> None:
    """Constants of both kinds, and the tables."""
    kinds = {"cpu": _fit_cpu(work), "gpu": _fit_gpu()}
    if write:
        text = json.dumps({kind: asdict(constants) for kind, constants in kinds.items()}, indent=1)
        roofline.FILE.write_text(text + "\n", encoding="utf-8")


def _fit_cpu(work: Path) -> Constants:
    entries, machine = _pairs(work / "pairs-1.json")
    found = _solve([pair for entry, pair in entries if not entry["held_out"]], CPU)
    held = [(entry, pair) for entry, pair in entries if entry["held_out"]]
    ratios = np.array([_ratio(pair, found) for _, pair in held])
    print(
        "\n| held-out graphs | number | median error | worst | measured / estimated, 10th to 90th percentile "
        "|\n|---|---|---|---|---|"
    )
    for name in ("all", *PRECISIONS):
        _row(name, ratios[[name in ("all", entry["precision"]) for entry, _ in held]])
    _row("(those fitted to)", np.array([_ratio(pair, found) for entry, pair in entries if not entry["held_out"]]))
    for file in sorted(work.glob("pairs-[2-9]*.json")):
        others, _ = _pairs(file)
        _row(
            f"held-out shapes on {file.stem[6:]} threads",
            np.array([_ratio(pair, found) for entry, pair in others if entry["held_out"]]),
        )
    where = (
        f"on one machine ({machine['cpu']}, {machine['threads']} thread), whose rates `edgelm devices detect` measured"
    )
    words = (
        f"{len(entries) - len(held)} encoder graphs of {len(FITTED)} shapes in onnxruntime {machine['onnxruntime']} "
        f"{where}; "
    )
    words += f"held out: {len(held)} graphs of {len(HELD_OUT)} other shapes, median error {_error(ratios):.1%}"
    return _named(found, ratios, words)


def _pairs(file: Path) -> tuple[list[tuple[dict[str, Any], Pair]], dict[str, Any]]:
    values = json.loads(file.read_text())
    device = Device.model_validate(values["device"])
    return [
        (entry, (tuple(Work(**item) for item in entry["works"]), device, entry["ms"])) for entry in values["pairs"]
    ], values["machine"]


def _fit_gpu() -> Constants:
    published = json.loads(PUBLISHED.read_text())
    pairs = [(figure, _published(figure, published)) for figure in published["figures"]]
    fitted = ("t4", "a100-40gb")
    found = _solve([pair for figure, pair in pairs if figure["device"] in fitted], GPU)
    by_device: dict[str, list[float]] = {}
    for figure, pair in pairs:
        by_device.setdefault(figure["device"], []).append(_ratio(pair, found))
    print(
        "\n| device | figures | median error | worst | published / estimated, 10th to 90th percentile "
        "|\n|---|---|---|---|---|"
    )
    for name, ratios in by_device.items():
        _row(name + (" (fitted to)" if name in fitted else ""), np.array(ratios))
    print(
        "\n| Jetson, BERT-large INT8, 1 text of 384 tokens | MLPerf | published ms | estimated ms | published / "
        "estimated |\n|---|---|---|---|---|"
    )
    for figure, pair in pairs:
        if figure["source"] != "demobert":
            ratio = _ratio(pair, found)
            print(
                f"| {figure['device']} | {figure['source'][7:]} | {figure['ms']:.2f} | {figure['ms'] / ratio:.2f} | "
                f"{ratio:.2f} |"
            )
    # Each device counts the same, whatever the number of its figures.
    held = [
        ratio
        for name, ratios in by_device.items()
        if name not in fitted
        for ratio in np.quantile(ratios, np.linspace(0.025, 0.975, 20))
    ]
    number = sum(len(ratios) for name, ratios in by_device.items() if name in fitted)
    words = (
        f"{number} latencies of BERT-base and BERT-large on T4 and A100 that NVIDIA publishes with TensorRT's "
        "demoBERT; held out: those of an A30, "
    )
    words += (
        "and MLPerf Inference's of BERT-large on Jetson AGX Orin, Orin NX and Xavier NX "
        "(benchmarks/published_bert.json)"
    )
    return _named(found, np.array(held), words)


def calibrate() -> None:
    """Each published figure by the factor of each other one of its device and precision."""
    published = json.loads(PUBLISHED.read_text())
    constants = roofline.load_constants("gpu")
    ratios: dict[tuple[str, str], list[float]] = {}
    for figure in published["figures"]:
        works, device, ms = _published(figure, published)
        ratio = ms / total_ms(price(works, device, constants), constants)
        ratios.setdefault((figure["device"], figure["precision"]), []).append(ratio)
    print(
        "\n| device | precision | figures | published / estimated, median | published / calibrated by another, 10th to "
        "90th percentile |\n|---|---|---|---|---|"
    )
    for (name, precision), found in ratios.items():
        others = [own / other for own, other in permutations(found, 2)]
        low, high = np.percentile(others, [10, 90]) if others else (np.nan, np.nan)
        print(f"| {name} | {precision} | {len(found)} | {np.median(found):.2f} | {low:.2f} to {high:.2f} |")


def _published(figure: dict[str, Any], published: dict[str, Any]) -> Pair:
    own = published["devices"].get(figure["device"])
    sizes = ModelSizes(**published["models"][figure["model"]], vocabulary=30522)
    sequence, batch = figure["tokens"], figure["batch"]
    # Both publications keep INT8 between the kernels (demoBERT's plugins with INT8 inputs and outputs), and FP16 beside
    # FP16.
    precision = figure["precision"]
    works = encoder_work(
        sizes, sizes.full(), precision, batch=batch, sequence=sequence, compiled=True, beside=precision
    )
    return works, Device.model_validate(own) if own else load_device(figure["device"]), figure["ms"]


def _solve(pairs: Sequence[Pair], guess: dict[str, float]) -> dict[str, float]:
    start = np.log(list(guess.values()))

    def residuals(point: np.ndarray) -> np.ndarray:
        values = dict(zip(guess, np.exp(point), strict=True))
        return np.array([np.log(_ratio(pair, values)) for pair in pairs] + list(HELD_BACK * (point - start)))

    most = [
        np.inf if name in ("launch_us", "call_us", "memory") else 0.0 for name in guess
    ]  # no share of a peak is above 1
    solved = least_squares(residuals, start, bounds=(-np.inf, most), diff_step=1e-2, loss="soft_l1", f_scale=0.3)
    found = dict(zip(guess, (float(value) for value in np.exp(solved.x)), strict=True))
    print("\n" + ", ".join(f"{name} {value:.3g}" for name, value in found.items()))
    return found


def _ratio(pair: Pair, values: dict[str, float]) -> float:
    """Measured over estimated."""
    works, device, ms = pair
    constants = _named(values, np.ones(1), "")
    return ms / total_ms(price(works, device, constants), constants)


def _named(values: dict[str, float], ratios: np.ndarray, words: str) -> Constants:
    rounded = {name: float(f"{value:.3g}") for name, value in values.items()} if words else values
    shares = {name: value for name, value in rounded.items() if name not in ("launch_us", "call_us", "memory")}
    low, high = (float(f"{value:.3g}") for value in np.percentile(ratios, [10, 90]))
    return Constants(rounded["launch_us"], rounded["call_us"], rounded["memory"], shares, (low, high), words)


def _error(ratios: np.ndarray) -> float:
    """Of the estimate, relative to what was measured: the median."""
    return float(np.median(np.abs(1 / ratios - 1)))


def _row(name: str, ratios: np.ndarray) -> None:
    low, high = np.percentile(ratios, [10, 90])
    print(
        f"| {name} | {len(ratios)} | {_error(ratios):.1%} | {np.abs(1 / ratios - 1).max():.1%} | {low:.2f} to "
        f"{high:.2f} |"
    )


def main() -> None:
    """One step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("build", "measure", "fit", "calibrate"))
    parser.add_argument("--work", type=Path, default=Path("build/cost"))
    parser.add_argument("--threads", type=int, default=1, help="that measure")
    parser.add_argument("--only", default="", help="measure graphs with this in their name")
    parser.add_argument("--write", action="store_true", help="write edgelm/cost/constants.json")
    options = parser.parse_args()
    print_machine()
    steps: dict[str, Callable[[], None]] = {
        "build": lambda: build(options.work),
        "measure": lambda: measure(options.work, options.threads, options.only),
        "fit": lambda: fit(options.work, options.write),
        "calibrate": calibrate,
    }
    steps[options.step]()


if __name__ == "__main__":
    main()
