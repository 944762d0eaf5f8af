"""Graphs that the exporter has traced, kept for one run of the tests.

Tracing is most of what an export of a small model takes, and the same model gives the same graph.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import torch

from edgelm.anatomy.modeling_edgelm import HALVES
from edgelm.anatomy.sentence_head import head_layers


def traced_once(export_graph: Callable[..., onnx.ModelProto], folder: Path) -> Callable[..., onnx.ModelProto]:
    """`export_graph` that takes its result from the folder where the same model was traced before."""

    def export(source: Any, *, fused: bool, opset: int | None = None) -> onnx.ModelProto:
        file = folder / f"{_digest(source, fused, opset)}.onnx"
        if not file.exists():
            graph = export_graph(source, fused=fused, opset=opset)
            folder.mkdir(exist_ok=True)
            half = file.with_suffix(f".{os.getpid()}")
            half.write_bytes(graph.SerializeToString())
            half.rename(file)
        return onnx.load_model_from_string(file.read_bytes())

    return export


def _digest(source: Any, *settings: object) -> str:
    """Of all that tracing reads: modules, configuration, weights, what the tokenizer gives, task, lengths, settings."""
    modules = [source.model, *head_layers(source.model)]
    read = (source.tokenizer.model_input_names, dict(source.tokenizer("one two three")))
    told = hashlib.sha256()
    for part in (modules, source.model.config.to_json_string(), source.task, source.max_length, read, settings):
        told.update(repr(part).encode())
    for module in modules:
        halving = [name for name, part in module.named_modules() if vars(part).get(HALVES)]
        told.update(repr(halving).encode())
        for name, tensor in [*module.state_dict().items(), *module.named_buffers()]:
            told.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            told.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy())
    return told.hexdigest()
