"""Models that write on a GPU, by transformers, onnxruntime's CUDA provider and edgelm's engines side by side: `python
benchmarks/gpu_generators.py [MODEL ...] [--random llama-135m t5-37m] [--package tensorrt-rtx] [--compile]`

Each MODEL is a folder of a decoder or an encoder-decoder; `--random` makes some with random weights
(`random_generators.py`). Each is exported for the GPU's device in every precision of --precisions; engines are built
into copies of these bundles where a package of TensorRT is installed. Subjects: transformers in FP32 and FP16, eager,
with --compile also with a static cache and `torch.compile`; every bundle by onnxruntime's CUDA provider; every engine.
Each is a process of its own, all are measured in turn, round after round, and what fails is a row that says why.

A decoder's row: the first token behind prompts, tokens a second of one text behind so many tokens (the time of --tokens
tokens without that of the first), by how much the GPU's memory in use rose from before the subject was loaded (NVML,
the whole GPU), and the share of the tokens that greedy writing has in common, place by place, with transformers in
FP32. An encoder-decoder's: the first token, and a whole text of --tokens tokens, greedy and by 4 beams. Medians.
`--on cpu` takes all of it without a GPU, with the same bundles by onnxruntime on the CPU and transformers in FP32; the
memory is the process's own then.
"""

from __future__ import annotations

import edgelm  # noqa: F401  # isort: skip  # before onnxruntime: it turns its telemetry off

import argparse
import contextlib
import json
import os
import select
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from ending import run
from gpu_device import as_cell, find_device, told
from random_generators import SHAPES, make_random
from transformers import AutoConfig, AutoTokenizer

from edgelm.errors import EdgelmError
from edgelm.files.shipped import shipped_folder
from edgelm.hardware.machine import describe_machine
from edgelm.hardware.memory_gauges import find_gauges
from edgelm.runtime.tensorrt import installed_backends

HERE = Path(__file__).parent
TRANSFORMERS = {"cuda": ("fp32", "fp16"), "cpu": ("fp32",)}
BEAMS = 4
LOAD_S, CALL_S = 90.0, 60.0  # after which a subject is given up


@dataclass(frozen=True)
class Case:
    """A text to write: so many tokens behind so many, with so many beams."""

    before: int
    new: int
    beams: int = 1


@dataclass
class Subject:
    """A process that writes with one model.

    Attributes:
        failure: why it writes no longer; empty: it does.
    """

    name: str
    command: tuple[str, str, str, str]
    failure: str = ""
    runs_on: str = ""
    memory_mb: float = 0.0
    peak_mb: float = 0.0
    ms: dict[Case, list[float]] = field(default_factory=lambda: defaultdict(list))
    failed: dict[Case, str] = field(default_factory=dict)
    texts: list[list[int]] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin its process, which imports what it needs."""
        if not self.failure:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "gpu_writers.py"), *self.command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sys.stderr,
                bufsize=0,
            )

    def ask(self, timeout: float, **what: Any) -> dict[str, Any]:
        """Its answer; an error where it ended, or does not answer in time."""
        assert self.process is not None and self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(what).encode() + b"\n")
        said, end = b"", time.monotonic() + timeout
        while not said.endswith(b"\n"):
            if not select.select([self.process.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
                self.process.kill()
                return {"error": f"no answer to {what['do']} in {timeout:.0f} s"}
            part = os.read(self.process.stdout.fileno(), 1 << 16)
            if not part:
                return {"error": f"its process ended with {self.process.wait()}"}
            said += part
        found: dict[str, Any] = json.loads(said)
        return found

    def load(self) -> None:
        """Have it load its model."""
        said = self.ask(LOAD_S, do="load")
        self.failure, self.runs_on = said.get("error", ""), said.get("runs_on", "")

    def write(self, case: Case, ids: Sequence[int], *, count: int = 1, timeout: float = CALL_S) -> dict[str, Any]:
        """Have it write one text; a case that fails is not asked for again."""
        said = self.ask(timeout, do="write", ids=list(ids), new=case.new, beams=case.beams, count=count)
        if "error" in said:
            self.failed[case] = said["error"]
            assert self.process is not None
            if self.process.poll() is not None:
                self.failure = said["error"]
        self.peak_mb = said.get("peak_mb", self.peak_mb)
        return said

    def close(self) -> None:
        """End its process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def figure(self, case: Case) -> float | None:
        """The median of a case, in milliseconds."""
        return statistics.median(self.ms[case]) if self.ms[case] else None


def edgelm_command(*words: str) -> str:
    """Run a command of edgelm; what it says where it fails, else nothing."""
    done = subprocess.run([sys.executable, "-m", "edgelm", *words, "--quiet"], capture_output=True, text=True)
    if done.returncode == 0:
        return ""
    return done.stderr.strip() or f"edgelm {words[0]} ended with {done.returncode}"


def make_bundle(model: Path, precision: str, options: argparse.Namespace) -> list[Subject]:
    """What writes with one bundle: onnxruntime, and the engines of a copy."""
    path, started = options.work / f"{model.name}-{precision}.edge", time.monotonic()
    said = edgelm_command(
        "export",
        str(model),
        *("--device", options.bundles_for, "--precision", precision, "--max-length", str(options.longest)),
        *("--output", str(path), "--no-engine", "--overwrite"),
    )
    print(f"# {path.name}: exported in {time.monotonic() - started:.1f} s {as_cell(said)}", flush=True)
    by = "CUDA" if options.on == "cuda" else "CPU"
    made = [Subject(f"onnxruntime {by} {precision.upper()}", ("edgelm", str(path), options.on, ""), failure=said)]
    package = options.package if options.on == "cuda" else None
    if package:
        copy, started = path.with_name(f"{path.stem}-{package}.edge"), time.monotonic()
        if not said:
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(path, copy)
            said = edgelm_command("build", str(copy), "--package", package)
            print(f"# {copy.name}: built in {time.monotonic() - started:.1f} s {as_cell(said)}", flush=True)
        made.append(Subject(f"edgelm {package} {precision.upper()}", ("edgelm", str(copy), package, ""), failure=said))
    return made


def make_subjects(model: Path, options: argparse.Namespace) -> list[Subject]:
    """All that is compared; the first is transformers in FP32."""
    settings = [(precision, "") for precision in TRANSFORMERS[options.on]]
    if options.compile:
        settings.append((settings[-1][0], "+compile"))
    subjects = [
        Subject(
            f"transformers {precision.upper()}{', static cache, compiled' if how else ''}",
            ("transformers", str(model), options.on, precision + how),
        )
        for precision, how in settings
    ]
    with ThreadPoolExecutor(max(1, min(len(options.precisions), (os.cpu_count() or 1) // 4))) as pool:
        for made in pool.map(lambda precision: make_bundle(model, precision, options), options.precisions):
            subjects += made
    return subjects


def used_mb() -> float:
    """Memory of the first GPU that is in use."""
    return next((gauge.read() for gauge in find_gauges() if gauge.source == "NVML"), 0.0)


def cases_of(options: argparse.Namespace, *, encoder: bool) -> list[Case]:
    """What is timed."""
    first = [Case(prompt, 1) for prompt in options.prompts]
    if encoder:
        return [*first, *(Case(options.prompts[0], options.tokens, beams) for beams in (1, BEAMS))]
    steps = [Case(context, new) for context in options.contexts for new in (1, 1 + options.tokens)]
    return list(dict.fromkeys([*first, *steps]))


def cells(subject: Subject, base: Subject, options: argparse.Namespace, *, encoder: bool) -> list[str]:
    """A row of the table without the name."""

    def milliseconds(case: Case) -> str:
        found = subject.figure(case)
        return as_cell(subject.failed.get(case, "-")) if found is None else f"{found:.1f}"

    def rate(context: int) -> str:
        first, more = subject.figure(Case(context, 1)), subject.figure(Case(context, 1 + options.tokens))
        if first is None or more is None:
            return as_cell(next((said for case, said in subject.failed.items() if case.before == context), "-"))
        return f"{1000 * options.tokens / (more - first):.0f}" if more > first else "-"

    row = [milliseconds(Case(prompt, 1)) for prompt in options.prompts]
    if encoder:
        row += [milliseconds(Case(options.prompts[0], options.tokens, beams)) for beams in (1, BEAMS)]
    else:
        row += [rate(context) for context in options.contexts]
    row.append(f"{subject.memory_mb if options.on == 'cuda' else subject.peak_mb:.0f}")
    same = [
        a == b
        for mine, theirs in zip(subject.texts, base.texts, strict=False)
        for a, b in zip(mine, theirs, strict=False)
    ]
    row.append(f"{statistics.mean(same):.1%}" if same else "-")
    return row


def compare(model: Path, texts: list[str], options: argparse.Namespace) -> None:
    """Measure a model and print its table."""
    encoder = bool(AutoConfig.from_pretrained(model).is_encoder_decoder)
    tokenizer = AutoTokenizer.from_pretrained(model)
    stream = tokenizer("\n".join(texts[: options.longest]), add_special_tokens=False, verbose=False)["input_ids"]
    prompts = [tokenizer(text)["input_ids"] for text in texts[: options.texts]]
    cases, subjects = cases_of(options, encoder=encoder), make_subjects(model, options)
    try:
        for subject in subjects:
            subject.start()
        for subject in subjects:
            warm_up(subject, cases, stream)
        for _ in range(options.rounds):
            if time.monotonic() > options.end:
                print("# out of time: fewer rounds", flush=True)
                break
            for case in cases:
                for subject in subjects:
                    if not subject.failure and case not in subject.failed:
                        subject.ms[case] += subject.write(case, stream[: case.before]).get("ms", [])
        for subject in subjects:
            for prompt in prompts:
                if not subject.failure:
                    subject.texts.append(subject.write(Case(len(prompt), options.tokens), prompt).get("tokens", []))
    finally:
        for subject in subjects:
            subject.close()
    columns = [f"first token behind {prompt}, ms" for prompt in options.prompts]
    if encoder:
        columns += [f"{options.tokens} tokens, ms", f"with {BEAMS} beams, ms"]
    else:
        columns += [f"tokens/s after {context:,}" for context in options.contexts]
    columns += [f"{'GPU' if options.on == 'cuda' else 'process'} MB", "tokens as transformers FP32"]
    print(f"\n{model.name}\n\n| {' | '.join(['subject', *columns])} |\n|{'---|' * (len(columns) + 1)}")
    for subject in subjects:
        row = [as_cell(subject.failure)] if subject.failure else []
        if not subject.failure or any(subject.ms.values()):
            row = cells(subject, subjects[0], options, encoder=encoder) + row
        print(f"| {' | '.join([subject.name, *row])} |")
    print(
        "\nrun by: " + "; ".join(f"{one.name}: {as_cell(one.runs_on)}" for one in subjects if one.runs_on), flush=True
    )


def warm_up(subject: Subject, cases: Sequence[Case], stream: Sequence[int]) -> None:
    """Load a subject and write every case once, and note what memory that took."""
    if subject.failure:
        return
    before = used_mb()
    subject.load()
    for case in cases:
        if not subject.failure:
            subject.write(case, stream[: case.before], timeout=LOAD_S)
    subject.memory_mb = used_mb() - before


def main() -> None:
    """Print a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="*")
    parser.add_argument("--random", choices=SHAPES, nargs="+", default=[], help="also models with random weights")
    parser.add_argument("--on", choices=list(TRANSFORMERS), default="cuda")
    parser.add_argument("--device", help="as of gpu.py; with --on cpu: h100")
    parser.add_argument("--package", help="tensorrt or tensorrt-rtx. Default: the first that is installed.")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "fp16", "int8"])
    parser.add_argument("--compile", action="store_true", help="transformers also with a static cache, compiled")
    parser.add_argument("--prompts", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--contexts", type=int, nargs="+", default=[16, 256, 1024])
    parser.add_argument("--tokens", type=int, default=32, help="that are written in each text")
    parser.add_argument("--texts", type=int, default=8, help="prompts whose greedy tokens are compared")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=600, help="after which no further round begins")
    parser.add_argument("--work", type=Path, default=Path("build/gpu-generators"))
    options = parser.parse_args()
    options.end = time.monotonic() + options.seconds
    options.bundles_for = find_device(options.on, options.device or ("h100" if options.on == "cpu" else None)).name
    options.package = options.package or next(iter(installed_backends()), None)
    options.longest = max(*options.prompts, *options.contexts) + options.tokens + 1
    options.work.mkdir(parents=True, exist_ok=True)
    lines = (shipped_folder("calibration_data") / "english.jsonl").read_text().splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    here = describe_machine().cpu
    where = f"{torch.cuda.get_device_name()}; {here}" if options.on == "cuda" else here
    print(f"# {where}; PyTorch {torch.__version__}, onnxruntime {onnxruntime.__version__}", flush=True)
    models = [*options.models, *(make_random(shape, texts, options.work / shape) for shape in options.random)]
    for model in models:
        try:
            compare(model, texts, options)
        except (EdgelmError, OSError, ValueError) as error:
            print(f"| {model.name} | {told(error)} |", flush=True)


if __name__ == "__main__":
    run(main)
