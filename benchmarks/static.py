"""What is left without layers: `EDGELM_DATA=FOLDER python benchmarks/static.py snips [sst2 ...] [--beside BUNDLE ...]`.

A model of `teachers.py` is compressed by the recipe `static` and exported in INT8. Training sees train, choices are
made on dev. Beside accuracies on dev and test stands the time from text to answer, tokenizer included: the median over
texts of dev, one by one, by the provider that the bundle takes here; the bundles take turns. `--beside` names bundles
of the same set, such as those of `budgets.py`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from machine import print_machine
from teachers import SETTINGS, load_rows, make_teacher

import edgelm.runtime
from edgelm import compress, export, load_device, load_recipe
from edgelm.data.dataset import Dataset
from edgelm.recipe import Recipe
from edgelm.runtime.model import Model


def make_bundle(name: str, way: str, work: Path, recipe: Recipe, rows: dict[str, Dataset]) -> Path:
    """The bundle of a set and a way to make it, made where it is missing."""
    folder = work / f"{name}-{way}"
    if not folder.is_dir():
        start = time.monotonic()
        compress(make_teacher(name, work), dataset=rows["train"], evaluation=rows["dev"], recipe=recipe, output=folder)
        print(f"{name}, {way}: compress took {time.monotonic() - start:.0f} s", flush=True)
    bundle = folder.with_suffix(".edge")
    if not bundle.is_dir():
        export(folder, output=bundle, device=load_device("cpu"), calibration=rows["train"])
    return bundle


def accuracy(model: Model, rows: Dataset) -> float:
    """The share of right answers."""
    names, labels = rows.label_names, rows.labels or ()
    answers = model(list(rows.texts))
    right = (answer["label"] == names[label] for answer, label in zip(answers, labels, strict=True))
    return sum(right) / len(labels)


def answer_us(models: list[Model], texts: list[str], rounds: int) -> list[float]:
    """The median time from text to answer of each bundle, in microseconds."""
    found: list[list[float]] = [[] for _ in models]
    for _ in range(rounds):
        for model, times in zip(models, found, strict=True):
            for text in texts:
                start = time.perf_counter()
                model(text)
                times.append(1e6 * (time.perf_counter() - start))
    return [statistics.median(times) for times in found]


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["snips"], help=", ".join(SETTINGS))
    parser.add_argument("--work", type=Path, default=Path("build/teachers"))
    parser.add_argument("--override", action="append", default=[], help="A setting of the recipe: static.width=64.")
    parser.add_argument("--limit", type=int, help="Rows to train on; give another --work then.")
    parser.add_argument("--beside", type=Path, nargs="*", default=[])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print_machine()
    print("| set | bundle | dev accuracy | test accuracy | MB | provider | text to answer, us |")
    print("|---|---|---|---|---|---|---|")
    for name in given.names:
        rows = load_rows(name, given.limit)
        recipe = load_recipe("static", overrides=given.override)
        paths = [make_bundle(name, "static", given.work, recipe, rows), *given.beside]
        models = [edgelm.runtime.load(path, threads=given.threads) for path in paths]
        times = answer_us(models, list(rows["dev"].texts)[:200], given.rounds)
        for path, model, taken in zip(paths, models, times, strict=True):
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6
            shares = " | ".join(f"{accuracy(model, rows[part]):.4f}" for part in ("dev", "test"))
            print(f"| {name} | {path.name} | {shares} | {size:.1f} | {model.opened.provider} | {taken:.0f} |")


if __name__ == "__main__":
    main()
