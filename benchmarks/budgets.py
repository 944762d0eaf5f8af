"""What a budget gives: `EDGELM_DATA=FOLDER python benchmarks/budgets.py [--set sst2] [--speedups 12 25] [--max-size 5]
[--untrained]`.

A model of `teachers.py` is compressed to each speed-up (over PyTorch eager FP32 on this machine), exported in INT8 and
profiled beside the teacher in PyTorch and onnxruntime's dynamic INT8 of it, all in one interleaved run on texts of the
median length. Training sees train, every choice is made on train and dev, the accuracies are of test. `--untrained`
leaves out the training: what is asked and what comes in time are then all that the table is good for.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import onnx
from machine import print_machine
from onnxruntime.quantization import QuantType, quantize_dynamic
from teachers import SETTINGS, load_rows, make_teacher

from edgelm import compress, export, load_device, load_recipe, profile
from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer
from edgelm.budget import Budget
from edgelm.budgeting.targets import resolve_budget
from edgelm.checkpoint import open_checkpoint
from edgelm.compress.evaluate import evaluate
from edgelm.durations import parse_seconds
from edgelm.export.samples import encode, graph_rows
from edgelm.export.trace import export_graph
from edgelm.graph.fusion import split_norms
from edgelm.graph.session import make_plain_session
from edgelm.metrics.scores import score
from edgelm.recipe import Recipe

MAX_LENGTH = 128


def make_rival(teacher: Path, folder: Path, test: Any) -> tuple[Path, float]:
    """onnxruntime's `quantize_dynamic` of the teacher's graph of standard operators, and its accuracy on test."""
    tokenizer, task = load_tokenizer(teacher), open_checkpoint(teacher).task
    graph = export_graph(TaskModel(load_checkpoint(teacher), tokenizer, task, MAX_LENGTH), fused=False)
    split_norms(graph)
    onnx.save(graph, folder / "plain.onnx")
    target = folder / "ort-dynamic.onnx"
    quantize_dynamic(
        folder / "plain.onnx",
        target,
        weight_type=QuantType.QInt8,
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )
    rows = test.for_task(task)
    outputs = graph_rows(
        make_plain_session(onnx.load(target)), encode(tokenizer, task, rows.inputs(), max_length=MAX_LENGTH)
    )
    return target, score(task, outputs, rows.labels)["accuracy"]


def make_bundle(
    name: str, budget: Budget, recipe: Recipe, folder: Path, work: Path, time_limit: float | None
) -> tuple[Path, float, float, float]:
    """The bundle of a budget; its accuracy on test, the speed-up that compress measured, and seconds of compress."""
    teacher, rows, device = make_teacher(name, work), load_rows(name), load_device("cpu")
    start = time.monotonic()
    targets = resolve_budget(
        budget,
        open_checkpoint(teacher),
        rows["dev"],
        precision="int8",
        device=device,
        max_length=MAX_LENGTH,
        embedding_bits=recipe.embedding_bits,
    )
    size = "" if budget.max_size_mb is None else f"-{budget.max_size_mb:g}MB"
    small = folder / f"{recipe.name}-{budget.speedup:g}x{size}"
    if not small.is_dir():
        left = None if time_limit is None else time_limit - (time.monotonic() - start)
        compress(
            teacher,
            dataset=rows["train"],
            evaluation=rows["dev"],
            recipe=recipe,
            output=small,
            device=device,
            goal=targets.goal,
            time_limit=left,
        )
    seconds = time.monotonic() - start
    bundle = small.with_name(f"{small.name}.edge")
    made = export(
        small,
        output=bundle,
        device=device,
        calibration=rows["dev"],
        evaluation=rows["test"],
        max_length=MAX_LENGTH,
        overwrite=True,
    )
    table = targets.table
    assert table is not None
    said = (table.pytorch or 0.0) / targets.goal.bounds[0].cost(
        open_checkpoint(small).record.layers or table.sizes.full()
    )
    return bundle, made.manifest.quality["bundle"]["accuracy"], said, seconds


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", dest="name", default="sst2", choices=list(SETTINGS))
    parser.add_argument("--speedups", type=float, nargs="+", default=[12.0, 25.0])
    parser.add_argument("--recipe", help="Default: budget, or one-shot with --untrained.")
    parser.add_argument(
        "--override", action="append", default=[], help="A setting of the recipe, such as recover.train.epochs=1."
    )
    parser.add_argument("--max-size", type=float, help="Of the bundle, in 10^6 bytes.")
    parser.add_argument("--time-limit", help="Of the whole of compress, as `edgelm compress` takes it: 45m.")
    parser.add_argument("--untrained", action="store_true")
    parser.add_argument("--work", type=Path, default=Path("build/teachers"))
    parser.add_argument("--runs", type=int, default=300)
    given = parser.parse_args()
    print_machine()
    recipe = load_recipe(given.recipe or ("one-shot" if given.untrained else "budget"), overrides=given.override)
    folder = given.work / f"{given.name}-budgets"
    folder.mkdir(parents=True, exist_ok=True)
    rows, teacher = load_rows(given.name), make_teacher(given.name, given.work)
    rival, rival_accuracy = make_rival(teacher, folder, rows["test"])
    limit = None if given.time_limit is None else parse_seconds(given.time_limit)
    made = [
        make_bundle(given.name, Budget(speedup=each, max_size_mb=given.max_size), recipe, folder, given.work, limit)
        for each in given.speedups
    ]
    tokenizer = load_tokenizer(teacher)
    lengths = sorted(
        len(ids) for ids in tokenizer(list(rows["dev"].inputs()), truncation=True, max_length=MAX_LENGTH)["input_ids"]
    )
    median = lengths[len(lengths) // 2]
    subjects = [rival, teacher, *(bundle for bundle, *_ in made[1:])]
    found = profile(
        made[0][0], compare=subjects, data=rows["dev"], sequence_lengths=[median], threads=2, runs=given.runs
    )
    times = [item.cases[0].percentile_ms(50) for item in found]
    eager = times[2]
    print(
        f"{given.name}, texts of {median} tokens; {found[0].machine['cpu']}, 2 threads, {given.runs} runs each, "
        "interleaved\n"
    )
    print(
        "| model | test accuracy | p50 ms | vs PyTorch | asked | measured by compress | size MB | minutes "
        "|\n|---|---|---|---|---|---|---|---|"
    )
    task = open_checkpoint(teacher).task
    quality, _ = evaluate(TaskModel(load_checkpoint(teacher), tokenizer, task, MAX_LENGTH), rows["test"].for_task(task))
    print(f"| teacher, PyTorch FP32 | {quality['accuracy']:.4f} | {eager:.3f} | 1.00x | | | {found[2].size_mb:.1f} | |")
    print(
        f"| onnxruntime dynamic INT8 | {rival_accuracy:.4f} | {times[1]:.3f} | {eager / times[1]:.2f}x | | | "
        f"{found[1].size_mb:.1f} | |"
    )
    for speedup, (_, accuracy, said, seconds), item, p50 in zip(
        given.speedups, made, [found[0], *found[3:]], [times[0], *times[3:]], strict=True
    ):
        figures = f"{accuracy:.4f} | {p50:.3f} | {eager / p50:.2f}x | {speedup:g}x | {said:.2f}x"
        print(f"| {recipe.name} | {figures} | {item.size_mb:.1f} | {seconds / 60:.1f} |")


if __name__ == "__main__":
    main()
