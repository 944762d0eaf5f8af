"""INT8 after quantization-aware training beside INT8 without: `EDGELM_DATA=FOLDER python
benchmarks/quantization_aware.py [NAME ...]`.

The recipe `quantization-aware` on models of `teachers.py`, then INT8 of the model and of what the recipe made of it,
both with ranges that dev gives. Shown for test: accuracy, and the squared error of the outputs relative to the variance
of the teacher's FP32 outputs; for the CPU's integers and for the signed, symmetric ones of TensorRT (trained with
`quantize.symmetric=true`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from teachers import SETTINGS, load_rows, make_teacher

from edgelm import compress, load_device, load_recipe
from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer
from edgelm.checkpoint import open_checkpoint
from edgelm.export.precision import Material, to_precision
from edgelm.export.trace import export_graph
from edgelm.progress import silent
from edgelm.quantize.settings import AUTO, Quantization

MAX_LENGTH = 128
METHODS = (AUTO, "minmax", "percentile", "mse")
DEVICES = {"cpu": "false", "rtx-4090": "true"}  # and whether their activations are symmetric


def compare(name: str, work: Path, overrides: list[str]) -> None:
    """All methods on one set."""
    teacher, rows = make_teacher(name, work), load_rows(name)
    tokenizer, task = load_tokenizer(teacher), open_checkpoint(teacher).task
    material = Material(rows["dev"].for_task(task), None, tokenizer, task, MAX_LENGTH, 0)
    for device, symmetric in DEVICES.items():
        target = load_device(device)

        def graph(checkpoint: Path, fused: bool = target.kind == "cpu"):  # type: ignore[no-untyped-def]
            return export_graph(TaskModel(load_checkpoint(checkpoint), tokenizer, task, MAX_LENGTH), fused=fused)

        trained = work / "-".join((name, "quantization-aware", device, *overrides)).replace("/", "")
        if not trained.is_dir():
            recipe = load_recipe("quantization-aware", overrides=[f"quantize.symmetric={symmetric}", *overrides])
            compress(teacher, dataset=rows["train"], evaluation=rows["dev"], recipe=recipe, output=trained)
        check = material.judge(graph(teacher), rows["test"].for_task(task))
        print(f"| {name} | {device} | the teacher, FP32 | - | 0 | {check.score(check.wanted):.4f} |")
        for label, checkpoint in (("the teacher", teacher), ("after training", trained)):
            for method in METHODS:
                made = to_precision(graph(checkpoint), "int8", material, target, Quantization(method=method), silent)
                outputs = check.outputs(made.graph)
                print(
                    f"| {name} | {device} | {label} | {method} | {check.error(outputs):.5f} | "
                    f"{check.score(outputs):.4f} |",
                    flush=True,
                )


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["mrpc", "banking77"], help=", ".join(SETTINGS))
    parser.add_argument("--work", type=Path, default=Path("build/teachers"))
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        help="A setting of the recipe, such as quantize.ranges=minmax.",
    )
    options = parser.parse_args()
    print("| set | device | model | ranges | error | test accuracy |\n|---|---|---|---|---|---|")
    for name in options.names:
        compare(name, options.work, options.overrides)


if __name__ == "__main__":
    main()
