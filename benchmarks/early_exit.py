"""Texts that leave early, beside narrower layers: `EDGELM_DATA=FOLDER python benchmarks/early_exit.py snips [sst2 ...]
[--limit ROWS]`.

A model of `teachers.py` is compressed three times, with equally many epochs: by the recipe `balanced`; by `early-exit`,
which cuts the same heads and channels and gives layers heads of their own; and by `balanced` with a quarter of the
heads and a fifth of the channels. Training sees train, the threshold is chosen on dev. Bundles in INT8 take turns, text
by text of test, tokenizer included: since some texts leave and others stay, the mean stands beside the median. How many
of test leave behind each layer is asked of PyTorch.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from pathlib import Path

import torch
from half_tokens import WAYS as BESIDE
from half_tokens import bundles_of
from machine import print_machine
from static import accuracy
from teachers import SETTINGS, load_rows

import edgelm.runtime
from edgelm.anatomy import layer_shapes, load_checkpoint, load_tokenizer
from edgelm.anatomy.exits import exits_heard
from edgelm.checkpoint import open_checkpoint
from edgelm.runtime.model import Model

WAYS = {
    "balanced": BESIDE["balanced"],
    "early-exit": ("early-exit", ["exits.train.epochs=3"]),
    "narrower": BESIDE["narrower"],
}


def answer_us(models: list[Model], texts: list[str], rounds: int) -> list[list[float]]:
    """The times from text to answer of each bundle, in microseconds, in turn text by text."""
    found: list[list[float]] = [[] for _ in models]
    for _ in range(rounds):
        for text in texts:
            for model, times in zip(models, found, strict=True):
                start = time.perf_counter()
                model(text)
                times.append(1e6 * (time.perf_counter() - start))
    return found


def leaving(folder: Path, texts: list[str]) -> str:
    """Of texts, the shares that leave behind each layer."""
    model, tokenizer = load_checkpoint(folder), load_tokenizer(open_checkpoint(folder))
    places = [(number, shape.leaves) for number, shape in enumerate(layer_shapes(model), 1) if shape.leaves is not None]
    count: Counter[int] = Counter()
    with torch.inference_mode():
        for text in texts:
            with exits_heard(model) as said:
                model(**tokenizer(text, truncation=True, max_length=128, return_tensors="pt"))
            for logits, (number, threshold) in zip(said, places, strict=True):
                largest, following = logits[0].topk(2).values.tolist()
                if largest - following > threshold:
                    count[number] += 1
                    break
    return ", ".join(f"{count[number] / len(texts):.0%} behind {number}" for number, _ in places)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["snips"], help=", ".join(SETTINGS))
    parser.add_argument("--work", type=Path, default=Path("build/teachers"))
    parser.add_argument("--limit", type=int, help="Rows to train on; give another --work then.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    print_machine()
    print("| set | bundle | dev accuracy | test accuracy | provider | us, mean | us, median | leave |")
    print("|---|---|---|---|---|---|---|---|")
    for name in given.names:
        rows = load_rows(name, given.limit)
        paths = bundles_of(name, WAYS, rows, given.work)
        models = [edgelm.runtime.load(path, threads=given.threads) for path in paths]
        times = answer_us(models, list(rows["test"].texts)[:500], given.rounds)
        for way, path, model, taken in zip(WAYS, paths, models, times, strict=True):
            shares = " | ".join(f"{accuracy(model, rows[part]):.4f}" for part in ("dev", "test"))
            left = leaving(path.with_suffix(""), list(rows["test"].texts))
            us = f"{statistics.mean(taken):.0f} | {statistics.median(taken):.0f}"
            print(f"| {name} | {way} | {shares} | {model.opened.provider} | {us} | {left} |", flush=True)


if __name__ == "__main__":
    main()
