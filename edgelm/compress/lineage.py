"""Where a result comes from: fingerprints of models and data, versions of tools."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from edgelm.checkpoint import Checkpoint, Record
from edgelm.data.dataset import Dataset
from edgelm.files.places import told_place
from edgelm.model_folder.adapter import ADAPTER_CONFIG_FILE
from edgelm.version import __version__

_TOOLS = ("torch", "transformers", "accelerate")
_TRAINED_BITS = {4: "int4", 8: "int8-weights"}  # of the blocks that a model that writes was trained in


def data_origin(dataset: Dataset) -> dict[str, Any]:
    """What `edgelm.json` says of a data set: source, number of rows, SHA-256 of the content."""
    return {"source": told_place(dataset.source), "rows": len(dataset), "sha256": dataset.fingerprint()}


def model_fingerprint(checkpoint: Checkpoint) -> str:
    """SHA-256 over configuration, task, weights and tokenizer of a checkpoint, and of the model under an adapter."""
    total = hashlib.sha256(json.dumps(checkpoint.config, sort_keys=True).encode())
    if checkpoint.base is not None:
        total.update(model_fingerprint(checkpoint.base).encode())
    head = (
        []
        if checkpoint.sentence is None
        else [layer.folder for layer in checkpoint.sentence.layers if layer.folder is not None]
    )
    total.update(json.dumps(checkpoint.task.to_dict(), sort_keys=True).encode())
    folders = [sorted(folder.iterdir()) for folder in (checkpoint.path, *head) if folder.is_dir()]
    for file in [file for files in folders or [[checkpoint.path]] for file in files]:
        if file.suffix in (".safetensors", ".bin", ".gguf") or file.name in ("tokenizer.json", ADAPTER_CONFIG_FILE):
            content = hashlib.sha256()
            with file.open("rb") as stream:
                while chunk := stream.read(1 << 20):
                    content.update(chunk)
            total.update(content.digest())
    return total.hexdigest()


def trained_precision(record: Record) -> str | None:
    """The precision that the weights of a model that writes lie on the grid of, since its last stage was `quantize`;
    None: of none."""
    last = record.stages[-1] if record.stages else None
    if not record.task.generates or last is None or last.stage != "quantize":
        return None
    return _TRAINED_BITS[last.settings["bits"]]


def digest(*parts: str) -> str:
    """One key for everything that a result depends on."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def tool_versions() -> dict[str, str]:
    """Versions of edgelm and of the libraries that make a checkpoint."""
    return {"edgelm": __version__} | {name: _version(name) for name in _TOOLS}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
