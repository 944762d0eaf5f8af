"""Graphs that the exporter has traced, kept for one run of the tests.

Tracing is most of what an export of a small model takes. The same model gives the same graph, which `traced_once` keeps
whole. A model of the same modules with other weights gives the same nodes, for the exporter traces shapes and never
reads a weight: `exporter_of_kept_nodes` keeps the nodes and puts the weights in before it optimizes them.
"""

from __future__ import annotations

import copy
import hashlib
import os
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import onnx_ir
import torch
from onnx_ir.tensor_adapters import TorchTensor
from torch.onnx import ONNXProgram
from transformers.exporters import OnnxConfig, OnnxExporter
from transformers.exporters.exporter_onnx import apply_onnx_ir_fixes

from edgelm.anatomy.modeling_edgelm import HALVES
from edgelm.anatomy.sentence_head import head_layers

# Settings that no module computes its outputs with.
_NOT_COMPUTED = ("id2label", "label2id", "problem_type", "initializer_range", "_name_or_path", "name_or_path")
_PLAIN = (bool, int, float, str, bytes, type(None), torch.dtype)


def traced_once(export_graph: Callable[..., onnx.ModelProto], folder: Path) -> Callable[..., onnx.ModelProto]:
    """`export_graph` that takes its result from the folder where the same model was traced before."""

    def export(source: Any, *, fused: bool, opset: int | None = None) -> onnx.ModelProto:
        file = folder / f"{_digest(source, fused, opset)}.onnx"
        return _kept(file, lambda: export_graph(source, fused=fused, opset=opset))

    return export


def exporter_of_kept_nodes(folder: Path) -> type:
    """A stand-in for `OnnxExporter` that takes the nodes from the folder where a model of the same modules was traced.

    It optimizes as `torch.onnx.export` does, with the weights of the model that it is given.
    `tests/export/test_kept_nodes.py` holds its graphs to the exporter's own, byte by byte.
    """

    class ExporterOfKeptNodes:
        def export(self, model: Any, sample: dict[str, torch.Tensor], config: OnnxConfig) -> Any:
            as_traced = copy.copy(config)
            as_traced.optimize = False

            def trace() -> onnx.ModelProto:
                return onnx_ir.to_proto(OnnxExporter().export(model, sample, config=as_traced).program)

            nodes = _kept(folder / f"{digest_of_modules(model, sample, config)}.onnx", trace)
            program = ONNXProgram(onnx_ir.from_proto(nodes), None)
            weights = model.state_dict()
            for name, value in program.model.graph.initializers.items():
                if name in weights:
                    value.const_value = TorchTensor(weights[name], name=name)
            program.optimize()
            apply_onnx_ir_fixes(program)
            return types.SimpleNamespace(program=program.model)

    return ExporterOfKeptNodes


def _kept(file: Path, make: Callable[[], onnx.ModelProto]) -> onnx.ModelProto:
    """The graph in a file, which is made first where it is not there; two processes may make it at once."""
    if not file.exists():
        graph = make()
        file.parent.mkdir(exist_ok=True)
        half = file.with_suffix(f".{os.getpid()}")
        half.write_bytes(graph.SerializeToString())
        half.rename(file)
    return onnx.load_model_from_string(file.read_bytes())


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
            told.update(_bytes(tensor))
    return told.hexdigest()


def digest_of_modules(model: Any, sample: dict[str, torch.Tensor], config: OnnxConfig) -> str:
    """Of all that the nodes come from: modules with their settings, shapes, buffers, sample, axes; of weights which are
    one and the same."""
    told = hashlib.sha256()
    settings = {name: value for name, value in model.config.to_dict().items() if name not in _NOT_COMPUTED}
    given = [(name, values.dtype, values.shape) for name, values in sample.items()]
    axes = [
        (name, axis, dim.__name__, dim.min, dim.max)
        for name, dims in config.dynamic_shapes.items()
        for axis, dim in dims.items()
    ]
    for part in (model, settings, model.config._attn_implementation, given, axes, config.opset_version):
        told.update(repr(part).encode())
    for name, module in model.named_modules():
        told.update(repr((name, type(module), sorted(_settings(vars(module))))).encode())
    first: dict[int, str] = {}
    for name, tensor in model.named_parameters(remove_duplicate=False):
        same = first.setdefault(id(tensor), name)
        told.update(f"{name} {same} {tensor.dtype} {tuple(tensor.shape)} {tensor.stride()}".encode())
    for name, tensor in model.named_buffers():
        told.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        told.update(_bytes(tensor))
    return told.hexdigest()


def _settings(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The public values of a module, and of functions which they are; what else it holds is told of by its own."""
    for name, value in values.items():
        if name.startswith("_") or name in _NOT_COMPUTED:
            continue
        if isinstance(value, _PLAIN):
            yield name, repr(value)
        elif isinstance(value, (set, frozenset)):
            yield name, repr(sorted(map(repr, value)))
        elif isinstance(value, (list, tuple, dict)):
            yield name, repr(value)
        elif callable(value):
            yield name, getattr(value, "__qualname__", type(value).__qualname__)


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()
