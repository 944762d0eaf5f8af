"""What it saves that the last layer computes the first token alone: `python benchmarks/first_rows.py [--threads 1]
[--precision int8] [--device x86-vnni] [--runs 300]`.

Two random encoders, as MiniLM-L6 and as a student of three layers with 3 heads and 320 channels, each exported with and
without; milliseconds of a text of 8, 25 and 128 tokens, the two graphs in turn in one process, and the largest
difference of a logit.
"""

from __future__ import annotations

import edgelm  # isort: skip  # before onnxruntime: it turns its telemetry off

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime
from ending import run
from machine import print_machine
from random_encoders import make_classifier

from edgelm.anatomy import load_checkpoint, load_tokenizer, model_layers
from edgelm.anatomy.loading import save_checkpoint
from edgelm.checkpoint import open_checkpoint
from edgelm.data.dataset import load_dataset
from edgelm.export import trace
from edgelm.files.shipped import shipped_folder

SHAPES = {"6 layers, 12 heads, 1536 channels": (6, 12, 1536), "3 layers, 3 heads, 320 channels": (3, 3, 320)}


def make_graphs(folder: Path, shape: tuple[int, int, int], precision: str, device: str) -> dict[str, Path]:
    """The two graphs of a random encoder: `first` computes the first token alone."""
    layers, heads, channels = shape
    texts = load_dataset(shipped_folder("calibration_data") / "english.jsonl", need_labels=False, read="texts").texts
    checkpoint = make_classifier([str(text) for text in texts], folder / "model", layers=layers)
    model, tokenizer = load_checkpoint(checkpoint), load_tokenizer(checkpoint)
    for layer in model_layers(model):
        layer.cut(heads=range(heads), ffn=range(channels))
    (folder / "cut").mkdir()
    save_checkpoint(folder / "cut", model, tokenizer, open_checkpoint(checkpoint).record)
    read_first_rows, graphs = trace.read_first_rows, {}
    for name, rewrite in (("first", read_first_rows), ("all", lambda graph: None)):
        trace.read_first_rows = rewrite
        edgelm.export(folder / "cut", output=folder / name, device=edgelm.load_device(device), precision=precision)
        graphs[name] = folder / name / "model.onnx"
    trace.read_first_rows = read_first_rows
    return graphs


def times(graphs: dict[str, Path], tokens: int, threads: int, runs: int) -> tuple[dict[str, float], float]:
    """Median milliseconds of each graph, and how far their logits differ."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    sessions = {name: onnxruntime.InferenceSession(path, settings) for name, path in graphs.items()}
    draw = np.random.default_rng(0)
    feed = {
        "input_ids": draw.integers(5, 3000, (1, tokens)),
        "attention_mask": np.ones((1, tokens), dtype=np.int64),
        "token_type_ids": np.zeros((1, tokens), dtype=np.int64),
    }
    spent: dict[str, list[float]] = {name: [] for name in sessions}
    logits: dict[str, np.ndarray] = {}
    for _ in range(runs):
        for name, session in sessions.items():
            begin = time.perf_counter()
            (logits[name],) = session.run(None, feed)
            spent[name].append(1000 * (time.perf_counter() - begin))
    difference = float(np.abs(logits["first"] - logits["all"]).max())
    return {name: median(values) for name, values in spent.items()}, difference


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--device", default="x86-vnni")
    parser.add_argument("--runs", type=int, default=300)
    options = parser.parse_args()
    print_machine()
    print(f"\n{options.precision}, {options.threads} threads\n")
    print("| shape | tokens | all rows, ms | first row, ms | times as fast | largest difference |")
    print("|---|---|---|---|---|---|")
    for name, shape in SHAPES.items():
        with tempfile.TemporaryDirectory() as folder:
            graphs = make_graphs(Path(folder), shape, options.precision, options.device)
            for tokens in (8, 25, 128):
                found, difference = times(graphs, tokens, options.threads, options.runs)
                ratio = found["all"] / found["first"]
                row = f"{found['all']:.3f} | {found['first']:.3f} | {ratio:.2f} | {difference:.1e}"
                print(f"| {name} | {tokens} | {row} |", flush=True)


if __name__ == "__main__":
    run(main)
