"""PyTorch, onnxruntime and edgelm's engines side by side on a GPU: `EDGELM_DATA=FOLDER python benchmarks/gpu.py
[--small CHECKPOINT]`

Of the SST-2 teacher of `teachers.py`: PyTorch eager in FP32 and FP16; `torch.compile` in FP16, as it comes and with
CUDA graphs; onnxruntime's CUDA provider in FP32 and FP16 on its own fused operators, where onnxruntime-gpu is
installed; and edgelm's engines in FP16 and INT8, these also of a checkpoint that was compressed, if one is named. An
engine is built for each batch size. Texts have the median length of dev and no padding; all subjects of a batch size
take turns in one run of `edgelm profile`, each in a process of its own; a call is arrays in, array out, with the copies
to the GPU and back.

`--compress` instead takes the time of a training step of `edgelm compress`, in BF16 on the GPU and on two threads of
the CPU. `--on cpu` takes either without a GPU: the table with what runs on a CPU, the step on the CPU alone.
"""

from __future__ import annotations

import edgelm  # noqa: F401  # isort: skip  # before onnxruntime: it turns its telemetry off

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import onnxruntime
import torch
from ending import run
from teachers import load_rows, make_teacher

from edgelm import compress, export, load_device, load_recipe, profile
from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer
from edgelm.checkpoint import Checkpoint, open_checkpoint
from edgelm.data.dataset import Dataset
from edgelm.device import Device
from edgelm.engines import build
from edgelm.errors import ResourceError, UsageError
from edgelm.export.trace import export_graph
from edgelm.files.shipped import shipped_names
from edgelm.graph.fusion import fuse_attention
from edgelm.hardware.machine import describe_machine
from edgelm.profile.result import Profile
from edgelm.profile.subject import Subject, find_subject
from edgelm.quantize.half import to_half
from edgelm.runtime import open_bundle
from edgelm.runtime.cuda import find_gpu
from edgelm.runtime.provider import EXECUTION_PROVIDERS

MAX_LENGTH = 128
CPU_THREADS = 2
SLOW_STEPS = 5  # the first: memory is taken, kernels are chosen


@dataclass(frozen=True)
class Place:
    """What is compared where: precisions, for PyTorch each with a mode of `torch.compile` or None."""

    pytorch: tuple[tuple[str, str | None], ...]
    onnxruntime: tuple[str, ...]
    edgelm: tuple[str, ...]


PLACES = {
    "cuda": Place(
        (("fp32", None), ("fp16", None), ("fp16", "default"), ("fp16", "reduce-overhead")),
        ("fp32", "fp16"),
        ("fp16", "int8"),
    ),
    "cpu": Place((("fp32", None), ("fp32", "default")), ("fp32",), ("int8",)),
}


def find_device(on: str, name: str | None) -> Device:
    """The device that bundles are made for: the one named, or that of the GPU here.

    Raises:
        ResourceError: no GPU answers.
        UsageError: edgelm ships no device of its compute capability.
    """
    if on == "cpu":
        return load_device(name or "cpu")
    gpu = find_gpu()
    if gpu is None or not torch.cuda.is_available():
        lacking = "PyTorch" if not torch.cuda.is_available() else "cuda-bindings"
        raise ResourceError(
            f"no GPU to measure on: {lacking} finds none here.",
            hint="It takes a CUDA build of torch and edgelm[tensorrt] where `nvidia-smi` works; --on cpu takes the "
            "table without a GPU.",
        )
    names = [name] if name else shipped_names("devices")
    found = next(
        (device for device in map(load_device, names) if name or device.compute_capability == gpu.compute_capability),
        None,
    )
    if found is None:
        raise UsageError(
            f"no shipped device has this GPU's compute capability {gpu.compute_capability}.",
            hint="Name a like one with --device.",
        )
    return found


def pytorch_subjects(checkpoint: Checkpoint, on: str) -> list[Subject]:
    """The checkpoint in PyTorch; the first is eager FP32."""
    subjects = []
    for precision, mode in PLACES[on].pytorch:
        how = {None: "PyTorch eager", "default": "torch.compile"}.get(mode, f"torch.compile, {mode}")
        subject = Subject(
            f"{how} {precision.upper()}",
            checkpoint.path,
            "pytorch",
            precision,
            checkpoint.size_mb,
            provider=on,
            compiled=mode,
        )
        subjects.append(subject)
    return subjects


def onnxruntime_subjects(checkpoint: Checkpoint, on: str, folder: Path) -> list[Subject]:
    """The checkpoint as a graph of onnxruntime's fused operators (attention, skipping norms, GELU); none, if
    onnxruntime has no such provider.

    Its own optimizer for BERT finds no attention in graphs that today's exporter of PyTorch traces, so edgelm writes
    them.
    """
    if EXECUTION_PROVIDERS[on] not in onnxruntime.get_available_providers():
        print(
            f"onnxruntime {onnxruntime.__version__} has no {EXECUTION_PROVIDERS[on]} here, its rows are left out: pip "
            "install onnxruntime-gpu\n"
        )
        return []
    graph = export_graph(
        TaskModel(load_checkpoint(checkpoint), load_tokenizer(checkpoint), checkpoint.task, MAX_LENGTH), fused=True
    )
    fuse_attention(graph)
    subjects = []
    for precision in PLACES[on].onnxruntime:
        path = folder / f"onnxruntime-{precision}.onnx"
        onnx.save(graph if precision == "fp32" else to_half(graph, precision), path)
        name = f"onnxruntime {on.upper()} {precision.upper()}"
        subjects.append(Subject(name, path, "onnx", precision, path.stat().st_size / 1e6, provider=on))
    return subjects


def make_bundles(
    checkpoint: Checkpoint, label: str, on: str, device: Device, rows: Dataset, folder: Path
) -> dict[str, Path]:
    """Bundles without engines, by what a row of the table calls them."""
    made = {}
    for precision in PLACES[on].edgelm:
        output = folder / f"{label}-{precision}.edge"
        export(
            checkpoint.path,
            output=output,
            device=device,
            precision=precision,
            calibration=rows,
            max_length=MAX_LENGTH,
            engine=False,
            overwrite=True,
        )
        made[f"edgelm {precision.upper()}, {label}"] = output
    return made


def edgelm_subject(name: str, bundle: Path, on: str, batch: int, package: str | None) -> tuple[Subject, float | None]:
    """A bundle and, on a GPU, the seconds in which an engine for this batch size was built into a copy of it."""
    plan = open_bundle(bundle).manifest.plan
    if on == "cpu" or plan is None:
        return replace(find_subject(bundle), name=name, provider="cpu"), None
    copy = bundle.with_name(f"{bundle.stem}-batch-{batch}.edge")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(bundle, copy)
    profiles = tuple(replace(entry, axes=entry.axes | {"batch": (1, batch, batch)}) for entry in plan.profiles)
    engine = build(copy, package=package, plan=replace(plan, profiles=profiles)).engine
    return replace(find_subject(copy), name=name, provider=engine.package), engine.seconds


def show(profiles: list[Profile], seconds: dict[str, float | None], batch: int, tokens: int) -> None:
    """Print the table of a batch size; the first profile is what the others are compared with. GPU memory is by how
    much its use rose."""
    print(f"\nbatch {batch}, texts of {tokens} tokens\n")
    print(
        "| model | p50 ms | p99 ms | texts/s | vs PyTorch eager FP32 | GPU memory MB | engine, s "
        "|\n|---|---|---|---|---|---|---|"
    )
    eager = profiles[0].cases[0].percentile_ms(50)
    for item in profiles:
        p50, p99 = (item.cases[0].percentile_ms(share) for share in (50, 99))
        memory = ", ".join(f"{entry.rise_mb:.0f}" for entry in item.memory if entry.source == "NVML")
        built = "" if seconds.get(item.name) is None else f"{seconds[item.name]:.1f}"
        print(
            f"| {item.name} | {p50:.3f} | {p99:.3f} | {1000 * batch / item.cases[0].mean_ms:.0f} | {eager / p50:.2f}x "
            f"| {memory} | {built} |"
        )
    print("\nrun by: " + "; ".join(f"{item.name}: {item.runs_on}" for item in profiles), flush=True)


def compare(options: argparse.Namespace, device: Device) -> None:
    """The table of every batch size."""
    teacher, rows = open_checkpoint(make_teacher("sst2", options.teachers)), load_rows("sst2")["dev"]
    options.work.mkdir(parents=True, exist_ok=True)
    lengths = [
        len(ids)
        for ids in load_tokenizer(teacher)(list(rows.inputs()), truncation=True, max_length=MAX_LENGTH)["input_ids"]
    ]
    tokens = round(statistics.median(lengths))
    rivals = [*pytorch_subjects(teacher, options.on), *onnxruntime_subjects(teacher, options.on, options.work)]
    bundles = make_bundles(teacher, "teacher", options.on, device, rows, options.work)
    if options.small is not None:
        bundles |= make_bundles(open_checkpoint(options.small), "compressed", options.on, device, rows, options.work)
    for batch in options.batches:
        made = {name: edgelm_subject(name, path, options.on, batch, options.package) for name, path in bundles.items()}
        first, *others = [subject for subject, _ in made.values()]
        found = profile(
            first,
            compare=[*others, *rivals],
            batch_sizes=(batch,),
            sequence_lengths=(tokens,),
            data=rows,
            threads=CPU_THREADS if options.on == "cpu" else None,
            runs=options.runs,
        )
        show(
            [*found[len(bundles) :], *found[: len(bundles)]],
            {name: seconds for name, (_, seconds) in made.items()},
            batch,
            tokens,
        )


def compare_steps(options: argparse.Namespace) -> None:
    """The seconds of a training step, each place in a process that sees no other."""
    found = {}
    for on in dict.fromkeys((options.on, "cpu")):
        environment = os.environ | (
            {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": str(CPU_THREADS)} if on == "cpu" else {}
        )
        command = [
            sys.executable,
            __file__,
            "--step",
            "--teachers",
            str(options.teachers),
            "--steps",
            str(options.steps),
        ]
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


def main() -> None:
    """Print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--on", choices=list(PLACES), default="cuda")
    parser.add_argument("--small", type=Path, help="a checkpoint that was compressed")
    parser.add_argument(
        "--device", help="that bundles are made for. Default: a shipped one with the GPU's compute capability."
    )
    parser.add_argument(
        "--package", help="tensorrt or tensorrt-rtx. Default: the first that the device prefers and is installed."
    )
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--compress", action="store_true", help="time a training step instead")
    parser.add_argument("--steps", type=int, default=60, help="of that training")
    parser.add_argument(
        "--step",
        action="store_true",
        help="print the seconds of a step where this process trains, as --compress asks each place",
    )
    parser.add_argument(
        "--teachers", type=Path, default=Path("build/teachers"), help="where teachers.py keeps its models"
    )
    parser.add_argument("--work", type=Path, default=Path("build/gpu"))
    options = parser.parse_args()
    if options.step:
        print(json.dumps(time_step(make_teacher("sst2", options.teachers), options.steps)))
        return
    device = find_device(options.on, options.device)
    here = (
        describe_machine().cpu if options.on == "cpu" else f"{torch.cuda.get_device_name()}; {describe_machine().cpu}"
    )
    print(f"measured on {options.on}: {here}; PyTorch {torch.__version__}, onnxruntime {onnxruntime.__version__}\n")
    if options.compress:
        compare_steps(options)
    else:
        compare(options, device)


if __name__ == "__main__":
    run(main)
