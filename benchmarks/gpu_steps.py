"""The time of a training step of `edgelm compress` on a GPU and on the CPU, for `gpu.py --compress`.

`gpu_steps.py TEACHERS STEPS` prints the seconds of a step where this process trains.
"""

from __future__ import annotations

import edgelm  # noqa: F401  # isort: skip  # before onnxruntime: it turns its telemetry off

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from teachers import load_rows, make_teacher

from edgelm import compress, load_recipe

CPU_THREADS = 2
SLOW_STEPS = 5  # the first: memory is taken, kernels are chosen


def compare_steps(options: argparse.Namespace) -> None:
    """The seconds of a training step, each place in a process that sees no other."""
    found = {}
    for on in dict.fromkeys((options.on, "cpu")):
        environment = os.environ | (
            {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": str(CPU_THREADS)} if on == "cpu" else {}
        )
        command = [sys.executable, __file__, str(options.teachers), str(options.steps)]
        found[on] = json.loads(
            subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[
                -1
            ]
        )
    print("| training step of `recover`, BF16, batches of 64 | seconds, median | times as fast |\n|---|---|---|")
    for on, seconds in found.items():
        where = f"cpu, {CPU_THREADS} threads" if on == "cpu" else torch.cuda.get_device_name()
        print(f"| {where} | {seconds:.4f} | {found['cpu'] / seconds:.1f}x |")


def time_step(teacher: Path, steps: int) -> float:
    """Seconds of a step in which the teacher is asked and the student of `balanced` learns, wherever training runs in
    this process.

    The median: batches are of unlike lengths, the same ones everywhere, and after some steps the state of the training
    is saved.
    """
    rows = load_rows("sst2")
    recipe = load_recipe(
        "balanced", overrides=["recover.train.precision=bf16", f"recover.train.max_steps={steps}", "prune.samples=64"]
    )
    ends: list[float] = []

    def watch(description: str, done: int, total: int) -> None:
        if description == "recover":
            ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        few = rows["dev"].take(range(64))
        compress(
            teacher, dataset=rows["train"], evaluation=few, recipe=recipe, output=Path(folder) / "small", progress=watch
        )
    return statistics.median(
        after - before for before, after in zip(ends[SLOW_STEPS:], ends[SLOW_STEPS + 1 :], strict=False)
    )


if __name__ == "__main__":
    print(json.dumps(time_step(make_teacher("sst2", Path(sys.argv[1])), int(sys.argv[2]))))
