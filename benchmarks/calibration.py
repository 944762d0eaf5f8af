"""What each way to choose ranges, texts, rounding and smoothing does to a model.

`EDGELM_DATA=FOLDER python benchmarks/calibration.py [NAME ...] [--work build/teachers]`: the teachers of `teachers.py`,
256 texts of dev to calibrate on, judged on the others of dev: error (squared error of the outputs, relative to their
variance) and accuracy; dev alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from teachers import SETTINGS, load_rows, make_teacher

from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer
from edgelm.checkpoint import open_checkpoint
from edgelm.data.dataset import Dataset
from edgelm.export.precision import Material
from edgelm.export.trace import export_graph
from edgelm.graph.fusion import split_norms
from edgelm.quantize.embeddings import quantize_embeddings
from edgelm.quantize.post_training import quantize_post_training
from edgelm.quantize.ranges import METHODS
from edgelm.quantize.samples import choose_samples
from edgelm.quantize.sensitivity import find_activations
from edgelm.quantize.settings import AUTO, CHOICES, Quantization
from edgelm.quantize.statistics import Statistics, collect
from edgelm.quantize.target import ONNXRUNTIME_CPU

SAMPLES, JUDGED, MAX_LENGTH = 256, 64, 128


def main() -> None:
    """Print one line for each set and way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(SETTINGS), help=", ".join(SETTINGS))
    parser.add_argument("--work", type=Path, default=Path("build/teachers"))
    options = parser.parse_args()
    for name in options.names:
        compare(name, options.work)


def compare(name: str, work: Path) -> None:
    """All ways on one set."""
    folder = make_teacher(name, work)
    model, tokenizer, task = load_checkpoint(folder), load_tokenizer(folder), open_checkpoint(folder).task
    dev = load_rows(name)["dev"].for_task(task)
    graph = export_graph(TaskModel(model, tokenizer, task, MAX_LENGTH), fused=True)
    split_norms(graph)
    base = quantize_embeddings(graph)
    material = Material(dev, None, tokenizer, task, MAX_LENGTH, 0)
    learn, rest = parts(dev, "random", 0)
    judge, check = (
        material.judge(graph, rest.take(range(JUDGED))),
        material.judge(graph, rest.take(range(JUDGED, len(rest)))),
    )

    def learned(rows: Dataset, *, gram: bool = False) -> dict[str, Statistics]:
        feeds = material.feeds(material.inputs(rows))
        return collect(base, [site.source for site in find_activations(base)], feeds, count=len(rows), gram=gram)

    def show(way: str, statistics: dict[str, Statistics], settings: Quantization) -> None:
        made = quantize_post_training(base, statistics, judge, ONNXRUNTIME_CPU, settings)
        outputs = check.outputs(made.graph)
        print(f"{name:10} {way:28} error {check.error(outputs):.5f}   accuracy {check.score(outputs):.4f}", flush=True)

    print(f"{name:10} {'FP32':28} error 0         accuracy {check.score(check.wanted):.4f}")
    statistics = learned(learn, gram=True)
    for method in (*METHODS, AUTO):
        show(method, statistics, Quantization(method=method))
    for rounding in ("adaptive", "gptq"):
        show(f"{AUTO}, {rounding} rounding", statistics, Quantization(method=AUTO, rounding=rounding))
    show("minmax, per tensor", statistics, Quantization(method="minmax", per_channel=False))
    for choice in CHOICES:
        for seed in range(3):
            show(
                f"minmax, {choice} texts, seed {seed}",
                learned(parts(dev, choice, seed)[0]),
                Quantization(method="minmax"),
            )


def parts(rows: Dataset, choice: str, seed: int) -> tuple[Dataset, Dataset]:
    """A first half of dev to choose calibration texts from, a second half to judge on."""
    half = len(rows) // 2
    return choose_samples(rows.take(range(half)), SAMPLES, choice, seed=seed), rows.take(range(half, len(rows)))


if __name__ == "__main__":
    main()
