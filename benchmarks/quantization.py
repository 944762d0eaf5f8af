"""Quantized models against FP32 and against other tools: accuracy on test rows, and latency in one interleaved run.

`EDGELM_DATA=FOLDER python benchmarks/quantization.py [NAME ...] [--work build/teachers] [--optimum PYTHON] [--nncf
PYTHON]`

The models are those of `teachers.py`. Whatever is calibrated or chosen sees dev; the accuracies are of test. Beside
edgelm's bundles stand onnxruntime's `quantize_dynamic` of a graph of standard operators and, where a Python is named
that has optimum-onnx or openvino with nncf, Optimum's dynamic INT8 and NNCF's static INT8. Latency: the first set,
batch 1, unpadded, 2 threads, each model in a process of its own, all taking turns; texts as they come, then texts of
one length alone, for which OpenVINO's model is reshaped.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from machine import print_machine
from onnxruntime.quantization import QuantType, quantize_dynamic
from teachers import SETTINGS, load_rows, make_teacher

from edgelm import export, load_device
from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer
from edgelm.checkpoint import open_checkpoint
from edgelm.data.dataset import Dataset
from edgelm.export.samples import encode
from edgelm.export.trace import export_graph
from edgelm.graph.fusion import split_norms
from edgelm.metrics.scores import score
from edgelm.quantize.settings import Quantization
from edgelm.tasks.task import Task

RIVALS = Path(__file__).with_name("rivals.py")
MAX_LENGTH, SAMPLES, FIXED = 128, 256, 25
OURS: dict[str, dict[str, Any]] = {
    "edgelm fp32": {"precision": "fp32"},
    "edgelm int8": {"precision": "int8"},
    "edgelm int8 --single": {"precision": "int8", "single": True},
    "edgelm int8, minmax": {"precision": "int8", "quantization": Quantization(method="minmax")},
    "edgelm int8-dynamic": {"precision": "int8-dynamic"},
    "edgelm int8-weights": {"precision": "int8-weights"},
    "edgelm int4, gptq": {"precision": "int4"},
    "edgelm int4, nearest": {"precision": "int4", "quantization": Quantization(rounding="nearest")},
}


@dataclass(frozen=True)
class Subject:
    """A model on disk, and the Python that runs it."""

    name: str
    model: Path
    python: str = sys.executable


def make_subjects(name: str, work: Path, optimum: str | None, nncf: str | None) -> list[Subject]:
    """All models of a set, and the rows that they read (`rows.json`), in `work/NAME-quantized`."""
    checkpoint, rows = make_teacher(name, work), load_rows(name)
    folder = work / f"{name}-quantized"
    folder.mkdir(exist_ok=True)
    model, tokenizer, task = load_checkpoint(checkpoint), load_tokenizer(checkpoint), open_checkpoint(checkpoint).task
    dev, test = rows["dev"].for_task(task), rows["test"].for_task(task)
    calibration = dev.sample(SAMPLES, seed=0)
    parts = {"calibration": calibration, "latency": dev.sample(200, seed=1), "test": test}
    encoded = {part: [_row(tokenizer, task, text) for text in data.inputs()] for part, data in parts.items()}
    every = [_row(tokenizer, task, text) for text in dev.inputs()]
    encoded["fixed"] = [row for row in every if len(row["input_ids"]) == FIXED]
    (folder / "rows.json").write_text(json.dumps(encoded))
    subjects = []
    for label, options in OURS.items():
        output = folder / label.replace("edgelm ", "").replace(" ", "-")
        if not output.is_dir():
            export(
                checkpoint, output=output, device=load_device("cpu"), calibration=dev, max_length=MAX_LENGTH, **options
            )
        subjects.append(Subject(label, output / "model.onnx"))
    plain = export_graph(TaskModel(model, tokenizer, task, MAX_LENGTH), fused=False)
    split_norms(plain)
    onnx.save(plain, folder / "plain.onnx")
    target = folder / "ort-dynamic.onnx"
    quantize_dynamic(
        folder / "plain.onnx",
        target,
        weight_type=QuantType.QInt8,
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )
    subjects.append(Subject("onnxruntime dynamic", target))
    if optimum:
        shutil.rmtree(folder / "optimum", ignore_errors=True)
        subprocess.run(
            [optimum, str(RIVALS), "optimum", str(checkpoint), str(folder / "optimum")], check=True, capture_output=True
        )
        subjects.append(Subject("Optimum dynamic", folder / "optimum" / "model_quantized.onnx", optimum))
    if nncf:
        arguments = [str(folder / "plain.onnx"), str(folder / "rows.json"), str(folder / "nncf.xml")]
        subprocess.run([nncf, str(RIVALS), "nncf", *arguments], check=True, capture_output=True)
        subjects.append(Subject("OpenVINO + NNCF", folder / "nncf.xml", nncf))
    return subjects


def _row(tokenizer: Any, task: Task, text: Any) -> dict[str, list[int]]:
    return {
        name: ids[0].tolist() for name, ids in encode(tokenizer, task, [text], max_length=MAX_LENGTH).feed([0]).items()
    }


def run_all(subjects: list[Subject], part: str, order: str, rounds: int) -> list[list[Any]]:
    """Start every model in its process and give each its order, round by round, in random turns; the answers by
    model."""
    processes = []
    for subject in subjects:
        rows = next(parent for parent in subject.model.parents if (parent / "rows.json").is_file()) / "rows.json"
        command = [subject.python, str(RIVALS), "serve", str(subject.model), str(rows), part]
        processes.append(
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        )
    answers: list[list[Any]] = [[] for _ in subjects]
    for process in processes:
        _listen(process)
    shuffle = random.Random(0)
    for _ in range(rounds):
        for index in shuffle.sample(range(len(subjects)), len(subjects)):
            processes[index].stdin.write(order + "\n")  # type: ignore[union-attr]
            processes[index].stdin.flush()  # type: ignore[union-attr]
            answers[index].append(_listen(processes[index]))
    for process in processes:
        process.stdin.close()  # type: ignore[union-attr]
        process.wait()
    return answers


def _listen(process: subprocess.Popen[str]) -> Any:
    """The next line of JSON; a tool may print others."""
    while line := process.stdout.readline():  # type: ignore[union-attr]
        if line[:1] in '["':
            return json.loads(line)
    raise RuntimeError(f"{process.args} ended early")


def show_accuracy(name: str, subjects: list[Subject], test: Dataset, checkpoint: Path) -> None:
    """Accuracy on test; against FP32: share of other answers, and the outputs' error relative to their variance."""
    task = open_checkpoint(checkpoint).task
    test = test.for_task(task)
    outputs = [np.array(found[0]) for found in run_all(subjects, "latency", "answer", 1)]
    wanted = outputs[0]
    for subject, found in zip(subjects, outputs, strict=True):
        share = score(task, found, test.labels or ())["accuracy"]
        changed = np.mean(found.argmax(axis=-1) != wanted.argmax(axis=-1))
        error = np.mean((found - wanted) ** 2) / np.var(wanted)
        files = (
            sum(file.stat().st_size for file in subject.model.parent.glob("*") if file.name in _files(subject.model))
            / 1e6
        )
        print(
            f"| {name} | {subject.name} | {share:.4f} | {100 * changed:.2f} % | {error:.5f} | {files:.1f} |", flush=True
        )


def _files(model: Path) -> tuple[str, ...]:
    return model.name, model.with_suffix(".bin").name, *(["weights.bin"] if model.name == "model.onnx" else [])


def show_latency(subjects: list[Subject], part: str, rounds: int, calls: int) -> None:
    """p50 and p99 of all calls, and the median over rounds of the ratio to edgelm's INT8 in the same round."""
    answers = run_all(subjects, part, f"time {calls}", rounds)
    middles = [[statistics.median(turn) for turn in turns] for turns in answers]
    reference = middles[[subject.name for subject in subjects].index("edgelm int8")]
    for subject, turns, middle in zip(subjects, answers, middles, strict=True):
        samples = np.concatenate(turns)
        ratio = statistics.median(own / other for own, other in zip(middle, reference, strict=True))
        print(
            f"| {subject.name} | {np.median(samples):.3f} | {np.percentile(samples, 99):.3f} | {ratio:.2f} |",
            flush=True,
        )


def main() -> None:
    """Print the Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["sst2", "ag_news", "banking77", "mrpc"], help=", ".join(SETTINGS))
    parser.add_argument("--work", type=Path, default=Path("build/teachers"))
    parser.add_argument("--optimum", help="A Python that has optimum-onnx.")
    parser.add_argument("--nncf", help="A Python that has openvino and nncf.")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--calls", type=int, default=50)
    options = parser.parse_args()
    print_machine()
    made = {name: make_subjects(name, options.work, options.optimum, options.nncf) for name in options.names}
    for part, texts in (("latency", "texts as they come"), ("fixed", f"texts of {FIXED} tokens")):
        print(f"\n| model, {texts} | p50 ms | p99 ms | time, relative to edgelm int8 |\n|---|---|---|---|")
        show_latency(made[options.names[0]], part, options.rounds, options.calls)
    print("\n| set | model | test accuracy | other answers than FP32 | error | MB |\n|---|---|---|---|---|---|")
    for name, subjects in made.items():
        show_accuracy(name, subjects, load_rows(name)["test"], make_teacher(name, options.work))


if __name__ == "__main__":
    main()
