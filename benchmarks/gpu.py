"""PyTorch, onnxruntime and edgelm's engines side by side on a GPU: `EDGELM_DATA=FOLDER python benchmarks/gpu.py
[--small CHECKPOINT]`

Of the SST-2 teacher of `teachers.py`: PyTorch eager in FP32 and FP16; `torch.compile` in FP16, as it comes and with
CUDA graphs; onnxruntime's CUDA provider in FP32 and FP16 on its own fused operators, where onnxruntime-gpu is
installed; and edgelm's bundles in FP16 and INT8 by that provider and by engines, these also of a checkpoint that was
compressed, if one is named. An engine is built for each batch size. What fails is a row that says why. Texts have the
median length of dev and no padding; all subjects of a batch size take turns in one run of `edgelm profile`, each in a
process of its own; a call is arrays in, array out, with the copies to the GPU and back. `--random` takes a classifier
of the teacher's shape with random weights, which needs no data.

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
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import onnxruntime
import torch
from ending import run
from gpu_device import find_device, told
from gpu_steps import CPU_THREADS, compare_steps
from random_encoders import make_classifier
from teachers import load_rows, make_teacher

from edgelm import export, profile
from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer
from edgelm.checkpoint import Checkpoint, open_checkpoint
from edgelm.data.dataset import Dataset
from edgelm.device import Device
from edgelm.engines import build
from edgelm.errors import InputError, UsageError
from edgelm.export.trace import export_graph
from edgelm.files.shipped import shipped_folder
from edgelm.graph.fusion import fuse_attention
from edgelm.hardware.machine import describe_machine
from edgelm.profile.interleave import WorkerClient
from edgelm.profile.plan import plan_profile
from edgelm.profile.result import Profile
from edgelm.profile.subject import Subject, find_subject
from edgelm.quantize.half import to_half
from edgelm.runtime import open_bundle
from edgelm.runtime.provider import EXECUTION_PROVIDERS

MAX_LENGTH = 128
EAGER = "PyTorch eager FP32"
RANDOM_TEXTS = 128  # for a model with random weights


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
    checkpoint: Checkpoint, label: str, on: str, device: Device, rows: Dataset, folder: Path, failures: dict[str, str]
) -> dict[str, Path]:
    """Bundles without engines, by what a row of the table calls them; why there is none goes into `failures`."""
    made = {}
    for precision in PLACES[on].edgelm:
        name, output = f"edgelm {precision.upper()}, {label}", folder / f"{label}-{precision}.edge"
        began = time.monotonic()
        try:
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
        except Exception as error:  # a row of the table, and no end of it
            failures[name] = told(error)
        else:
            made[name] = output
        print(f"# {output.name}: {time.monotonic() - began:.1f} s", flush=True)
    return made


def with_engine(bundle: Path, name: str, batch: int, package: str | None) -> tuple[Subject, float]:
    """A copy of a bundle with an engine for this batch size, and the seconds in which it was built.

    Raises:
        EdgelmError: there is none.
    """
    plan = open_bundle(bundle).manifest.plan
    if plan is None:
        raise UsageError("the bundle has no plan of an engine.", hint="Name a device with a GPU.")
    copy = bundle.with_name(f"{bundle.stem}-batch-{batch}.edge")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(bundle, copy)
    profiles = tuple(replace(entry, axes=entry.axes | {"batch": (1, batch, batch)}) for entry in plan.profiles)
    engine = build(copy, package=package, plan=replace(plan, profiles=profiles)).engine
    return replace(find_subject(copy), name=name, provider=engine.package), engine.seconds


def bundle_subjects(
    bundles: dict[str, Path], on: str, batch: int, package: str | None, failures: dict[str, str]
) -> tuple[list[Subject], dict[str, float]]:
    """Every bundle by onnxruntime and, on a GPU, by an engine that was built for this batch size; and the seconds of
    those builds. What cannot be built goes into `failures`."""
    subjects, seconds = [], {}
    for name, path in bundles.items():
        by = "" if on == "cpu" else ", by onnxruntime CUDA"
        subjects.append(replace(find_subject(path), name=name + by, provider=on))
        if on == "cpu":
            continue
        try:
            subject, seconds[name] = with_engine(path, name, batch, package)
        except Exception as error:  # a row of the table, and no end of it
            failures[name] = told(error)
        else:
            subjects.append(subject)
    return subjects, seconds


def that_answer(
    subjects: list[Subject], batch: int, tokens: int, rows: Dataset, threads: int | None, failures: dict[str, str]
) -> list[Subject]:
    """Those that load and answer once, each in a process of its own, all at the same time; why others do not goes into
    `failures`: a profile ends with the first of its subjects that fails."""
    first = next(subject for subject in subjects if subject.kind == "bundle")

    def attempt(subject: Subject) -> str:
        try:
            plan = plan_profile(first, compare=[subject], batch_sizes=(batch,), sequence_lengths=(tokens,), data=rows)
            worker = WorkerClient(subject, threads=threads or plan.threads)
            try:
                worker.ask("prepare", feeds=plan.feeds[1][0])
                worker.ask("block", count=1, skip=0)
            finally:
                worker.close()
        except Exception as error:  # a row of the table, and no end of it
            return told(error)
        return ""

    with ThreadPoolExecutor(max(1, (os.cpu_count() or 2) // 2)) as pool:
        said = list(pool.map(attempt, subjects))
    print(f"# {len(said) - sum(map(bool, said))} of {len(said)} subjects answer", flush=True)
    failures.update({subject.name: why for subject, why in zip(subjects, said, strict=True) if why})
    return [subject for subject, why in zip(subjects, said, strict=True) if not why]


def show(profiles: list[Profile], seconds: dict[str, float], failures: dict[str, str], batch: int, tokens: int) -> None:
    """Print the table of a batch size; PyTorch eager FP32 is what the others are compared with. GPU memory is by how
    much its use rose."""
    print(f"\nbatch {batch}, texts of {tokens} tokens\n")
    print(
        "| model | p50 ms | p99 ms | texts/s | vs PyTorch eager FP32 | GPU memory MB | engine, s "
        "|\n|---|---|---|---|---|---|---|"
    )
    eager = next((item.cases[0].percentile_ms(50) for item in profiles if item.name == EAGER), None)
    for item in profiles:
        p50, p99 = (item.cases[0].percentile_ms(share) for share in (50, 99))
        memory = ", ".join(f"{entry.rise_mb:.0f}" for entry in item.memory if entry.source == "NVML")
        built = f"{seconds[item.name]:.1f}" if item.name in seconds else ""
        against = f"{eager / p50:.2f}x" if eager else "-"
        print(
            f"| {item.name} | {p50:.3f} | {p99:.3f} | {1000 * batch / item.cases[0].mean_ms:.0f} | {against} "
            f"| {memory} | {built} |"
        )
    for name, why in failures.items():
        print(f"| {name} | {why} | | | | | |")
    print("\nrun by: " + "; ".join(f"{item.name}: {item.runs_on}" for item in profiles), flush=True)


def find_teacher(options: argparse.Namespace) -> tuple[Checkpoint, Dataset]:
    """What is measured, and texts for it: the teacher of SST-2, or with --random one of its shape."""
    if not options.random:
        return open_checkpoint(make_teacher("sst2", options.teachers)), load_rows("sst2")["dev"]
    lines = (shipped_folder("calibration_data") / "english.jsonl").read_text().splitlines()
    texts = [json.loads(line)["text"] for line in lines[:RANDOM_TEXTS]]
    return open_checkpoint(make_classifier(texts, options.work / "random")), Dataset("shipped texts", texts=texts)


def compare(options: argparse.Namespace, device: Device) -> None:
    """The table of every batch size; what fails is a row that says why."""
    options.work.mkdir(parents=True, exist_ok=True)
    teacher, rows = find_teacher(options)
    lengths = [
        len(ids)
        for ids in load_tokenizer(teacher)(list(rows.inputs()), truncation=True, max_length=MAX_LENGTH)["input_ids"]
    ]
    tokens = round(statistics.median(lengths))
    missing: dict[str, str] = {}  # at every batch size
    rivals = pytorch_subjects(teacher, options.on)
    try:
        rivals += onnxruntime_subjects(teacher, options.on, options.work)
    except Exception as error:  # a row of the table, and no end of it
        missing[f"onnxruntime {options.on.upper()}"] = told(error)
    bundles = make_bundles(teacher, "teacher", options.on, device, rows, options.work, missing)
    if options.small is not None:
        small = open_checkpoint(options.small)
        bundles |= make_bundles(small, "compressed", options.on, device, rows, options.work, missing)
    if not bundles:
        raise InputError(f"no bundle could be made: {missing}", hint="Look at the first error.")
    threads = CPU_THREADS if options.on == "cpu" else None
    for batch in options.batches:
        failures = dict(missing)
        subjects, seconds = bundle_subjects(bundles, options.on, batch, options.package, failures)
        sound = that_answer([*rivals, *subjects], batch, tokens, rows, threads, failures)
        first = next((subject for subject in sound if subject.kind == "bundle"), None)
        found = []
        if first is not None:
            found = profile(
                first,
                compare=[subject for subject in sound if subject is not first],
                batch_sizes=(batch,),
                sequence_lengths=(tokens,),
                data=rows,
                threads=threads,
                runs=options.runs,
                loads=1,
            )
        order = [subject.name for subject in sound]
        show(sorted(found, key=lambda item: order.index(item.name)), seconds, failures, batch, tokens)


def main() -> None:
    """Print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--on", choices=list(PLACES), default="cuda")
    parser.add_argument("--random", action="store_true", help="instead of the teacher, one of its shape, not trained")
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
        "--teachers", type=Path, default=Path("build/teachers"), help="where teachers.py keeps its models"
    )
    parser.add_argument("--work", type=Path, default=Path("build/gpu"))
    options = parser.parse_args()
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
