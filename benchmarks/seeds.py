"""What small students lose, seed by seed: `EDGELM_DATA=FOLDER python benchmarks/seeds.py [SET ...] [--seeds 5]
[--processes 1] [--times] [--random]`.

Of each model of `teachers.py` a student of one shape is made with every seed, by a recipe without a search: tokens that
the training rows never use are dropped, the embeddings that are left are kept in 4 bits, layers, heads and channels are
cut by how much they say, and the teacher teaches the rest on the rows and two changed copies of each. Seeds decide
about those copies, the rows that are looked at and the order of training. Students are exported in INT8 for the device
`cpu`; the accuracies on test are those of their bundles, those on dev of the trained weights. Training takes a GPU
where there is one, `--processes` students at a time; what lies in the work folder from an earlier run is used again.

`--times` also profiles the student of the median on dev beside its teacher in PyTorch eager FP32 and onnxruntime's
dynamic INT8 of it, in one interleaved run on texts of the median length. `--random` does that alone, with models of the
teachers' shape and random weights and their students, none of which has learnt: for the time that the shapes take.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from budgets import MAX_LENGTH, make_rival
from ending import run
from machine import print_machine
from random_encoders import make_classifier
from teachers import load_rows, make_teacher

from edgelm import compress, export, load_device, load_recipe, profile
from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer
from edgelm.checkpoint import open_checkpoint
from edgelm.compress.evaluate import evaluate
from edgelm.data.dataset import Dataset
from edgelm.data.encoding import median_length
from edgelm.durations import parse_seconds
from edgelm.recipe import DistillSettings, EmbeddingsSettings, Recipe, StudentShape, VocabularySettings
from edgelm.training_settings import DistillLoss, TrainSettings

_FEW = 256  # rows for models that have not learnt anything


@dataclass(frozen=True)
class Plan:
    """A student's layers, heads and channels, the tokens that it reads at most, and how long it learns."""

    layers: int
    heads: int
    ffn: int
    tokens: int
    steps: int


# A shape of over 50 times the speed of PyTorch eager FP32 by edgelm-native with AVX2 alone (benchmarks/README.md).
PLANS = {
    "sst2": Plan(layers=3, heads=2, ffn=256, tokens=14400, steps=10000),
    "ag_news": Plan(layers=3, heads=2, ffn=256, tokens=14400, steps=2000),
    "banking77": Plan(layers=3, heads=2, ffn=256, tokens=14400, steps=5000),
}


def recipe_of(name: str, seed: int, *, learns: bool) -> Recipe:
    """The recipe of a set's students; without `learns` for their shape alone."""
    plan = PLANS[name] if learns else replace(PLANS[name], steps=1)
    student = DistillSettings(
        shape=StudentShape(layers=plan.layers, heads=plan.heads, ffn=plan.ffn),
        loss=DistillLoss(soft=0.9, hard=0.1, hidden=1.0),
        train=TrainSettings(
            max_steps=plan.steps,
            batch_size=128,
            learning_rate=4e-4,
            dropout=0.0,
            max_length=MAX_LENGTH,
            precision="auto",
        ),
    )
    return Recipe(
        name="fixed-shape",
        seed=seed,
        augment=load_recipe("compact").augment if learns else None,
        stages=(VocabularySettings(max_tokens=plan.tokens), EmbeddingsSettings(bits=4), student),
    )


def rows_of(name: str, *, learns: bool) -> dict[str, Dataset]:
    """The rows of a set; without `learns` a few of each part, since nobody asks how good such models are."""
    rows = load_rows(name)
    return rows if learns else {part: some.take(range(_FEW)) for part, some in rows.items()}


def make_random_teacher(name: str, work: Path) -> Path:
    """A model of a teacher's shape with random weights, and the labels of the set."""
    output = work / name
    if not output.is_dir():
        train = load_rows(name)["train"]
        make_classifier(train.take(range(3000)).texts, output, labels=train.label_names)
    return output


def make_student(
    name: str, seed: int, teacher: Path, folder: Path, *, time_limit: float | None = None, learns: bool = True
) -> dict[str, Any]:
    """The bundle of a seed, and beside it, in JSON, what is returned: accuracies on dev and test, size and seconds."""
    result = folder / f"{name}-{seed}.json"
    if result.is_file():
        return json.loads(result.read_text())
    rows, device = rows_of(name, learns=learns), load_device("cpu")
    small, bundle = folder / f"{name}-{seed}", folder / f"{name}-{seed}.edge"
    began = time.monotonic()
    made = compress(
        teacher,
        dataset=rows["train"],
        evaluation=rows["dev"],
        recipe=recipe_of(name, seed, learns=learns),
        output=small,
        device=device,
        time_limit=time_limit,
        overwrite=True,
    )
    seconds = time.monotonic() - began
    exported = export(
        small,
        output=bundle,
        device=device,
        calibration=rows["dev"],
        evaluation=rows["test"],
        max_length=MAX_LENGTH,
        overwrite=True,
    )
    found = {
        "set": name,
        "seed": seed,
        "dev": made.record.stages[-1].after["accuracy"],
        "test": exported.manifest.quality["bundle"]["accuracy"],
        "floats": exported.manifest.quality["checkpoint"]["accuracy"],
        "mb": exported.size_mb,
        "seconds": seconds,
    }
    result.write_text(json.dumps(found))
    return found


def make_students(options: argparse.Namespace, teachers: dict[str, Path]) -> list[dict[str, Any]]:
    """What `make_student` says of every set and seed, printed as it comes."""
    limit = None if options.time_limit is None else parse_seconds(options.time_limit)
    wanted = [(name, seed) for name in options.names for seed in range(options.seeds)]
    found = []
    with ProcessPoolExecutor(options.processes, multiprocessing.get_context("spawn")) as pool:
        futures = [
            pool.submit(
                make_student,
                name,
                seed,
                teachers[name],
                options.work,
                time_limit=limit,
                learns=not options.random,
            )
            for name, seed in wanted
        ]
        for future in as_completed(futures):
            found.append(future.result())
            print(f"# {found[-1]}", flush=True)
    return found


def judge_teacher(name: str, teacher: Path) -> tuple[float, float]:
    """A teacher's accuracies on dev and test."""
    rows = load_rows(name)
    task = open_checkpoint(teacher).task
    asked = TaskModel(load_checkpoint(teacher), load_tokenizer(teacher), task, MAX_LENGTH)
    dev, test = (evaluate(asked, rows[part].for_task(task))[0]["accuracy"] for part in ("dev", "test"))
    return dev, test


def print_accuracies(name: str, teacher: Path, found: list[dict[str, Any]]) -> None:
    """The rows of a set: its teacher, its students by seed, and the median of those."""
    dev, test = judge_teacher(name, teacher)
    students = sorted((each for each in found if each["set"] == name), key=lambda each: each["seed"])
    middle = statistics.median(each["test"] for each in students)
    print(f"| {name}: teacher | {dev:.4f} | {test:.4f} | | | |")
    for each in students:
        print(
            f"| seed {each['seed']} | {each['dev']:.4f} | {each['test']:.4f} | {100 * (test - each['test']):.2f} "
            f"| {each['mb']:.2f} | {each['seconds']:.0f} |"
        )
    print(f"| **median** | | {middle:.4f} | {100 * (test - middle):.2f} | | |", flush=True)


def print_times(name: str, teacher: Path, options: argparse.Namespace, found: list[dict[str, Any]]) -> None:
    """The rows of a set: its teacher in PyTorch, onnxruntime's dynamic INT8 of it, and the student of the median."""
    rows = rows_of(name, learns=not options.random)
    students = sorted((each for each in found if each["set"] == name), key=lambda each: each["dev"])
    seed = students[len(students) // 2]["seed"]
    rival, _ = make_rival(teacher, options.work, rows["test"])
    tokens = median_length(load_tokenizer(teacher), open_checkpoint(teacher).task, rows["dev"], max_length=MAX_LENGTH)
    taken = profile(
        options.work / f"{name}-{seed}.edge",
        compare=[rival, teacher],
        data=rows["dev"],
        sequence_lengths=[tokens],
        threads=options.threads,
        runs=options.runs,
    )
    times = [item.cases[0].percentile_ms(50) for item in taken]
    print(
        f"| {name}, {tokens} tokens: teacher, PyTorch eager FP32 | {times[2]:.3f} | 1.0x | | {taken[2].size_mb:.1f} |"
    )
    dynamic, small = times[2] / times[1], times[2] / times[0]
    print(f"| onnxruntime dynamic INT8 | {times[1]:.3f} | {dynamic:.1f}x | 1.0x | {taken[1].size_mb:.1f} |")
    over = times[1] / times[0]
    print(f"| seed {seed}, {taken[0].runs_on} | {times[0]:.3f} | {small:.1f}x | {over:.1f}x | {taken[0].size_mb:.2f} |")


def main() -> None:
    """Print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(PLANS), metavar="SET", help=", ".join(PLANS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=1, help="students that learn at the same time")
    parser.add_argument("--time-limit", help="of each student's compress, as `edgelm compress` takes it: 45m")
    parser.add_argument("--times", action="store_true", help="profile the student of the median as well")
    parser.add_argument("--random", action="store_true", help="times alone, of models that have not learnt anything")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument(
        "--teachers", type=Path, default=Path("build/teachers"), help="where teachers.py keeps its models"
    )
    parser.add_argument("--work", type=Path, default=Path("build/seeds"))
    options = parser.parse_args()
    print_machine()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.random:
        options.seeds, options.times, options.work = 1, True, options.work / "random"
        options.work.mkdir(exist_ok=True)
        teachers = {name: make_random_teacher(name, options.work) for name in options.names}
    else:
        teachers = {name: make_teacher(name, options.teachers) for name in options.names}
    found = make_students(options, teachers)
    if not options.random:
        print("\n| model | dev | test | points lost | MB | seconds |\n|---|---|---|---|---|---|")
        for name in options.names:
            print_accuracies(name, teachers[name], found)
    if options.times:
        print("\n| model | p50 ms | over PyTorch | over dynamic INT8 | MB |\n|---|---|---|---|---|")
        for name in options.names:
            print_times(name, teachers[name], options, found)


if __name__ == "__main__":
    run(main)
