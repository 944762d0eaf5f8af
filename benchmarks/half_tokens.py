"""Half of the tokens behind the first layer, beside narrower layers.

`EDGELM_DATA=FOLDER python benchmarks/half_tokens.py snips [sst2 ...] [--limit ROWS]`; `python benchmarks/half_tokens.py
--graphs` needs no data: encoders of MiniLM-L6's shape, random, as `edgelm latency-table` measures them, by the provider
that a CPU takes here.

A model of `teachers.py` is compressed three times, with equally many epochs of recovery: by the recipe `balanced`, by
`half-tokens`, which cuts the same heads and channels and halves the tokens, and by `balanced` with a quarter of the
heads and a fifth of the channels. Training sees train; the recipe was chosen on dev of snips. Bundles in INT8 take
turns, text by text of dev, tokenizer included.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from machine import print_machine
from static import accuracy, answer_us, make_bundle
from teachers import SETTINGS, load_rows

import edgelm.runtime
from edgelm import load_recipe
from edgelm.data.dataset import Dataset
from edgelm.profile.shape_times import measure_shapes, provider_here
from edgelm.shapes import ModelSizes

WAYS = {
    "balanced": ("balanced", ["recover.train.epochs=3"]),
    "half-tokens": ("half-tokens", ["recover.train.epochs=3"]),
    "narrower": ("balanced", ["recover.train.epochs=3", "prune.keep_heads=0.25", "prune.keep_ffn=0.2"]),
}
HALVINGS = {"all tokens": (), "half after layer 1": (0,), "half after 1, a quarter after 3": (0, 2)}


def bundles_of(name: str, ways: dict[str, tuple[str, list[str]]], rows: dict[str, Dataset], work: Path) -> list[Path]:
    """The bundle of a set by each way: a recipe, and what is changed in it."""
    recipes = {way: load_recipe(recipe, overrides=changes) for way, (recipe, changes) in ways.items()}
    return [make_bundle(name, way, work, recipe, rows) for way, recipe in recipes.items()]


def measure_graphs(lengths: list[int], threads: int) -> None:
    """Print how much faster graphs of half of the tokens are, by how many tokens a text has."""
    sizes = ModelSizes(layers=6, hidden=384, heads=12, ffn=1536, vocabulary=30522, types=0)
    shapes = [
        [replace(shape, halves=number in after) for number, shape in enumerate(sizes.full())]
        for after in HALVINGS.values()
    ]
    print(f"| tokens, {threads} threads, {provider_here(sizes, 'int8')} | {' | '.join(HALVINGS)} |")
    print("|---|---|---|---|")
    for length in lengths:
        times = measure_shapes(sizes, shapes, precision="int8", sequence=length, threads=threads)
        cells = [f"{times[0]:.3f} ms", *(f"{times[0] / each:.2f}x" for each in times[1:])]
        print(f"| {length} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["snips"], help=", ".join(SETTINGS))
    parser.add_argument("--work", type=Path, default=Path("build/teachers"))
    parser.add_argument("--limit", type=int, help="Rows to train on; give another --work then.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--graphs", action="store_true")
    parser.add_argument("--lengths", type=int, nargs="*", default=[8, 12, 25, 64, 128])
    given = parser.parse_args()
    print_machine()
    if given.graphs:
        measure_graphs(given.lengths, given.threads)
        return
    print("| set | bundle | dev accuracy | test accuracy | provider | text to answer, us |")
    print("|---|---|---|---|---|---|")
    for name in given.names:
        rows = load_rows(name, given.limit)
        models = [edgelm.runtime.load(path, threads=given.threads) for path in bundles_of(name, WAYS, rows, given.work)]
        times = answer_us(models, list(rows["dev"].texts)[:200], given.rounds)
        for way, model, taken in zip(WAYS, models, times, strict=True):
            shares = " | ".join(f"{accuracy(model, rows[part]):.4f}" for part in ("dev", "test"))
            print(f"| {name} | {way} | {shares} | {model.opened.provider} | {taken:.0f} |", flush=True)


if __name__ == "__main__":
    main()
