"""Cuts without training: `EDGELM_DATA=FOLDER python benchmarks/one_shot.py [--sets sst2] [--speedups 1.5 2]`.

A model of `teachers.py` goes through the recipe `one-shot`, to so many times fewer multiply-accumulates than it has.
Choices are made on train, accuracies are of test; the time is that of `compress`, with its evaluation of the teacher
and of the result on dev.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from teachers import SETTINGS, load_rows, make_teacher

from edgelm import compress, load_recipe
from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer
from edgelm.checkpoint import open_checkpoint
from edgelm.compress.evaluate import evaluate


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=["sst2"], choices=list(SETTINGS))
    parser.add_argument("--speedups", type=float, nargs="+", default=[1.5, 2.0])
    parser.add_argument("--work", type=Path, default=Path("build/teachers"))
    given = parser.parse_args()
    print(
        "| set | fewer operations | dev accuracy | test accuracy | points lost on test | seconds "
        "|\n|---|---|---|---|---|---|"
    )
    for name in given.sets:
        teacher, rows = make_teacher(name, given.work), load_rows(name)
        task, tokenizer = open_checkpoint(teacher).task, load_tokenizer(teacher)
        test = rows["test"].for_task(task)
        before, _ = evaluate(TaskModel(load_checkpoint(teacher), tokenizer, task), test)
        for speedup in given.speedups:
            recipe = load_recipe("one-shot", overrides=[f"fit.speedup={speedup}"])
            with tempfile.TemporaryDirectory() as folder:
                start = time.monotonic()
                made = compress(
                    teacher, dataset=rows["train"], evaluation=rows["dev"], recipe=recipe, output=Path(folder) / "cut"
                )
                seconds = time.monotonic() - start
                after, _ = evaluate(TaskModel(load_checkpoint(made.path), tokenizer, task), test)
            dev = (made.original["metrics"]["accuracy"], made.record.stages[-1].after["accuracy"])
            figures = f"{dev[0]:.4f} -> {dev[1]:.4f} | {before['accuracy']:.4f} -> {after['accuracy']:.4f}"
            print(
                f"| {name} | {speedup:g}x | {figures} | {100 * (before['accuracy'] - after['accuracy']):.2f} | "
                f"{seconds:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
