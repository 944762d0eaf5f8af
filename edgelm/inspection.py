"""What is in a checkpoint, a bundle, an ONNX file or a calibration table."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgelm.checkpoint import open_checkpoint
from edgelm.errors import EdgelmError, InputError
from edgelm.model_folder.weight_files import check_safetensors
from edgelm.profile.generation.cache import cache_bytes
from edgelm.runtime import open_bundle
from edgelm.runtime.generation.decoder import DECODER
from edgelm.runtime.manifest import MANIFEST_FILE, Manifest
from edgelm.tasks.generation import Generation, TextGeneration

_BARS = 32
# Of a weight's name; what fits none is a head's. The first that fits counts.
_PARTS = {
    "layers": re.compile(r"\.(layer|layers|h|block|albert_layers)\.\d"),
    "embeddings": re.compile(r"(^|\.)((word_)?embeddings?\.|embed_|wte|wpe|shared)"),
    "last norm": re.compile(r"(^|\.)(ln_f|norm|final_layer_norm|final_norm)\."),
}
_HINT = "Give a checkpoint folder, a bundle, an ONNX file or a calibration table."


def inspect(path: str | Path, *, run: bool = True) -> dict[str, Any]:
    """Describe what lies at a path, as a JSON-ready dictionary with the key `kind`: checkpoint, bundle, onnx or
    calibration.

    Args:
        run: also run a bundle or graph, for the operators that onnxruntime makes of it here and their times.

    Raises:
        InputError: nothing that can be described.
        ModelError, BundleError: broken.
    """
    path = Path(path)
    if path.is_dir() and (path / MANIFEST_FILE).is_file():
        return _bundle(path, run)
    if path.is_dir():
        return _checkpoint(path)
    if path.suffix == ".onnx" and path.is_file():
        return (
            {"kind": "onnx"}
            | _file(path)
            | {"graph": _graph(path.read_bytes(), str(path))}
            | (_run(path) if run else {})
        )
    if path.suffix == ".json" and path.is_file():
        return {"kind": "calibration"} | _file(path) | _calibration(path)
    if path.is_file():
        return _bundle(path, run)
    raise InputError(f"{path}: no such file or folder.", hint=_HINT)


def _file(path: Path) -> dict[str, Any]:
    return {"path": str(path), "size_mb": path.stat().st_size / 1e6}


def _checkpoint(path: Path) -> dict[str, Any]:
    checkpoint = open_checkpoint(path)
    tensors: dict[str, Any] = {}
    for file in checkpoint.files:
        tensors |= check_safetensors(file)
    parts: dict[str, int] = {}
    for name, tensor in tensors.items():
        part = next((part for part, mark in _PARTS.items() if mark.search(name)), "head")
        parts[part] = parts.get(part, 0) + math.prod(tensor["shape"])
    dtypes: dict[str, int] = {}
    for tensor in tensors.values():
        dtypes[tensor["dtype"]] = dtypes.get(tensor["dtype"], 0) + math.prod(tensor["shape"])
    return {
        "kind": "checkpoint",
        "path": str(path),
        "family": checkpoint.family,
        "size_mb": checkpoint.size_mb,
        "weights": sum(parts.values()),
        "weights_by_part": parts,
        "weights_by_dtype": dtypes,
        "record": checkpoint.record.to_dict(),
    }


def _bundle(path: Path, run: bool) -> dict[str, Any]:
    bundle = open_bundle(path)
    values = {
        "kind": "bundle",
        "path": str(path),
        "size_mb": bundle.size_bytes / 1e6,
        "manifest": bundle.manifest.to_dict(),
    }
    ran = _run(path) if run else {}
    if isinstance(bundle.manifest.task, Generation):
        graphs = {graph.name: _graph(bundle.read(graph.file), str(path)) for graph in bundle.manifest.graphs}
        return values | {"generation": _generation(bundle.manifest, bundle.manifest.task), "graphs": graphs} | ran
    return values | {"graph": _graph(bundle.read(bundle.manifest.graph().file), str(path))} | ran


def _generation(manifest: Manifest, task: Generation) -> dict[str, Any]:
    """What a model that writes holds: its context in tokens, what keys and values of one take, its settings."""
    decoder = manifest.graph(DECODER)
    context = (task.context if isinstance(task, TextGeneration) else 0) or manifest.tokenization.max_length
    return {
        "context": context,
        "vocabulary": decoder.find("logits").shape[-1],
        "cache_bytes_per_token": cache_bytes(decoder, 1),
        "settings": asdict(task.settings),
        "chat": bool(task.chat_template) if isinstance(task, TextGeneration) else False,
    }


def _run(path: Path) -> dict[str, Any]:
    """What onnxruntime makes of the graph here, or why it cannot."""
    from edgelm.profile.operators import measure_operators

    try:
        return {"run": {"operators": measure_operators(path)}}
    except EdgelmError as error:
        return {"run": {"operators": [], "error": error.message}}


def _calibration(path: Path) -> dict[str, Any]:
    """The activations of a calibration table: range, histogram and what was chosen."""
    from edgelm.quantize.calibration_table import read_table

    table = read_table(path)
    activations = [
        {
            "name": name,
            "low": entry.histogram.low,
            "high": entry.histogram.high,
            "average": list(entry.average),
            "tokens": entry.tokens,
            "histogram": entry.histogram.bars(_BARS).tolist(),
        }
        for name, entry in table.statistics.items()
    ]
    return {"source": table.source, "target": table.target, "chosen": table.chosen, "activations": activations}


def _graph(data: bytes, name: str) -> dict[str, Any] | None:
    """Inputs, outputs, operators and bytes of constants by type; None where the package onnx is not installed (on a
    device)."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        return None
    try:
        return _describe_graph(onnx.ModelProto.FromString(data))
    except (
        DecodeError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:  # the last three: types of tensors that ONNX does not have, and the like
        raise InputError(f"{name}: not an ONNX file, or a damaged one.", hint=_HINT) from error


def _describe_graph(model: Any) -> dict[str, Any]:
    import onnx

    from edgelm.graph.rewrites import TRACED, constants_in, operator_counts

    traced = next((entry.value for entry in model.metadata_props if entry.key == TRACED), "{}")
    stored: dict[str, int] = {}
    for tensor in constants_in(model.graph):
        dtype = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
        stored[dtype] = stored.get(dtype, 0) + math.prod(tensor.dims) * _bits(tensor.data_type) // 8
    constants = {tensor.name for tensor in model.graph.initializer}
    return {
        "opset": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        "inputs": [_value(value) for value in model.graph.input if value.name not in constants],
        "outputs": [_value(value) for value in model.graph.output],
        "traced_operators": json.loads(traced),
        "operators": operator_counts(model),
        "constant_bytes_by_dtype": stored,
    }


def _bits(data_type: int) -> int:
    import onnx

    name = onnx.TensorProto.DataType.Name(data_type)
    return 4 if name in ("INT4", "UINT4") else onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize * 8


def _value(value: Any) -> dict[str, Any]:
    dims = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
    return {"name": value.name, "shape": dims}
