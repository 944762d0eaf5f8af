"""What readable names cost a bundle: `python benchmarks/graph_names.py [--layers 6] [--hidden 384] [--vocabulary
30522]`.

An encoder of random weights is exported in FP32 and INT8; beside each graph stands a copy whose nodes, values and
constants have the shortest names that tell them apart. Bytes of the graph file (weights lie beside it), and the median
time in ms in which onnxruntime loads each with its weights, sessions taking turns.
"""

from __future__ import annotations

import edgelm  # noqa: F401  # isort: skip  # before onnxruntime: it turns its telemetry off

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import onnx
import onnxruntime
import torch
from machine import print_machine
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from edgelm.device import load_device
from edgelm.export.pipeline import export


def save_model(folder: Path, layers: int, hidden: int, vocabulary: int) -> Path:
    """A BERT of random weights with a tokenizer of made-up words."""
    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{index}" for index in range(vocabulary - 4))]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]", ends)
    sizes = {"hidden_size": hidden, "intermediate_size": 4 * hidden, "num_attention_heads": hidden // 32}
    model = BertForSequenceClassification(BertConfig(vocab_size=vocabulary, num_hidden_layers=layers, **sizes))
    with torch.no_grad():
        for parameter in model.parameters():  # no two alike: equal constants are kept once
            parameter.add_(torch.randn_like(parameter) * 0.01)
    model.save_pretrained(folder)
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=128, **special).save_pretrained(folder)
    return folder


def shorten(source: Path, target: Path) -> None:
    """A copy of a bundle's graph and weights with the shortest names."""
    shutil.copytree(source, target)
    graph = onnx.load(source / "model.onnx", load_external_data=False)
    new = {value.name: value.name for value in (*graph.graph.input, *graph.graph.output)} | {"": ""}
    for node in graph.graph.node:
        node.name = ""
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = new.setdefault(name, format(len(new), "x"))
    for tensor in graph.graph.initializer:
        tensor.name = new[tensor.name]
    (target / "model.onnx").write_bytes(graph.SerializeToString())


def load_ms(path: Path) -> float:
    """How long onnxruntime needs to make a session."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    start = time.perf_counter()
    onnxruntime.InferenceSession(path / "model.onnx", options, providers=["CPUExecutionProvider"])
    return (time.perf_counter() - start) * 1000


def main() -> None:
    """Print one line of JSON a precision."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("layers", 6), ("hidden", 384), ("vocabulary", 30522), ("runs", 15)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    print_machine()
    with tempfile.TemporaryDirectory() as folder:
        model = save_model(Path(folder) / "model", given.layers, given.hidden, given.vocabulary)
        for precision in ("fp32", "int8"):
            paths = [Path(folder) / f"{precision}-{name}" for name in ("readable", "short")]
            result = export(model, output=paths[0], device=load_device("cpu"), precision=precision)
            shorten(*paths)
            times = [[load_ms(path) for path in paths] for _ in range(given.runs)]
            values = {
                "precision": precision,
                "bundle_mb": round(result.size_mb, 2),
                "graph_bytes": {path.name: (path / "model.onnx").stat().st_size for path in paths},
                "load_ms": {
                    path.name: round(statistics.median(run[index] for run in times), 1)
                    for index, path in enumerate(paths)
                },
            }
            print(json.dumps(values))


if __name__ == "__main__":
    main()
