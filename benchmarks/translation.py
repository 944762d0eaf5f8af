"""A translator trained here, and its bundles: `EDGELM_MODELS=FOLDER EDGELM_DATA=FOLDER python benchmarks/translation.py
[--model flan-t5-small-titler] [--work build/translation] [--epochs 2] [--precisions fp32 int8-weights int4]
[--beams 1 4] [--rows 1000] [--rounds 5] [--threads 2] [--stages train export judge time]`.

A T5 is fine-tuned on multi30k_en_de (English captions to German), judged on 200 rows of dev, and exported; figures
are of the test set.

judge: BLEU and chrF as sacreBLEU has them, and the share of outputs that are those of transformers in FP32, greedy and
with beams; both engines write up to 64 tokens.

time: sentences of the test set one by one, subjects in turn, every one in the same process; medians of the ratio of
PyTorch's time to a subject's, sentence by sentence, and of milliseconds.

Where ctranslate2 is installed its INT8 and FP32 stand beside, converted from the same folder. What lies in the work
folder from an earlier run is used again.
"""

from __future__ import annotations

import edgelm  # isort: skip  # before onnxruntime: it turns its telemetry off

import argparse
import json
import os
from pathlib import Path
from typing import Any

import torch
from machine import print_machine
from text_writers import PYTORCH, Writer, bundle_writer, ctranslate2_writers, print_times, pytorch_writer

from edgelm.data.dataset import Dataset, load_dataset
from edgelm.files.output import size_on_disk
from edgelm.metrics.texts import translation_scores
from edgelm.training_settings import TrainSettings

STAGES = ("train", "export", "judge", "time")
PREFIX = "translate English to German: "
MOST = 64  # new tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="flan-t5-small-titler")
    parser.add_argument("--work", type=Path, default=Path("build/translation"))
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--precisions", nargs="+", default=["fp32", "int8-weights", "int4"])
    parser.add_argument("--beams", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    arguments = parser.parse_args()
    print_machine()
    torch.set_num_threads(arguments.threads)
    rows = {
        part: load_dataset(Path(os.environ["EDGELM_DATA"], "multi30k_en_de", f"{part}.jsonl"), schema="targets")
        for part in ("train", "dev", "test")
    }
    model = arguments.work / "model"
    if "train" in arguments.stages and not model.is_dir():
        train(arguments, rows, model)
    bundles = {precision: arguments.work / f"{precision}.edge" for precision in arguments.precisions}
    if "export" in arguments.stages:
        for precision, path in bundles.items():
            if not path.exists():
                edgelm.export(
                    model, output=path, device=edgelm.load_device("cpu"), precision=precision, calibration=rows["dev"]
                )
    if {"judge", "time"} & {*arguments.stages}:
        asked: dict[str, Any] = {"prefix": PREFIX, "most": MOST}
        writers = {PYTORCH: pytorch_writer(model, **asked)}
        for name, path in bundles.items():
            writers[f"edgelm {name}"] = bundle_writer(path, most=MOST, threads=arguments.threads)
        writers |= ctranslate2_writers(model, **asked, threads=arguments.threads, work=arguments.work)
        sizes = {f"edgelm {name}": size_on_disk(path) / 1e6 for name, path in bundles.items()}
        if "judge" in arguments.stages:
            judge(writers, rows["test"].sample(arguments.rows, seed=0), arguments, sizes)
        if "time" in arguments.stages:
            texts = rows["test"].sample(20, seed=1).texts
            for beams in arguments.beams:
                print_times(writers, texts, beams=beams, rounds=arguments.rounds, threads=arguments.threads)


def train(arguments: argparse.Namespace, rows: dict[str, Dataset], output: Path) -> None:
    """Fine-tune the translator; usual settings, not tuned."""
    settings = TrainSettings(
        epochs=arguments.epochs, learning_rate=5e-4, batch_size=64, max_length=64, precision="bf16"
    )
    made = edgelm.finetune(
        Path(os.environ["EDGELM_MODELS"], arguments.model),
        dataset=rows["train"],
        evaluation=rows["dev"].sample(200, seed=0),
        output=output,
        kind="translation",
        settings=settings,
        prefix=PREFIX,
    )
    print(f"trained in {made.seconds:.0f} s; dev: {json.dumps(made.metrics)}", flush=True)


def judge(writers: dict[str, Writer], rows: Dataset, arguments: argparse.Namespace, sizes: dict[str, float]) -> None:
    """Print quality, and how many outputs are FP32's."""
    assert rows.labels is not None
    texts, references = list(rows.texts), [list(row) for row in rows.labels]
    for beams in arguments.beams:
        print(f"\n{len(texts)} test sentences, {beams} beams: BLEU, chrF, outputs equal to transformers', MB")
        wanted: list[str] = []
        for name, write in writers.items():
            found = [text for begin in range(0, len(texts), 16) for text in write(texts[begin : begin + 16], beams)]
            wanted = wanted or found
            scores = translation_scores(found, references)
            equal = sum(map(str.__eq__, found, wanted)) / len(texts)
            size = f"{sizes[name]:7.1f}" if name in sizes else ""
            print(f"{name:24}{scores['bleu']:7.2f}{scores['chrf']:7.2f}{equal:8.1%}{size}", flush=True)


if __name__ == "__main__":
    main()
