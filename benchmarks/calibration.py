"""Calibration methods on a model: `python benchmarks/calibration.py [--model FOLDER] [--data FILE] [--samples 256]`.

Calibrates on some texts, and compares the INT8 graph's outputs with the FP32 graph's on 200 others. Without --model: the demo's
MiniLM-L6, as a sentence encoder; without --data: the English texts that edgelm ships.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from edgelm import load_checkpoint, load_dataset
from edgelm.anatomy import load_tokenizer
from edgelm.checkpoint import open_checkpoint
from edgelm.demo import find_encoder
from edgelm.export.calibrate import METHODS, collect, make_plain_session, range_of
from edgelm.export.graph import export_graph
from edgelm.export.parity import encode, graph_outputs
from edgelm.export.quantize import find_products, quantize_embeddings, quantize_static
from edgelm.metrics import agreement
from edgelm.shipped import shipped_folder


def main() -> None:
    """Print, per method, agreement with FP32 and the root of the mean squared error of the outputs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--data", default=str(shipped_folder("calibration_data") / "english.jsonl"))
    parser.add_argument("--samples", type=int, default=256)
    options = parser.parse_args()
    folder = options.model or find_encoder()
    model, tokenizer, task = load_checkpoint(folder), load_tokenizer(folder), open_checkpoint(folder).task
    texts = load_dataset(options.data, need_labels=False).sample(options.samples + 200).texts
    graph = export_graph(model, tokenizer, task, max_length=128, fused=True)
    feeds = [encode(tokenizer, [text], max_length=128) for text in texts[: options.samples]]
    sources = list(dict.fromkeys(product.source for product in find_products(graph)))
    histograms = collect(graph, sources, feeds)
    wanted = graph_outputs(make_plain_session(graph), tokenizer, texts[-200:], max_length=128)
    for method in METHODS:
        ranges = {name: range_of(histogram, method) for name, histogram in histograms.items()}
        session = make_plain_session(quantize_embeddings(quantize_static(graph, ranges)))
        found = graph_outputs(session, tokenizer, texts[-200:], max_length=128)
        print(f"{method:12} agreement {agreement(task, found, wanted):.4f}   error {np.sqrt(((found - wanted) ** 2).mean()):.4f}")


if __name__ == "__main__":
    main()
