"""Other runtimes' INT8 of a classifier, as subjects of `native.py`: OpenVINO with NNCF, and CTranslate2, each where it
is installed (`pip install openvino nncf ctranslate2`).

OpenVINO's model has a fixed length, with which it is much faster; CTranslate2's has no head, and computes all tokens
of the last layer.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Feeds = dict[str, np.ndarray]
Subject = Callable[[Feeds], object]


def make_rivals(checkpoint: Path, texts: Sequence[str], work: Path) -> dict[str, Path]:
    """The files of each runtime that is installed, by its name."""
    makers = {
        "OpenVINO + NNCF": (("openvino", "nncf"), _make_openvino),
        "CTranslate2": (("ctranslate2",), _make_ctranslate2),
    }
    found = {}
    for name, (modules, make) in makers.items():
        if all(importlib.util.find_spec(module) for module in modules):
            found[name] = work / name.split()[0].lower()
            if not found[name].exists():
                make(checkpoint, texts, found[name])
    return found


def open_rival(name: str, path: Path, *, tokens: int, threads: int) -> Subject:
    """What answers feeds of (1, tokens)."""
    return (_open_ctranslate2 if name == "CTranslate2" else _open_openvino)(path, tokens, threads)


def _make_openvino(checkpoint: Path, texts: Sequence[str], output: Path) -> None:
    """nncf.quantize for transformers, all its defaults besides, of the graph as PyTorch exports it."""
    import nncf
    import onnx
    import openvino

    from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer
    from edgelm.checkpoint import open_checkpoint
    from edgelm.export.trace import export_graph

    opened = open_checkpoint(checkpoint)
    tokenizer = load_tokenizer(opened)
    source = TaskModel(load_checkpoint(opened), tokenizer, opened.task.read_by(tokenizer), 128)
    output.mkdir(parents=True)
    onnx.save(export_graph(source, fused=False), str(output / "plain.onnx"))
    model = openvino.convert_model(output / "plain.onnx")
    names = {value.any_name for value in model.inputs}
    encoded = [tokenizer(text, return_tensors="np") for text in texts]
    rows = [{name: values.astype(np.int64) for name, values in row.items() if name in names} for row in encoded]
    quantized = nncf.quantize(model, nncf.Dataset(rows), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(rows))
    openvino.save_model(quantized, output / "model.xml")


def _open_openvino(path: Path, tokens: int, threads: int) -> Subject:
    import openvino

    core = openvino.Core()
    model = core.read_model(path / "model.xml")
    model.reshape({value.any_name: [1, tokens] for value in model.inputs})
    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    names = {value.any_name for value in model.inputs}
    return lambda feeds: request.infer({name: values for name, values in feeds.items() if name in names})


def _make_ctranslate2(checkpoint: Path, texts: Sequence[str], output: Path) -> None:
    from ctranslate2.converters import TransformersConverter
    from transformers import AutoModel

    encoder = AutoModel.from_pretrained(checkpoint)
    encoder.config.position_embedding_type = "absolute"  # which its converter asks for, and transformers 5 has no more
    alone = output.with_name("ctranslate2-encoder")
    encoder.save_pretrained(alone)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (alone / name).write_bytes((checkpoint / name).read_bytes())
    TransformersConverter(str(alone)).convert(str(output), quantization="int8")


def _open_ctranslate2(path: Path, tokens: int, threads: int) -> Subject:
    import ctranslate2

    encoder = ctranslate2.Encoder(str(path), device="cpu", intra_threads=threads, compute_type="int8")
    return lambda feeds: np.asarray(encoder.forward_batch(feeds["input_ids"].tolist()).last_hidden_state)
