"""A smaller translator or summarizer beside its original: `python benchmarks/smaller_writers.py ORIGINAL BUNDLE ...
--data TEST [--prefix "translate English to German: "] [--rows 500] [--texts 20] [--rounds 5] [--threads 2] [--beams 1]
[--work FOLDER]`.

ORIGINAL is a folder of a T5 or the like, each BUNDLE what `edgelm export` made of what `edgelm compress` left of it.

What is written: for rows with targets BLEU against them, of the original too; ROUGE-L and the share of equal texts
against what transformers writes with the original in FP32. How long a text takes: `--texts` of them one by one, in
turn, in one process; medians and ratios. Where ctranslate2 is installed, its INT8 of the original stands beside.
"""

from __future__ import annotations

import edgelm  # noqa: F401  # isort: skip  # before onnxruntime: it turns its telemetry off

import argparse
from pathlib import Path

import torch
from machine import print_machine
from text_writers import PYTORCH, Writer, bundle_writer, ctranslate2_writers, print_times, pytorch_writer

from edgelm.data.dataset import Dataset, load_dataset
from edgelm.files.output import size_on_disk
from edgelm.metrics.texts import summary_scores, translation_scores


def judge(writers: dict[str, Writer], rows: Dataset, beams: int, sizes: dict[str, float]) -> None:
    """Print what each writes."""
    texts, wanted = list(rows.texts), [""]
    print(f"\n{len(texts)} texts, {beams} beams: ROUGE-L and equal texts against {PYTORCH}, BLEU against targets, MB")
    for number, (name, write) in enumerate(writers.items()):
        found = [text for begin in range(0, len(texts), 16) for text in write(texts[begin : begin + 16], beams)]
        wanted = wanted if number else found
        rouge = summary_scores(found, [[text] for text in wanted])["rougeL"]
        equal = sum(map(str.__eq__, found, wanted)) / len(texts)
        bleu = ""
        if rows.labels is not None:
            bleu = f"{translation_scores(found, [list(row) for row in rows.labels])['bleu']:8.2f}"
        size = f"{sizes[name]:7.1f}" if name in sizes else ""
        print(f"{name:24}{rouge:8.1%}{equal:8.1%}{bleu}{size}", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("original", type=Path)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--prefix", default="")
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--texts", type=int, default=20)
    parser.add_argument("--new", type=int, default=64, help="tokens that are written at most")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--beams", nargs="+", type=int, default=[1])
    parser.add_argument("--work", type=Path, default=Path("build/smaller-writers"))
    options = parser.parse_args()
    print_machine()
    torch.set_num_threads(options.threads)
    writers = {PYTORCH: pytorch_writer(options.original, prefix=options.prefix, most=options.new)}
    names = {path: path.parent.name + "/" + path.name for path in options.bundles}
    for path, name in names.items():
        writers[name] = bundle_writer(path, most=options.new, threads=options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    writers |= ctranslate2_writers(
        options.original,
        prefix=options.prefix,
        most=options.new,
        threads=options.threads,
        work=options.work,
        kinds=["int8"],
    )
    sizes = {name: size_on_disk(path) / 1e6 for path, name in names.items()}
    for file in options.data:
        rows = load_dataset(file, schema="targets", need_labels=False)
        print(f"\n## {Path(file).stem}")
        for beams in options.beams:
            judge(writers, rows.sample(options.rows, seed=0), beams, sizes)
            texts = rows.sample(options.texts, seed=1).texts
            print_times(writers, texts, beams=beams, rounds=options.rounds, threads=options.threads)


if __name__ == "__main__":
    main()
