"""Token classification and question answering: `EDGELM_DATA=FOLDER python benchmarks/tasks.py [--set all] [--work
build/tasks] [--recipe balanced] [--override KEY=VALUE] [--limit N] [--steps N] [--stages train export judge time]`.

Reads NAME/train.jsonl, dev.jsonl and test.jsonl of `snips` (its slots), `wikiann_en` and `squad`. A teacher is
fine-tuned from the demo's MiniLM-L6 and compressed; teacher and student are exported. Training sees train and keeps
what did best on dev, `--judge dev` is for choices, and figures are of test. Beside edgelm's bundles stand PyTorch eager
FP32, the teacher's plain graph in onnxruntime, and onnxruntime's `quantize_dynamic` of that graph, which is what
Optimum calls.

Latency: batch 1, unpadded (for squad windows of 384 tokens, stride 128), every subject in a process of its own, in one
interleaved run. What lies in the work folder from an earlier run is used again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
from machine import print_machine
from onnxruntime.quantization import QuantType, quantize_dynamic

from edgelm import compress, export, finetune, load_device, load_recipe, profile
from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer
from edgelm.checkpoint import open_checkpoint
from edgelm.compress.evaluate import evaluate
from edgelm.data.dataset import Dataset, load_dataset
from edgelm.demo import find_encoder
from edgelm.export.samples import encode, graph_rows
from edgelm.export.trace import export_graph
from edgelm.graph.fusion import split_norms
from edgelm.graph.session import make_plain_session
from edgelm.metrics.judge import Predictions, judge
from edgelm.profile.interval import measure_ratio
from edgelm.profile.result import Profile
from edgelm.progress import Progress
from edgelm.training_settings import TrainSettings

STAGES = ("train", "export", "judge", "time")


@dataclass(frozen=True)
class Setup:
    """A set: how its rows are read, and how its teacher is trained.

    Attributes:
        kind: the task.
        schema: which columns its rows have.
        teacher: settings of its training, usual ones that were not tuned.
    """

    kind: str
    schema: str
    teacher: TrainSettings


def _settings(**values: Any) -> TrainSettings:
    return TrainSettings(precision="bf16", evaluations=1, **values)


SETS = {
    "snips": Setup(
        "token-classification", "words", _settings(epochs=3, learning_rate=5e-4, batch_size=64, max_length=64)
    ),
    "wikiann_en": Setup(
        "token-classification", "words", _settings(epochs=2, learning_rate=3e-4, batch_size=64, max_length=128)
    ),
    "squad": Setup(
        "question-answering", "answers", _settings(epochs=2, learning_rate=2e-4, batch_size=16, max_length=384)
    ),
}


def load_rows(name: str, limit: int | None) -> dict[str, Dataset]:
    """Train, dev and test, each cut to `limit` rows drawn by seed 0."""
    folder = Path(os.environ["EDGELM_DATA"]) / name
    read = {part: load_dataset(folder / f"{part}.jsonl", schema=SETS[name].schema) for part in ("train", "dev", "test")}
    return read if limit is None else {part: rows.sample(limit, seed=0) for part, rows in read.items()}


@dataclass(frozen=True)
class Run:
    """One set in its work folder.

    Attributes:
        student: the name of the compressed checkpoint.
        steps: after which each training ends; None: as set and recipe say.
    """

    name: str
    folder: Path
    rows: dict[str, Dataset]
    recipe: str
    overrides: tuple[str, ...]
    student: str
    steps: int | None

    @property
    def setup(self) -> Setup:
        """How the set is read and trained."""
        return SETS[self.name]

    @property
    def bundles(self) -> dict[str, Path]:
        """edgelm's bundles by name: student and teacher, each in two precisions."""
        names = (f"{model}-{precision}" for model in (self.student, "teacher") for precision in ("int8", "fp32"))
        return {name: self.folder / f"{name}.edge" for name in names}

    @property
    def graphs(self) -> dict[str, Path]:
        """The teacher's graphs in onnxruntime alone."""
        return {name: self.folder / f"{name}.onnx" for name in ("ort-fp32", "ort-dynamic")}


def _say_steps() -> Progress:
    """A line on stderr for every tenth of a piece of work, with the seconds so far."""
    start, said = time.monotonic(), set[tuple[str, int]]()

    def say(description: str, done: int, total: int) -> None:
        tenth = (description, 10 * done // max(total, 1))
        if tenth not in said:
            said.add(tenth)
            print(f"{time.monotonic() - start:.0f} s: {description}, {done} of {total}", file=sys.stderr, flush=True)

    return say


def train(run: Run) -> None:
    """The teacher and the compressed checkpoint, where they are missing."""
    teacher, student, setup = run.folder / "teacher", run.folder / run.student, run.setup
    common: dict[str, Any] = {"dataset": run.rows["train"], "evaluation": run.rows["dev"]}
    for path in (teacher, student):
        if path.is_dir():
            continue
        start = time.monotonic()
        if path is teacher:
            settings = setup.teacher.model_copy(update={"max_steps": run.steps})
            made = finetune(
                find_encoder(), output=path, kind=setup.kind, settings=settings, progress=_say_steps(), **common
            )
            found = made.metrics
        else:
            length = f"max_length={setup.teacher.max_length}"
            changes = [] if run.steps is None else [f"recover.train.max_steps={run.steps}"]
            changes += [f"prune.{length}", f"recover.train.{length}", "recover.train.precision=bf16"]
            recipe = load_recipe(run.recipe, overrides=[*changes, *run.overrides])
            found = (
                compress(
                    teacher,
                    recipe=recipe,
                    output=path,
                    max_length=setup.teacher.max_length,
                    progress=_say_steps(),
                    **common,
                )
                .record.stages[-1]
                .after
            )
        said = ", ".join(f"{name} {value:.4f}" for name, value in found.items())
        print(f"{run.name}, {path.name}: {time.monotonic() - start:.0f} s; dev: {said}", flush=True)


def make_bundles(run: Run) -> None:
    """Bundles of both checkpoints, and the plain graphs, where they are missing."""
    device, length = load_device("cpu"), run.setup.teacher.max_length
    for name, path in run.bundles.items():
        checkpoint, _, precision = name.rpartition("-")
        if not path.exists():
            export(
                run.folder / checkpoint,
                output=path,
                device=device,
                precision=precision,
                calibration=run.rows["train"],
                max_length=length,
            )
    plain, dynamic = run.graphs.values()
    if not plain.is_file():
        teacher = run.folder / "teacher"
        model, tokenizer, task = (
            load_checkpoint(teacher),
            load_tokenizer(teacher),
            open_checkpoint(teacher).task,
        )
        graph = export_graph(TaskModel(model, tokenizer, task, length), fused=False)
        split_norms(graph)
        onnx.save(graph, plain)
    if not dynamic.is_file():
        more = {"DefaultTensorType": onnx.TensorProto.FLOAT}
        quantize_dynamic(plain, dynamic, weight_type=QuantType.QInt8, extra_options=more)


def judge_all(run: Run, part: str) -> dict[str, dict[str, float]]:
    """Metrics of every subject on dev or test, by name; kept in the work folder."""
    file = run.folder / f"metrics-{part}.json"
    found: dict[str, dict[str, float]] = json.loads(file.read_text()) if file.is_file() else {}
    length = run.setup.teacher.max_length
    tokenizer, task = load_tokenizer(run.folder / "teacher"), open_checkpoint(run.folder / "teacher").task
    rows = run.rows[part].for_task(task)
    for name in ("teacher", run.student):
        if name not in found:
            model = load_checkpoint(run.folder / name)
            found[name], _ = evaluate(TaskModel(model, load_tokenizer(run.folder / name), task, length), rows)
    samples = encode(tokenizer, task, rows.inputs(), max_length=length)
    for name, path in {**run.bundles, **run.graphs}.items():
        if name not in found:
            graph = path if path.suffix == ".onnx" else path / "model.onnx"
            session = make_plain_session(onnx.load(graph))
            made = Predictions(graph_rows(session, samples), samples.encoded)
            found[name] = judge(task, made, rows)
    file.write_text(json.dumps(found, indent=1))
    return found


def measure(run: Run, runs: int, threads: int) -> list[Profile]:
    """Profiles of bundles, graphs and PyTorch, which comes last."""
    student, student_fp32, teacher, teacher_fp32 = run.bundles.values()
    others = [teacher, student_fp32, teacher_fp32, *run.graphs.values(), run.folder / "teacher"]
    return profile(student, compare=others, data=run.rows["test"], threads=threads, runs=runs, loads=1)


def report(run: Run, metrics: dict[str, dict[str, float]], found: list[Profile], threads: int) -> None:
    """Print a Markdown table: points are of 100, ratios have 95 % intervals."""
    names = ("f1", "exact_match") if run.setup.schema == "answers" else ("span_f1",)
    heads = ["model", *names, "points lost", "p50 ms", "vs PyTorch", "vs onnxruntime dynamic", "size MB"]
    first = found[0].cases[0]
    print(f"\n{run.name}: {len(run.rows['test'])} rows; {threads} threads, {len(first.samples_ms)} calls each\n")
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    dynamic = next(item for item in found if item.name == "ort-dynamic").cases[0]
    for item in found:
        own, case = metrics[item.name], item.cases[0]
        ratios = []
        for other in (found[-1].cases[0], dynamic):
            ratio = measure_ratio(case.samples_ms, other.samples_ms, case.block, against="")
            ratios.append("1.00x" if other is case else f"{ratio.p50:.2f}x ({ratio.low:.2f} to {ratio.high:.2f})")
        lost = 100 * (metrics["teacher"][names[0]] - own[names[0]])
        cells = [item.name, *(f"{100 * own[name]:.2f}" for name in names), f"{lost:.2f}"]
        cells += [f"{case.percentile_ms(50):.3f}", *ratios, f"{item.size_mb:.1f}"]
        print(f"| {' | '.join(cells)} |")
    for warning in found[0].warnings:
        print(f"\n{warning}")


def main() -> None:
    """A table a set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", dest="name", default="all", choices=["all", *SETS])
    parser.add_argument("--work", type=Path, default=Path("build/tasks"))
    parser.add_argument("--recipe", default="balanced")
    parser.add_argument("--override", action="append", default=[], help="A setting of the recipe: prune.keep_ffn=0.3.")
    parser.add_argument("--student", help="Name of the compressed checkpoint in the work folder; default: the recipe.")
    parser.add_argument("--limit", type=int, help="Rows of each part, for a quick run; give another --work then.")
    parser.add_argument("--steps", type=int, help="Steps of each training; default: the epochs of set and recipe.")
    parser.add_argument("--max-length", type=int, help="Tokens of a text or window; default: as the set has it.")
    parser.add_argument("--stages", nargs="+", default=STAGES, choices=STAGES)
    parser.add_argument("--judge", default="test", choices=["dev", "test"])
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    if "EDGELM_DATA" not in os.environ:
        parser.error("set EDGELM_DATA to the folder that holds snips/, wikiann_en/ and squad/")
    print_machine()
    for name in SETS if given.name == "all" else (given.name,):
        folder = given.work / name
        folder.mkdir(parents=True, exist_ok=True)
        rows = load_rows(name, given.limit)
        if given.max_length:
            teacher = SETS[name].teacher.model_copy(update={"max_length": given.max_length})
            SETS[name] = replace(SETS[name], teacher=teacher)
        run = Run(name, folder, rows, given.recipe, tuple(given.override), given.student or given.recipe, given.steps)
        if "train" in given.stages:
            train(run)
        if "export" in given.stages:
            make_bundles(run)
        if "judge" in given.stages:
            metrics = judge_all(run, given.judge)
            for subject, values in metrics.items():
                said = ", ".join(f"{key} {100 * value:.2f}" for key, value in values.items())
                print(f"{name}, {given.judge}, {subject}: {said}", flush=True)
        if "time" in given.stages:
            report(run, judge_all(run, given.judge), measure(run, given.runs, given.threads), given.threads)


if __name__ == "__main__":
    main()
