"""What a decoder loses by being cut: `EDGELM_DATA=FOLDER python benchmarks/generator_compression.py [--model FOLDER]
[--ways generator-one-shot generator-balanced depth] [--keep 0.5] [--set recover.train.epochs=4] [--work FOLDER]`.

The model is the decoder of `small_generators.py` or any folder of a decoder. Every way leaves about `--keep` of the
weights in its layers; the texts are those that `small_generators.py` trains on, `--rows` of them where all are too
many. A way is a recipe, by name or file, or one of the literature's alone:

depth: whole layers go, by block influence (ShortGPT, arXiv:2403.03853); what stays as it was.
depth-loss: whole layers go, each time the one without which the loss rises least.
width: heads and channels go, those of the least Fisher information in the whole model (Kwon et al., arXiv:2204.09656).

`depth+train`, `depth-loss+train` and `width+train` add the training of `generator-balanced`, with the same settings.

Choices are made on train and dev; perplexities are of test, of both sources, `--limit` texts of each, in windows of
`--max-length`; where a way changes the tokens, they are still those of an original token, by what a byte costs. The
time is that of the whole `edgelm.compress`.
"""

from __future__ import annotations

import edgelm  # isort: skip  # before onnxruntime: it turns its telemetry off

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ending import run
from machine import print_machine
from small_generators import joined, make_generator, texts

from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer
from edgelm.anatomy.matrices import layer_matrices
from edgelm.checkpoint import Checkpoint, open_checkpoint
from edgelm.compress.evaluate import evaluate
from edgelm.metrics.judge import token_nats
from edgelm.recipe import Recipe, load_recipe

WAYS = {
    "depth": [{"stage": "depth", "score": "influence", "again": False}],
    "depth-loss": [{"stage": "depth"}],
    "width": [{"stage": "prune"}],
}
TRAINING = "+train"


def find_recipe(way: str, model: Checkpoint, keep: float, overrides: list[str]) -> Recipe:
    """The recipe of a way, for this share of the layers' weights."""
    name = way.removesuffix(TRAINING)
    if name not in WAYS:
        return load_recipe(way, overrides=[f"fit.keep={keep}", *overrides])
    layers = model.config["num_hidden_layers"]
    stage: dict[str, Any] = dict(WAYS[name][0])
    stage |= {"keep_heads": keep, "keep_ffn": keep} if name == "width" else {"drop": layers - round(keep * layers)}
    if way == name:
        return Recipe.model_validate({"name": way, "stages": [stage]})
    trained = load_recipe("generator-balanced", overrides=overrides)
    stages = [stage, *trained.model_dump(mode="json")["stages"][1:]]
    return Recipe.model_validate({"name": way, "seed": trained.seed, "stages": stages})


def layer_weights(model: Any) -> int:
    """Weights of the matrices in layers."""
    return sum(matrix.weight.numel() for matrix in layer_matrices(model).values())


@dataclass(frozen=True)
class Judged:
    """Metrics of test by source, and the weights in layers."""

    metrics: dict[str, dict[str, float]]
    weights: int

    def perplexities(self, original: Judged) -> dict[str, float]:
        """By source, per token of the original."""
        return {name: math.exp(token_nats(found, original.metrics[name])) for name, found in self.metrics.items()}


def judge(path: Path, limit: int, max_length: int) -> Judged:
    """A model on test."""
    checkpoint = open_checkpoint(path)
    model = load_checkpoint(checkpoint)
    asked = TaskModel(model, load_tokenizer(checkpoint), checkpoint.task, max_length)
    metrics = {
        name: evaluate(asked, rows.sample(limit, seed=0).for_task(checkpoint.task))[0]
        for name, rows in texts("test").items()
    }
    return Judged(metrics, layer_weights(model))


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a folder of a decoder. Default: that of small_generators.py.")
    parser.add_argument("--ways", nargs="+", default=["generator-one-shot", "generator-balanced", "depth"])
    parser.add_argument("--keep", type=float, nargs="+", default=[0.5])
    parser.add_argument("--set", nargs="+", default=[], dest="overrides")
    parser.add_argument("--limit", type=int, default=10**9, help="texts of a source to judge by")
    parser.add_argument("--rows", type=int, default=10**9, help="texts to learn from")
    parser.add_argument("--max-length", type=int, default=256, help="tokens of a window that is judged")
    parser.add_argument("--teachers", type=Path, default=Path("build/small-generators"))
    parser.add_argument("--work", type=Path, default=Path("build/generator-compression"))
    options = parser.parse_args()
    print_machine()
    model = open_checkpoint(options.model or make_generator("decoder", options.teachers))
    train, dev = joined("train").sample(options.rows, seed=0), joined("dev").sample(200, seed=0)
    original = judge(model.path, options.limit, options.max_length)
    before = original.perplexities(original)
    names = " | ".join(f"perplexity, {name}" for name in before)
    print(f"| way | weights in layers, 10^6 | of the original | {names} | time |")
    print("|---|---|---|" + "---|" * len(before) + "---|")
    line = " | ".join(f"{value:.2f}" for value in before.values())
    print(f"| original | {original.weights / 1e6:.2f} | 100 % | {line} | |", flush=True)
    for keep in options.keep:
        for way in options.ways:
            output = options.work / f"{Path(way).stem}-{keep:g}"
            start = time.monotonic()
            edgelm.compress(
                model.path,
                dataset=train,
                evaluation=dev,
                recipe=find_recipe(way, model, keep, options.overrides),
                output=output,
                overwrite=True,
                max_length=options.max_length,
            )
            seconds = time.monotonic() - start
            found = judge(output, options.limit, options.max_length)
            cells = [
                f"{value:.2f} ({value / before[name]:.3f}x)" for name, value in found.perplexities(original).items()
            ]
            left = f"{found.weights / 1e6:.2f} | {found.weights / original.weights:.0%}"
            print(f"| {Path(way).stem} | {left} | {' | '.join(cells)} | {seconds:.0f} s |", flush=True)


if __name__ == "__main__":
    run(main)
