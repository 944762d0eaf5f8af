"""What a budget of a model that writes gives: `python benchmarks/generator_budgets.py MODEL --data TRAIN --eval DEV
--work FOLDER [--speedups 1.5 2 3 5 8] [--precision int8] [--recipe generator-one-shot] [--override fit.samples=64]`.

The model is compressed to each speed-up (of a token behind --context, over its own uncut bundle of the same precision),
exported with DEV as its texts, and all bundles are profiled side by side with the uncut one and with the model in
PyTorch eager FP32: tokens in turns, at --context, and prompts of --prompt-length. `asked` is the budget, `said` what
`edgelm compress` measured of the result, `got` what the profile finds of the exported bundle.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import print_machine

from edgelm import compress, export, load_device, load_recipe, profile
from edgelm.budget import Budget
from edgelm.budgeting.generators import WriterTargets
from edgelm.budgeting.targets import Outcome
from edgelm.checkpoint import open_checkpoint
from edgelm.data.dataset import load_dataset
from edgelm.profile.generation.case import GenerationCase
from edgelm.profile.generation.worker import NEXT
from edgelm.profile.result import Profile


@dataclass(frozen=True)
class Made:
    """A bundle of a speed-up; `outcome` None: the uncut one."""

    speedup: float
    bundle: Path
    outcome: Outcome | None
    minutes: float


def times(found: Profile) -> dict[str, float]:
    """Median milliseconds by measure."""
    return {case.measure: case.percentile_ms(50) for case in found.cases if isinstance(case, GenerationCase)}


def row(label: str, found: Profile, base: dict[str, float], beside: str) -> str:
    """Of the table: tokens a second, times as fast as the uncut bundle, MB."""
    own = times(found)
    token, prompt = own[NEXT], next(ms for name, ms in own.items() if name != NEXT)
    whole = next(ms for name, ms in base.items() if name != NEXT)
    figures = f"{base[NEXT] / token:.2f}x | {1000 / token:.0f} | {prompt:.1f} ({whole / prompt:.2f}x)"
    return f"| {label} | {figures} | {found.size_mb:.1f} | {beside} |"


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--eval", required=True)
    parser.add_argument("--work", type=Path, default=Path("build/generator-budgets"))
    parser.add_argument("--speedups", type=float, nargs="+", default=[1.5, 2.0, 3.0, 5.0, 8.0])
    parser.add_argument("--recipe", default="generator-one-shot")
    parser.add_argument("--override", action="append", default=[], help="A setting of the recipe.")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--context", type=int)
    parser.add_argument("--prompt-length", type=int)
    parser.add_argument("--rows", type=int, default=64, help="Of DEV that choices are judged on.")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--runs", type=int, default=100)
    given = parser.parse_args()
    print_machine()
    device, checkpoint = load_device("cpu"), open_checkpoint(given.model)
    read: dict[str, Any] = {"need_labels": checkpoint.task.schema == "targets", "schema": checkpoint.task.schema}
    train, dev = load_dataset(given.data, **read), load_dataset(given.eval, **read).sample(given.rows, seed=0)
    recipe = load_recipe(given.recipe, overrides=given.override)

    def make(folder: Path, source: Path) -> Path:
        options: dict[str, Any] = {"device": device, "precision": given.precision, "calibration": dev}
        return export(source, output=folder, overwrite=True, **options).path

    made = [Made(1.0, make(given.work / "uncut.edge", given.model), None, 0.0)]
    with WriterTargets(
        checkpoint,
        device=device,
        precision=given.precision,
        embedding_bits=recipe.embedding_bits,
        context=given.context,
        prompt_length=given.prompt_length,
    ) as targets:
        errors = ", ".join(f"{error:.1%}" for error in targets.times.error)
        print(f"# sums of sublayers are off by at most {errors} (a token, a prompt) in the models that were timed")
        for speedup in given.speedups:
            start, small = time.monotonic(), given.work / f"{recipe.name}-{speedup:g}x"
            asked = targets.resolve(Budget(speedup=speedup))
            result = compress(
                given.model, dataset=train, evaluation=dev, recipe=recipe, output=small, goal=asked.goal, overwrite=True
            )
            outcome, minutes = asked.outcome(result), (time.monotonic() - start) / 60
            made.append(Made(speedup, make(small.with_name(f"{small.name}.edge"), small), outcome, minutes))
        lengths, whole = targets.lengths, targets.whole_ms
    first, *others = [each.bundle for each in made]
    found = profile(
        first,
        compare=[*others, given.model],
        contexts=[lengths.context],
        prompt_lengths=[lengths.prompt],
        threads=given.threads,
        runs=given.runs,
        loads=1,
    )
    base = times(found[0])
    print(f"\ncontext {lengths.context}, prompt {lengths.prompt}, {given.precision}, {given.runs} runs, interleaved\n")
    print("| asked | got | tokens/s | prompt ms | MB | said by compress | perplexity | minutes |\n" + 8 * "|---" + "|")
    for each, own in zip(made, found, strict=False):
        if each.outcome is None:
            beside = f"1.00x | {'' if len(made) < 2 else _original(made[1])} | "
            print(row("uncut bundle", own, base, beside))
            continue
        said = whole / each.outcome.verdicts[0].got
        after = each.outcome.result.record.stages[-1].after
        print(row(f"{each.speedup:g}x", own, base, f"{said:.2f}x | {after['perplexity']:.2f} | {each.minutes:.1f}"))
    print(row("PyTorch FP32", found[-1], base, "| |"))


def _original(made: Made) -> str:
    assert made.outcome is not None
    return f"{made.outcome.result.original['metrics']['perplexity']:.2f}"


if __name__ == "__main__":
    main()
