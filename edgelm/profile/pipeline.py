"""Profile: one bundle, or several subjects side by side, on this machine or another place."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgelm.data.dataset import Dataset
from edgelm.files.places import told_place
from edgelm.hardware.busy import LOOK_S, judge, own_seconds
from edgelm.profile.doubts import find_warnings, with_ratios
from edgelm.profile.generation.case import GenerationCase
from edgelm.profile.host import HERE, Host
from edgelm.profile.inputs import Feeds
from edgelm.profile.interleave import WorkerClient, take_turns
from edgelm.profile.plan import ProfilePlan, plan_profile
from edgelm.profile.resource_use import measure_use
from edgelm.profile.result import AnyCase, Profile
from edgelm.profile.subject import Subject
from edgelm.progress import Progress, during, silent

_OPERATOR_RUNS = 50


def profile(
    subject: str | Path | Subject,
    *,
    compare: Sequence[str | Path | Subject] = (),
    batch_sizes: Sequence[int] = (1,),
    sequence_lengths: Sequence[int] = (),
    prompt_lengths: Sequence[int] = (),
    contexts: Sequence[int] = (),
    data: Dataset | None = None,
    threads: int | None = None,
    warmup: int | None = None,
    runs: int | None = None,
    loads: int = 3,
    device: str | None = None,
    provider: str | None = None,
    place: Host = HERE,
    progress: Progress = silent,
) -> list[Profile]:
    """Measure a bundle or a checkpoint, and others beside it: the same texts, the same threads, interleaved in one run.

    Each subject lives in a process of its own and they take turns in small blocks with a rest between (see
    `take_turns`), so that no thread pool that is still spinning takes a core from the next subject, and a busy minute
    of the machine falls on all alike.

    Args:
        subject: a bundle, whose tokenizer makes the inputs of ONNX files, and of checkpoints that have no
            tokenizer.json; or a checkpoint, by folder or hub id.
        compare: bundles (with their own tokenizers), plain .onnx files, checkpoint folders (PyTorch eager on the CPU);
            a `Subject` says how one is to be run, such as compiled or on a GPU.
        batch_sizes: texts in one call.
        sequence_lengths: tokens of each text, real tokens repeated or cut; empty: texts of their own lengths, unpadded
            at batch 1, or 32 and 128 tokens where there are no texts.
        prompt_lengths: of a model that writes: tokens of prompts, whose first token is timed; empty: 16, 128 and 512,
            as far as it reads.
        contexts: of a model that writes: tokens behind which one more is timed; empty: 16, 256 and 1,024, likewise.
        data: where the texts are from; None: the golden samples of the first bundle, made-up tokens where checkpoints
            stand alone.
        threads: of every subject; None: as the bundle says, else one a core.
        warmup: calls of each subject, in each case, that are not counted; None: 20, of models that write fewer.
        runs: counted calls of each subject in each case; None: 300, of models that write 100 tokens and 20 prompts.
        loads: fresh processes in which loading and memory are measured.
        device: a name to note; the figures are of the machine that this ran on.
        provider: that must run every bundle, and a checkpoint that is the subject, but for a `Subject`; None: each what
            its device prefers and is there.
        place: where the subjects run; `edgelm.profile.remote` has others than this machine.

    Returns:
        one Profile a subject, in the order given.

    Raises:
        InputError: a subject that is missing, broken or takes other inputs, or texts of another kind than it reads.
        UsageError: settings that make no sense, or lengths beyond what a subject takes. Both before anything is
            measured.
    """
    plan = plan_profile(
        subject,
        compare=compare,
        batch_sizes=batch_sizes,
        sequence_lengths=sequence_lengths,
        prompt_lengths=prompt_lengths,
        contexts=contexts,
        data=data,
        threads=threads,
        warmup=warmup,
        runs=runs,
        loads=loads,
        device=device,
        provider=provider,
    )
    return measure(plan, place, progress)


def measure(plan: ProfilePlan, place: Host = HERE, progress: Progress = silent) -> list[Profile]:
    """Make a profile that was planned: one Profile a subject.

    Raises:
        EdgelmError: what a subject or the place meets.
    """
    subjects, feeds, texts = plan.subjects, plan.feeds, list(plan.texts)
    threads = plan.threads or place.cores()
    cases: list[list[AnyCase]] = [[] for _ in subjects]
    settings = plan.calls | {"threads": threads, "loads": plan.loads, "texts": plan.source}
    common: dict[str, Any] = {
        "settings": settings,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "device": plan.device,
        "host": place.host,
    }
    mhz: list[float] = []
    with ExitStack() as stack:
        workers = []
        for number, entry in enumerate(subjects):
            progress("starting", number, len(subjects))
            workers.append(_open(stack, entry, threads, place))
        progress("starting", len(subjects), len(subjects))
        clocks = [_read_clocks(workers, place)]
        time.sleep(LOOK_S)  # nobody runs: what is used now is others'
        clocks.append(_read_clocks(workers, place))
        for number, point in enumerate(plan.grid):
            made = [entry[number] for entry in feeds]
            facts = [worker.ask("prepare", feeds=calls) for worker, calls in zip(workers, made, strict=True)]
            pace = point.pace
            turns = take_turns(
                workers,
                pace.warmup,
                pace.runs,
                point.label,
                progress,
                block=pace.block,
                settle=pace.settle,
                mhz=mhz,
            )
            for found, samples, calls, said in zip(cases, turns, made, facts, strict=True):
                found.append(point.case(samples, len(calls), said))
        clocks.append(_read_clocks(workers, place))
        tokenization = [_tokenization(worker, texts) for worker in workers]
        chosen = [worker.chosen for worker in workers]
        with during(progress, "operators"):
            operators = [tuple(worker.ask("operators", runs=_OPERATOR_RUNS)["operators"]) for worker in workers]
    busy = judge(
        [counters for counters, _ in clocks],
        [after[1] - before[1] for before, after in itertools.pairwise(clocks)],
        mhz,
    )
    common["machine"] = place.describe() | {"busy": busy.to_dict()}
    call_ms = [found[0].percentile_ms(50) for found in cases]
    use = measure_use(place, subjects, threads, [made[0] for made in feeds], call_ms, progress)
    profiles = []
    for index, entry in enumerate(subjects):
        progress("loading and memory", index, len(subjects))
        load_ms, peaks = _fresh(entry, threads, plan.loads, [feeds[index][number][:1] for number in plan.grown], place)
        for number, peak_mb in zip(plan.grown, peaks, strict=True):
            cases[index][number] = _with_peak(cases[index][number], peak_mb)
        what: dict[str, Any] = {
            "name": entry.name,
            "path": told_place(entry.path),
            "kind": entry.kind,
            "precision": entry.precision,
            "size_mb": entry.size_mb,
            "manifest": entry.manifest,
        }
        cost = {"load_ms": load_ms, "peak_memory_mb": peaks[0]}
        measured: dict[str, Any] = cost | {"tokenization_ms": tokenization[index], "operators": operators[index]}
        measured |= chosen[index] | {
            "power": use[index].power,
            "memory": use[index].memory,
            "warnings": find_warnings(busy, cases[index]),
        }
        profiles.append(Profile(**what, cases=tuple(cases[index]), **measured, **common))
    progress("loading and memory", len(subjects), len(subjects))
    return with_ratios(profiles)


def _open(stack: ExitStack, entry: Subject, threads: int, place: Host) -> WorkerClient:
    worker = WorkerClient(entry, threads=threads, place=place)
    stack.callback(worker.close)
    return worker


def _read_clocks(workers: list[WorkerClient], place: Host) -> tuple[dict[str, Any], float]:
    """What the machine of the workers has counted so far, and the CPU seconds in it that are ours."""
    answers = [worker.ask("clocks") for worker in workers]
    here = own_seconds() if place.host is None else 0.0
    return answers[0]["counters"], here + sum(answer["own_s"] for answer in answers)


def _tokenization(worker: WorkerClient, texts: list[Any]) -> float | None:
    if not texts or worker.subject.kind != "bundle":
        return None
    return statistics.median(worker.ask("tokenize", texts=texts, repeat=max(100, len(texts)))["samples_ms"])


def _with_peak(case: AnyCase, peak_mb: float) -> AnyCase:
    return replace(case, peak_memory_mb=peak_mb) if isinstance(case, GenerationCase) else case


def _fresh(
    entry: Subject, threads: int, loads: int, cases: Sequence[list[Feeds]], place: Host
) -> tuple[float, list[float]]:
    """Load time (ms), and peak memory (10^6 bytes) once each of the cases was run, one after the other: medians over
    processes that load, run them and end."""
    load_ms: list[float] = []
    peaks: list[list[float]] = []
    for _ in range(loads):
        worker = WorkerClient(entry, threads=threads, place=place)
        try:
            load_ms.append(worker.load_ms)
            peaks.append([])
            for feeds in cases:
                worker.ask("prepare", feeds=feeds)
                peaks[-1].append(float(worker.ask("memory")["peak_mb"]))
        finally:
            worker.close()
    return statistics.median(load_ms), [statistics.median(column) for column in zip(*peaks, strict=True)]
